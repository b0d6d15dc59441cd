"""Judges against people: how far can each be trusted, and how far do people agree with each other?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..formats import describe_skipped
from ..judge import Judge, JudgeContext
from ..judges.replay import Replay
from ..models import quiet
from ..plugins import find
from ..plugins.code import blamed
from ..records import Verdict
from ..results import Json, canonical, write_json, write_jsonl
from .figures import CODES, RESAMPLES, Answers, Raters, answer_counts
from .pairs import LabelledPairs, read_pairs

__all__ = ["FILES", "QUESTION", "SCHEMA", "Settings", "agree"]

SCHEMA = 1
QUESTION = "Which output follows the instruction better?"
FILES = ("summary.json", "table.md", "table.csv", "verdicts.jsonl", "agreement.png")
Report = Callable[[str, float, str], None]  # judge, how much of it is done, what is being done


@dataclass(frozen=True)
class Settings:
    """One call of `alignbench agree`; `judges` are name and argument of each."""

    pairs: str
    out: Path
    judges: tuple[tuple[str, str], ...] = ()
    question: str = QUESTION
    url: str = ""
    timeout: float = 60.0
    concurrency: int = 8
    price: tuple[float, float] | None = None
    limit: int | None = None
    device: str = "cpu"
    command: str = "alignbench agree"


@dataclass(frozen=True)
class Judged:
    """A judge, its verdicts on all pairs, and whether they are of one order only."""

    label: str
    judge: Judge
    verdicts: list[Verdict]
    one_order: bool


def agree(settings: Settings, report: Report) -> Json:
    """Ask every judge about every pair, measure, and write `settings.out`; returns what `summary.json` holds.

    The folder gets `FILES`, of which `replay:` reads `verdicts.jsonl`, and the answers of judges behind a server in
    `answers.sqlite`, so that nothing is asked twice.

    Raises:
        InputError: the pairs or a judge cannot be used; nothing is asked before everything is checked that can be.
    """
    quiet()
    data = read_pairs(settings.pairs, settings.limit)
    opened = [_open(name, argument, settings, report) for name, argument in settings.judges]
    for label, judge in opened:
        with _blame(label):
            judge.check()
        if isinstance(judge, Replay):
            judge.align(data.total, [pair.place for pair in data.pairs], data.numbers)
    judged = [_judged(label, judge, settings.question, data, report) for label, judge in opened]
    report("", 1.0, "measuring")
    summary = _summary(settings, data, judged)
    _write(settings.out, summary, data, judged)
    return summary


def label_of(name: str, argument: str) -> str:
    """How tables call a judge: as it was asked for."""
    return f"{name}:{argument}" if argument else name


def _open(name: str, argument: str, settings: Settings, report: Report) -> tuple[str, Judge]:
    label = label_of(name, argument)
    cls = find("judge", name)
    if "gold" in cls.needs:
        raise InputError(f"judge {label} needs a benchmark's true reward, which pairs with human labels lack: drop it.")
    if cls.needs and not argument:
        raise InputError(f"judge {label} is a model that a run trains, and there is no run here: write {name}:PATH.")
    context = JudgeContext(
        gold=lambda prompts, completions: None,
        models={},
        device=settings.device,
        url=settings.url,
        answers=settings.out / "answers.sqlite",
        timeout=settings.timeout,
        concurrency=settings.concurrency,
        price=settings.price,
        report=lambda fraction, text: report(label, fraction, text),
    )
    with _blame(label):
        judge: Judge = cls.open(argument, context)
    return label, judge


def _judged(label: str, judge: Judge, question: str, data: LabelledPairs, report: Report) -> Judged:
    report(label, 0.0, f"{len(data.pairs)} pairs")
    with _blame(label):
        verdicts: Any = judge.compare(question, [pair.comparison for pair in data.pairs])
    sound = isinstance(verdicts, Sequence) and all(isinstance(verdict, Verdict) for verdict in verdicts)
    if not sound or len(verdicts) != len(data.pairs):
        raise InputError(f"judge {label}: compare must return a list of {len(data.pairs)} Verdicts, one for each item.")
    return Judged(label, judge, list(verdicts), isinstance(judge, Replay) and judge.one_order)


def _blame(label: str) -> AbstractContextManager[None]:
    """Whatever the code of a user's own judge raises is one sentence; a fault of ours is not."""
    file = label.partition("::")[0]
    return blamed(f"judge {label} failed", str(Path(file).absolute())) if file.endswith(".py") else nullcontext()


def _summary(settings: Settings, data: LabelledPairs, judged: Sequence[Judged]) -> Json:
    from .. import __version__

    raters = Raters(data)
    answers = [(each.label, Answers.of(each.verdicts, each.one_order)) for each in judged]
    found: Json = canonical(
        {
            "schema": SCHEMA,
            "kind": "agreement",
            "version": __version__,
            "command": settings.command,
            "question": settings.question,
            "data": {
                "source": data.source,
                "fingerprint": data.fingerprint,
                "records": data.total,
                "pairs": len(data.pairs),
                "label": "label" if data.own_label else "majority",
                "prompts": len(set(raters.clusters.tolist())),
                "skipped": [skip._asdict() for skip in data.skipped],
            },
            "intervals": f"95 %, bootstrap by prompt ({RESAMPLES} resamples), all its pairs and both orders together",
            "humans": raters.humans(),
            "judges": {
                each.label: raters.judge(codes) | _asked(each) for each, (_, codes) in zip(judged, answers, strict=True)
            },
            "between": [raters.between(a, b) for a, b in combinations(answers, 2)],
            "notes": _notes(data, judged),
        }
    )
    return found


def _asked(each: Judged) -> Json:
    return {
        "answers": answer_counts(each.verdicts, each.one_order),
        "usage": each.judge.usage(),
        "problems": each.judge.problems(),
        "remote": each.judge.remote,
    }


def _notes(data: LabelledPairs, judged: Sequence[Judged]) -> list[str]:
    notes = list(data.remarks)
    if data.skipped:
        notes.append(f"{describe_skipped(data.skipped, data.total)}.")
    for each in judged:
        if each.one_order:
            notes.append(f"{each.label} was asked in one order only: its position bias is unknown.")
        notes += [f"{each.label}: {problem}" for problem in each.judge.problems()]
    return notes


def _write(out: Path, summary: Json, data: LabelledPairs, judged: Sequence[Judged]) -> None:
    from .plot import agreement_plot
    from .table import write_csv, write_markdown

    for name in FILES:
        (out / name).unlink(missing_ok=True)  # of an earlier call with other judges
    if judged:
        write_jsonl(out / "verdicts.jsonl", [row for each in judged for row in _rows(each, data)])
    write_markdown(out / "table.md", summary)
    write_csv(out / "table.csv", summary)
    agreement_plot(summary, out / "agreement.png")
    write_json(out / "summary.json", summary)  # last: a summary says that the rest is there


def _rows(each: Judged, data: LabelledPairs) -> list[Json]:
    """The verdicts as `replay:` reads them: both name the output that won, 'first' for output_1."""
    rows = []
    for pair, verdict in zip(data.pairs, each.verdicts, strict=True):
        compared = pair.comparison
        texts = {"prompt": compared.prompt.text, "output_1": compared.first.text, "output_2": compared.second.text}
        label = None if pair.label is None else int(CODES[pair.label])
        swapped = None if each.one_order else verdict.swapped
        said = {"forward": verdict.forward, "swapped": swapped, "margin": verdict.margin}
        rows.append({"judge": each.label, "line": pair.line, **texts, "label": label, **said})
    return rows
