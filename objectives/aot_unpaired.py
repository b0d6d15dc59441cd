"""Alignment via optimal transport, unpaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Engine, Paired, Pairs, Positive

from ._whole_batch import partners, scored


@dataclass(frozen=True)
class AOTUnpaired(Paired):
    """Alignment via optimal transport, unpaired: chosen log-ratios against rejected ones, quantile by quantile.

    With log-ratios u of the chosen and v of the rejected, each sorted over the whole batch of n pairs, the loss of a
    batch is 1/n sum_i c(u_(i) - v_(i)), c(gap) = -log sigmoid(beta gap). It is served as `[B]`, nats, one term a pair:

        c(u_j - v of u_j's rank) + c(u of v_j's rank - v_j) - [the same second term, as it was before the step]

    The partners, and the last term, come from a pass over the whole batch and have no gradient, so that any split of
    the batch has the value and the gradient of the sorted loss.

    It trains on pairs because the two sides must be equally many, which labels do not promise in a batch; who was
    paired with whom is not used.
    """

    paper = "arXiv:2406.05882, AOT unpaired, logistic loss"
    at_reference: ClassVar[float | None] = 0.693147
    beta: Positive = 0.1

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        for pairs in engine.pairs():
            up, down = (side.log_ratio for side in scored(engine, pairs))
            above = partners(down, up)
            yield pairs.with_extra(below=partners(up, down), above=above, counted=self._cost(above - down))

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        raised = self._cost(batch.chosen.log_ratio - batch.extra["below"])
        lowered = self._cost(batch.extra["above"] - batch.rejected.log_ratio)
        return raised + lowered - batch.extra["counted"]

    def _cost(self, gap: Tensor) -> Tensor:
        return -logsigmoid(self.beta * gap)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # u = 2 and 0, v = -3 and 1; by rank 2 meets 1 and 0 meets -3. The second terms log(1 + e^-0.3) = 0.554355 and
        # log(1 + e^-0.1) = 0.644397 are taken off again, and c(2 - 1) = 0.644397 and c(0 + 3) = 0.554355 are left.
        mask = torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[-1.0], [-2.0]]), torch.tensor([[-3.0], [-2.0]]), mask)
        rejected = Completions.of(torch.tensor([[-4.0], [-1.0]]), torch.tensor([[-1.0], [-2.0]]), mask)
        batch = Pairs(chosen, rejected).with_extra(
            below=torch.tensor([1.0, -3.0]), above=torch.tensor([0.0, 2.0]), counted=torch.tensor([0.554355, 0.644397])
        )
        return batch, torch.tensor([0.644397, 0.554355])
