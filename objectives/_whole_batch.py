"""What an objective reads of a whole batch before the loop splits it."""

from __future__ import annotations

import torch
from torch import Tensor

from alignbench import Completions, Engine, Pairs


def scored(engine: Engine, pairs: Pairs) -> tuple[Completions, Completions]:
    """Chosen and rejected under the policy of now and the reference, from one pass; `pairs` itself stays unread."""
    whole = pairs.select(range(len(pairs)))
    return engine.score(whole.chosen), engine.score(whole.rejected)


def partners(values: Tensor, others: Tensor) -> Tensor:
    """`[B]`: to each of `values` that of `others` which has the same rank."""
    return others.sort().values[values.argsort().argsort()]


class RewardShift:
    """delta = (mean reward of the desirable + mean reward of the undesirable) / 2, over all that was met so far.

    The means are cumulative: a completion counts for what its reward was when it was met, the latest batch included.
    That has no constant to tune and its noise dies out, but it lags behind rewards that drift. A label that was not met
    yet is left out.
    """

    def __init__(self) -> None:
        self._sums, self._counts = [0.0, 0.0], [0, 0]

    def update(self, rewards: Tensor, desirable: Tensor) -> Tensor:
        """delta with a batch's rewards `[N]` included, as a tensor of the same shape."""
        for label in (False, True):
            side = rewards[desirable == label]
            self._sums[label] += float(side.double().sum())
            self._counts[label] += len(side)
        means = [total / count for total, count in zip(self._sums, self._counts, strict=True) if count]
        return torch.full_like(rewards, sum(means) / len(means))
