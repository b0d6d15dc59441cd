"""Verdicts on disk: a judge has a folder, and a file in it for each two files of samples that it compared.

A file of samples is named by its path in the results folder, which holds the key of everything it depends on. So the
verdicts on two of them are found from the two paths alone, whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .records import Outcome, Usage, Verdict
from .results import Json, digest, read_json, write_json

SCHEMA = 1
_OTHER: dict[Outcome, Outcome] = {"first": "second", "second": "first"}


@dataclass(frozen=True)
class Match:
    """A judge's verdicts on two files of samples; "first" is the one that was asked for first.

    `positions` are the prompts of the files that were compared, all of them where it is None. `usage` is what the
    answers cost, the attempts that came to an end together, None where nothing is counted: what a killed process has
    asked is kept in the cache of answers, and stands here as answered before. `problems` say why questions are open.
    """

    verdicts: list[Verdict]
    positions: list[int] | None = None
    seconds: float = 0.0
    usage: Usage | None = None
    problems: tuple[str, ...] = ()

    @property
    def unanswered(self) -> int:
        return sum(verdict.unanswered for verdict in self.verdicts)


def held_out_names(file: str) -> tuple[str, str]:
    """The two "files of samples" that the chosen and the rejected completions of the held-out pairs are."""
    return f"{file}#chosen", f"{file}#rejected"


def match_file(folder: Path, first: str, second: str) -> Path:
    """Where a judge with this folder keeps its verdicts on two files of samples, in whichever order they are named."""
    return folder / f"{digest(*sorted((first, second)))}.json"


def read_match(folder: Path, first: str, second: str) -> Match | None:
    """The verdicts on two files of samples, None where the judge has not compared them."""
    path = match_file(folder, first, second)
    if not path.exists():
        return None
    found = read_json(path)
    verdicts = [Verdict(*triple) for triple in found["verdicts"]]
    if found["first"] != first:
        verdicts = [exchanged(verdict) for verdict in verdicts]
    usage = None if found["usage"] is None else Usage(**found["usage"])
    return Match(verdicts, found["positions"], found["seconds"], usage, tuple(found["problems"]))


def write_match(folder: Path, first: str, second: str, match: Match) -> None:
    found: Json = {
        "schema": SCHEMA,
        "first": first,
        "second": second,
        "seconds": match.seconds,
        "usage": match.usage and asdict(match.usage),
        "problems": list(match.problems),
        "positions": match.positions,
        "verdicts": [[verdict.forward, verdict.swapped, verdict.margin] for verdict in match.verdicts],
    }
    write_json(match_file(folder, first, second), found)


def exchanged(verdict: Verdict) -> Verdict:
    """The same answers with the two completions named the other way round.

    What was shown first in the forward question is shown first in the swapped one now.
    """
    margin = None if verdict.margin is None else -verdict.margin
    forward, swapped = (_OTHER.get(answer, answer) for answer in (verdict.swapped, verdict.forward))
    return Verdict(forward, swapped, margin)


def total(parts: Sequence[Usage | None]) -> Usage | None:
    """What several comparisons cost together, None where none of them counted."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    counts = {f.name: sum(getattr(part, f.name) for part in known) for f in fields(Usage) if f.name != "cost"}
    # What was asked without a price makes the whole unknown; what needed no new answer cost nothing.
    paid = [part for part in known if part.prompt_tokens or part.completion_tokens or part.cost]
    unknown = any(part.cost is None for part in paid) or all(part.cost is None for part in known)
    return Usage(**counts, cost=None if unknown else sum(part.cost or 0.0 for part in known))
