"""Which of a prompt's samples are compared with which, and what each is worth after that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..records import Verdict
from .drawing import Drawn


@dataclass(frozen=True)
class Scored:
    """The score of each sample of a prompt: a reward, or the mean score of its comparisons; None where the text is
    empty, which no data file can hold. The counts are of comparisons, of those that named another winner in each order,
    of answers that name no side (each scores 1/2), and of questions that have no answer yet."""

    scores: tuple[float | None, ...]
    comparisons: int = 0
    contradictions: int = 0
    refused: int = 0
    unparsed: int = 0
    unanswered: int = 0


def different(drawn: Drawn) -> list[int]:
    """The places of a prompt's different samples, each where it comes first; empty ones, which no file can hold, left
    out. White space at the ends makes no difference."""
    first: dict[str, int] = {}
    for place, sample in enumerate(drawn.samples):
        first.setdefault(sample.text.strip(), place)
    return [place for text, place in first.items() if text]


def rivals(drawn: Drawn) -> list[int]:
    """Those that are judged: one sample alone makes no pair."""
    found = different(drawn)
    return found if len(found) > 1 else []


def ring(size: int, reach: int = 0) -> Iterator[tuple[int, int]]:
    """Every two of `size` things at most `reach` apart on a ring, once; without `reach` every two."""
    for i in range(size):
        for j in range(i + 1, size):
            if not reach or min(j - i, size - j + i) <= reach:
                yield i, j


def mean_scores(drawn: Drawn, verdicts: dict[tuple[int, int], Verdict]) -> Scored:
    """Each sample's mean score over its comparisons; every one of them counts as much as any other."""
    points: dict[str, list[float]] = {}
    for (i, j), verdict in verdicts.items():
        points.setdefault(drawn.samples[i].text.strip(), []).append(verdict.score)
        points.setdefault(drawn.samples[j].text.strip(), []).append(1 - verdict.score)
    means = {text: sum(scores) / len(scores) for text, scores in points.items()}
    answers = [answer for verdict in verdicts.values() for answer in (verdict.forward, verdict.swapped)]
    scores = tuple(means.get(sample.text.strip()) for sample in drawn.samples)
    twofold = sum(verdict.contradiction for verdict in verdicts.values())
    counts = (answers.count(kind) for kind in ("refused", "unparsed", "unanswered"))
    return Scored(scores, len(verdicts), twofold, *counts)
