"""Alignment via optimal transport, paired."""

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
class AOT(Paired):
    """Alignment via optimal transport, paired: the policy's margins against the reference's, quantile by quantile.

    With the margins log pi(y_w|x) - log pi(y_l|x) of the policy and of the reference sorted over the whole batch, and
    i the rank of a pair under the policy, `[B]`, nats:

        -log sigmoid(beta (margin_(i) - ref_margin_(i)))

    A policy's margin meets the reference's margin of another pair: what counts are their distributions, and the
    loss depends on the batch size; a batch of one is DPO. Ranks come from a pass over the whole batch.
    """

    paper = "arXiv:2406.05882, AOT paired, logistic loss"
    at_reference: ClassVar[float | None] = 0.693147
    beta: Positive = 0.1

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        for pairs in engine.pairs():
            chosen, rejected = scored(engine, pairs)
            reference = chosen.ref_logps.sum(-1) - rejected.ref_logps.sum(-1)
            yield pairs.with_extra(partner=partners(chosen.logp - rejected.logp, reference))

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return -logsigmoid(self.beta * (batch.chosen.logp - batch.rejected.logp - batch.extra["partner"]))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Margins of the policy 1 and 0, of the reference -4 and 0: the larger meets the larger, 1 with 0 and 0 with -4.
        # log(1 + e^-0.1) = 0.644397, log(1 + e^-0.4) = 0.513015.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        batch = Pairs(chosen, rejected).with_extra(partner=torch.tensor([0.0, -4.0]))
        return batch, torch.tensor([0.644397, 0.513015])
