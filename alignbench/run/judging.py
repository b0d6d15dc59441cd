"""Judging: every judge on every two files of samples that are to be compared, each comparison once.

It reads the results folder alone, `run.json` and the files that this names, so that a finished run can be judged again
where neither its data nor its models are at hand any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from ..judge import Judge, JudgeContext, checked
from ..matches import Match, held_out_names, read_match, total, write_match
from ..plugins import find
from ..plugins.code import source as code_of
from ..pretrained import fingerprint_of
from ..records import Comparison, Completion, Prompt, Usage
from ..results import Json, digest, read_jsonl, slug
from .config import Config
from .rows import judged_sides, prompt_of

ANSWERS = "answers.sqlite"  # of judges behind a server
Report = Callable[[float, str], None]
HELD_OUT = -1  # the "seed" of the held-out pairs, which belong to none


@dataclass
class Progress:
    """How far a judge has come with all of its comparisons, told by how far it is with one of them."""

    report: Report
    over: int = 0
    count: int = 1

    def __call__(self, fraction: float, text: str) -> None:
        self.report((self.over + fraction) / self.count, f"comparison {self.over + 1} of {self.count}  {text}")


@dataclass(frozen=True)
class Roster:
    """Whose samples there are and what is to be compared, as `run.json` says it; only files that are there count."""

    folder: Path
    run: Json

    @property
    def question(self) -> str:
        return str(self.run["question"])

    def pairings(self, seed: int) -> Iterator[tuple[str, str]]:
        """The two files of each comparison of a seed, as paths in the folder.

        At temperature 1 every spec and best-of-n against the reference and the data's chosen, specs against each
        other, the reference against the chosen; at other temperatures all against the reference at 1 and the chosen.
        """
        if seed == HELD_OUT:
            yield from [held_out_names(self.run["held_out"])] if self._there(self.run["held_out"]) else []
            return
        against, reference = self.run["config"]["against"], self.run["reference"][str(seed)]
        specs = [
            {t: f"{cell['folder']}/seed-{seed}/{name}" for t, name in cell["samples"].items()}
            for cell in self.run["cells"]
        ]
        best = [{"1": files[str(seed)]} for files in self.run["best_of"].values()]
        opponents = [reference["1"]] if "reference" in against else []
        opponents += [self.run["chosen"]] if "chosen" in against and self.run["chosen"] else []
        own = [(a["1"], b["1"]) for a, b in combinations(specs, 2)] if "each-other" in against else []
        held = [(file, other) for other in opponents for who in (*specs, *best, reference) for file in who.values()]
        for first, second in (*held, *own):
            if first != second and self._there(first) and self._there(second):
                yield first, second

    def _there(self, file: str | None) -> bool:
        return file is not None and (self.folder / file).exists()

    def comparisons(self, seed: int, first: str, second: str) -> tuple[list[Comparison], list[int] | None]:
        """What a judge is asked, and at which prompts where it is not at all of them."""
        if seed == HELD_OUT:
            asked = self._held_out[: self.run["held_out_pairs"]]
            return [Comparison(p, chosen, rejected) for p, chosen, rejected in asked], None
        prompts, ours = self._prompts(seed), self._completions(first)
        if second != self.run["chosen"]:
            theirs = self._completions(second)
            return [Comparison(*texts) for texts in zip(prompts, ours, theirs, strict=True)], None
        known = {prompt.text: chosen for prompt, chosen, _ in self._held_out}
        places = [i for i, prompt in enumerate(prompts) if prompt.text in known]
        return [Comparison(prompts[i], ours[i], known[prompts[i].text]) for i in places], places

    def _prompts(self, seed: int) -> list[Prompt]:
        return [prompt_of(row["asked"]) for row in read_jsonl(self.folder / self.run["reference"][str(seed)]["1"])]

    def _completions(self, file: str) -> list[Completion]:
        return [Completion(row["completion"], row["ended"]) for row in read_jsonl(self.folder / file)]

    @cached_property
    def _held_out(self) -> list[tuple[Prompt, Completion, Completion]]:
        """Prompt, chosen and rejected of the held-out pairs, the best and the worst of a ranked list."""
        rows = [(row, judged_sides(row)) for row in read_jsonl(self.folder / self.run["eval_records"])]
        return [(prompt_of(row["prompt"]), *sides) for row, sides in rows if sides is not None]


def label_of(name: str, argument: str) -> str:
    """What tables call a judge."""
    return name + (f":{argument}" if argument else "")


def judge_folder(name: str, argument: str, question: str, models: dict[str, str], gold: str, url: str) -> str:
    """Where a judge keeps its verdicts, as a path in the results folder: by everything that its answers depend on.

    That is its code, its argument and the content of what this names, the question, and the server's URL; without an
    argument the stages that trained its model (`models`, paths by need) and the data's code (`gold`).
    """
    cls = find("judge", name)
    trained = [] if argument else [models[need] for need in sorted(cls.needs) if need in models]
    known = [gold] if "gold" in cls.needs else []
    key = digest(
        code_of(cls, "alignbench.judge"), argument, argument and content_of(argument), question, trained, known,
        cls.identity(argument, url),
    )  # fmt: skip
    return f"verdicts/{slug(label_of(name, argument))}-{key}"


def content_of(argument: str) -> str:
    """A model folder or a file by what is in it, anything else by its name."""
    path = Path(argument)
    return digest(path.read_bytes().hex()) if path.is_file() else fingerprint_of(argument)


def context_of(
    config: Config,
    gold: Callable[..., Any],
    models: dict[str, Path],
    report: Callable[[float, str], None] | None = None,
) -> JudgeContext:
    """What the judges of a run are opened with. Answers of servers are kept beside the results, for every run there."""
    context = JudgeContext(
        gold=gold,
        models=models,
        device=config.device,
        url=config.judge_url,
        answers=config.stages_folder.parent / ANSWERS,
        timeout=config.judge_timeout,
        concurrency=config.judge_concurrency,
        price=config.judge_price,
    )
    return context if report is None else JudgeContext(**{**vars(context), "report": report})


def complete(roster: Roster, folder: str, seed: int) -> bool:
    """Whether a judge has answered every question on a seed."""
    found = [read_match(roster.folder / folder, *files) for files in roster.pairings(seed)]
    return all(match is not None and not match.unanswered for match in found)


def judge_seed(roster: Roster, judge: Judge, folder: str, seed: int, progress: Progress) -> list[Match]:
    """Ask a judge what it has not answered yet; returns the comparisons in which questions have stayed unanswered.

    A comparison is written as soon as it is over. One with unanswered questions is asked as a whole again, its answers
    so far from the cache.
    """
    place, unfinished = roster.folder / folder, list[Match]()
    pairings = list(roster.pairings(seed))
    progress.count = max(1, len(pairings))
    for progress.over, (first, second) in enumerate(pairings):
        before = read_match(place, first, second)
        if before is not None and not before.unanswered:
            continue
        progress(0.0, "")
        items, positions = roster.comparisons(seed, first, second)
        started, spent = time.perf_counter(), replace(judge.usage() or Usage())
        verdicts = checked(judge.compare(roster.question, items), len(items), judge)
        seconds = time.perf_counter() - started + (before.seconds if before else 0.0)
        usage = total([before.usage if before else None, _since(spent, judge.usage())])
        match = Match(verdicts, positions, seconds, usage, tuple(judge.problems()))
        write_match(place, first, second, match)
        unfinished += [match] if match.unanswered else []
    return unfinished


def _since(before: Usage, after: Usage | None) -> Usage | None:
    """What was used between two readings."""
    if after is None:
        return None
    counts: Json = {name: value - (vars(before)[name] or 0) for name, value in vars(after).items() if value is not None}
    return Usage(**counts)


def summed_up(label: str, unfinished: Sequence[Match]) -> str:
    """The sentence with which a run says that a judge has left questions unanswered; the last comparison says why."""
    count = sum(match.unanswered for match in unfinished)
    why = "; ".join(problem.rstrip(".") for problem in unfinished[-1].problems) or "it did not say why"
    return (
        f"judge {label} left {count} question{'s' * (count > 1)} unanswered ({why}): what it has answered is kept, and "
        f"the same command asks for the rest."
    )
