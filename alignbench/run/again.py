"""Further judges on a finished run: nothing is trained, nothing is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..judge import Judge, JudgeContext
from ..matches import Match
from ..models import quiet
from ..plugins import find
from ..records import Completion, Prompt
from ..results import Json, read_json, write_json
from .config import Event
from .describe import SCHEMA
from .judging import ANSWERS, HELD_OUT, Progress, Roster, complete, judge_folder, judge_seed, label_of, summed_up
from .lock import locked
from .plan import Job


@dataclass(frozen=True)
class Server:
    """What judges behind a server are asked with, as in `JudgeContext`."""

    url: str = ""
    timeout: float = 60.0
    concurrency: int = 8
    price: tuple[float, float] | None = None


def judge_again(
    folder: Path,
    judges: Sequence[tuple[str, str]],
    server: Server,
    device: str,
    command: str,
    show: Callable[[Event], None],
    begin: Callable[[list[Job], set[Job], list[str]], None],
) -> list[str]:
    """Ask `judges` whatever they have not answered yet about the samples of a run, and note them in its `run.json`.

    Returns a sentence for each judge that could not be asked everything.

    Raises:
        InputError: the folder holds no finished run, or a judge cannot be opened, asked, or has no model there.
    """
    quiet()
    run = read_json(folder / "run.json")
    if run.get("schema") != SCHEMA:
        raise InputError(f"{folder / 'run.json'} is of another version: run the command that made it again.")
    with locked(folder):
        roster = Roster(folder, run)
        context = _context(folder, run, server, device)
        opened = {known: _open(*known, context, run) for known in judges}
        places = {known: _place(*known, run, server.url) for known in judges}
        _check_own(run, {label_of(*known): place for known, place in places.items()})
        jobs = {
            (known, seed): Job("judging", seed, label_of(*known))
            for known in judges
            for seed in (HELD_OUT, *run["seeds"])
        }
        done = {job for (known, seed), job in jobs.items() if complete(roster, places[known], seed)}
        begin(list(jobs.values()), done, [])
        unfinished: dict[tuple[str, str], list[Match]] = {known: [] for known in judges}
        for (known, seed), job in jobs.items():
            if job in done:
                continue

            def report(fraction: float, text: str, label: str = job.label) -> None:
                show(Event(label, min(0.99, fraction), text))

            progress = Progress(report)
            judge = opened[known](progress)
            unfinished[known] += judge_seed(roster, judge, places[known], seed, progress)
            show(Event(job.label, 1.0, "done"))
        _note(folder, run, {label_of(*known): places[known] for known in judges}, command)
    return [summed_up(label_of(*known), found) for known, found in unfinished.items() if found]


def _check_own(run: Json, places: dict[str, str]) -> None:
    """Refuse to put other verdicts in the place of those that the run itself was judged by."""
    for label, place in places.items():
        if label in _own(run) and run["judges"][label] != place:
            raise InputError(
                f"the run was judged by {label} with another server, model or version of it: give the same, or run its "
                f"own command again with this one."
            )


def _note(folder: Path, run: Json, places: dict[str, str], command: str) -> None:
    """Name the judges in `run.json`; one of the run itself is there already."""
    later = dict(run.get("asked_later") or {})
    later |= {label: {"folder": place, "command": command} for label, place in places.items() if label not in _own(run)}
    judges = {**run["judges"], **places}
    write_json(folder / "run.json", {**run, "judges": judges, "asked_later": later})


def _own(run: Json) -> list[str]:
    return [label for label in run["judges"] if label not in (run.get("asked_later") or {})]


def _context(folder: Path, run: Json, server: Server, device: str) -> JudgeContext:
    models = {need: folder / path for need, path in run["judge_models"].items() if (folder / path).exists()}
    return JudgeContext(
        gold=_gold(run, device),
        models=models,
        device=device,
        url=server.url,
        answers=folder / ANSWERS,
        timeout=server.timeout,
        concurrency=server.concurrency,
        price=server.price,
    )


def _gold(run: Json, device: str) -> Callable[[Sequence[Prompt], Sequence[Completion]], list[float] | None]:
    def gold(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float] | None:
        cls = find("benchmark", run["benchmark"])
        benchmark = cls(**{**dict(run["config"]["benchmark_fields"]), "device": device})
        if benchmark.fingerprint() != run["gold"]:
            raise InputError("judge gold: the benchmark's data or code have changed since the run; run it again.")
        found: list[float] | None = benchmark.gold(prompts, completions)
        return found

    return gold


def _place(name: str, argument: str, run: Json, url: str) -> str:
    return judge_folder(name, argument, str(run["question"]), run["judge_models"], run["gold"], url)


def _open(name: str, argument: str, context: JudgeContext, run: Json) -> Callable[[Any], Judge]:
    """How to open a judge that is known to open and to answer."""
    cls = find("judge", name)
    missing = sorted(need for need in cls.needs - {"gold"} if need not in context.models)
    if missing and not argument:
        raise InputError(f"judge {name}: this run has trained no model for it; name one, {name}:PATH.")
    cls.open(argument, context).check()
    return lambda report: cls.open(argument, replace(context, report=report))
