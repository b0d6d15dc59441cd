"""Iterative reasoning preference optimization: DPO with a supervised term."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, NonNegative, Paired, Pairs, Positive


@dataclass(frozen=True)
class RPO(Paired):
    """DPO with a supervised term on the chosen completion (the loss of iterative RPO), `[B]`, nats.

    With m as in DPO:

        -log pi(y_w|x) / |y_w| - alpha log sigmoid(m)

    The supervised term is averaged over the tokens of each completion, so that a long one weighs as much as a short
    one. alpha stands before the DPO term, as in the paper; TRL's coefficients stand before the other.
    """

    paper = "arXiv:2404.19733, eq. 1"
    beta: Positive = 0.1
    alpha: NonNegative = 1.0

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)
        return -batch.chosen.mean_logp - self.alpha * logsigmoid(margin)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # NLL (1 + 2) / 2 = 1.5 a token; log-ratios 2 and -3 as in DPO: 1.5 + 0.474077.
        # The second pair is at the reference, with an NLL of 1 a token: 1 + log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([1.974077, 1.693147])
