"""Where a loss is looked at: points are rules that give a sequence its log-probs, its reference and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

FAR = 1e4  # the largest log-prob and log-ratio, nats, that a loss has to bear
RATIO = 1e3  # the largest log of an importance ratio


class Numbers(NamedTuple):
    """What a table holds of one sequence of T tokens, float64: `logps`, `ref_logps`, `moved` (the log-probs after some
    optimizer steps on a rollout) `[T]`, `values` and `moved_values` `[T + 1]`."""

    logps: Tensor
    ref_logps: Tensor
    moved: Tensor
    values: Tensor
    moved_values: Tensor


@dataclass(frozen=True)
class Point:
    """A rule from T uniform draws to the numbers of a sequence; `name` is what a sentence calls the place."""

    name: str
    rule: Callable[[Generator, int], Numbers]


def uniform(draw: Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=draw, dtype=torch.float64)


def _ordinary(spread: float, move: float) -> Callable[[Generator, int], Numbers]:
    """Tokens of probability .05 to .9, the reference within `spread` nats a token, later log-probs within `move`."""

    def rule(draw: Generator, length: int) -> Numbers:
        logps = uniform(draw, length, -3.0, -0.1)
        ref = (logps + uniform(draw, length, -spread, spread)).clamp(max=-1e-3) if spread else logps
        moved = (logps + uniform(draw, length, -move, move)).clamp(max=-1e-3) if move else logps
        values = uniform(draw, length + 1, -1.0, 1.0)
        return Numbers(logps, ref, moved, values, values + uniform(draw, length + 1, -move, move))

    return rule


def _corners(size: float, per_sequence: bool, *only: float) -> Callable[[Generator, int], Numbers]:
    """Log-probs now, later and under the reference, each 0 or -`size` a token (or a sequence); `only` fixes the first
    and the last: 0 or 1 times -`size`."""

    def rule(draw: Generator, length: int) -> Numbers:
        each = -size / length if per_sequence else -size
        now, later, ref = (each * uniform(draw, 1, 0, 1).round() for _ in range(3))
        now, ref = (each * torch.tensor(part) for part in only) if only else (now, ref)
        values = size * uniform(draw, length + 1, -1, 1).round()
        ones = torch.ones(length, dtype=torch.float64)
        return Numbers(now * ones, ref * ones, later * ones, values, -values)

    return rule


def _ratios(draw: Generator, length: int) -> Numbers:
    """Importance ratios of e^+-1e3 of each token, both before and after the log-probs of the reference."""
    logps = torch.where(uniform(draw, length, 0, 1) < 0.5, -RATIO, 0.0).double()
    moved = -RATIO - logps
    values = uniform(draw, length + 1, -1, 1)
    return Numbers(logps, logps, moved, values, values)


def _certain(draw: Generator, length: int) -> Numbers:
    """Tokens of probability 1 - 1e-7, the smallest distance from 1 that float32 can tell."""
    logps = -1e-7 * torch.ones(length, dtype=torch.float64)
    values = uniform(draw, length + 1, -1, 1)
    return Numbers(logps, logps, logps, values, values)


AT_REFERENCE = Point("at the reference", _ordinary(0.0, 0.0))
NEAR = Point("near the reference", _ordinary(0.02, 0.01))
ORDINARY = Point("at ordinary log-probs", _ordinary(0.4, 0.3))
WIDE = Point("at log-ratios of some 10 nats", _ordinary(8.0, 3.0))
EXTREME = (
    Point("at log-probs of 0 and -1e4 a token", _corners(FAR, False)),
    Point("at log-probs of 0 and -1e4 a sequence", _corners(FAR, True)),
    Point("at log-probs of 0 and -1e2 a sequence", _corners(1e2, True)),
    Point("at log-ratios of +1e4", _corners(FAR, True, 0.0, 1.0)),
    Point("at log-ratios of -1e4", _corners(FAR, True, 1.0, 0.0)),
    Point("at probabilities of 1", _corners(FAR, True, 0.0, 0.0)),
    Point("at probabilities of 1 - 1e-7", _certain),
    Point("at importance ratios of e^1e3 and e^-1e3", _ratios),
)
