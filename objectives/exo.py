"""Efficient exact optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Paired, Pairs, Positive, Range


@dataclass(frozen=True)
class EXO(Paired):
    """EXO: the reverse KL from the policy's own preference to that of the labels, smoothed by e, `[B]`, nats.

    With q = sigmoid(beta (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x))) and e = `label_smoothing`:

        q log(q / (1 - e)) + (1 - q) log((1 - q) / e)

    DPO is the KL the other way round. It is least, 0, at q = 1 - e: beyond that margin the gradient turns. e must be
    above 0, and the paper has 1e-3; beta is its beta_pi.
    """

    paper = "arXiv:2402.00856, eq. 16"
    at_reference: ClassVar[float | None] = 2.761231
    beta: Positive = 0.1
    label_smoothing: Annotated[float, Range(0, 0.5, low_open=True)] = 1e-3

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin, e = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio), self.label_smoothing
        right = margin.sigmoid() * (logsigmoid(margin) - math.log1p(-e))
        return right + (-margin).sigmoid() * (logsigmoid(-margin) - math.log(e))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3: q = sigmoid(0.5) = 0.622459, log q = -0.474077, log(1 - q) = -0.974077, and
        # 0.622459 (-0.474077 + 0.001001) + 0.377541 (-0.974077 + 6.907755) = 1.945734. At the reference, with q = 1/2:
        # -0.693147 + (0.001001 + 6.907755) / 2 = 2.761231.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([1.945734, 2.761231])
