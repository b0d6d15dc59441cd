"""DPO-Positive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, NonNegative, Paired, Pairs, Positive


@dataclass(frozen=True)
class DPOP(Paired):
    """DPO-Positive: DPO whose margin pays for a chosen completion that is less likely than under the reference, `[B]`.

    With h = log pi(y|x)/pi_ref(y|x):

        -log sigmoid(beta (h_w - h_l - lam max(0, -h_w)))

    The penalty is inside the sigmoid, so a pair whose margin is large enough pays nothing; lam = 0 is DPO.
    """

    paper = "arXiv:2402.13228, the DPOP loss"
    at_reference: ClassVar[float | None] = math.log(2)
    beta: Positive = 0.1
    lam: NonNegative = 50.0

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = batch.chosen.log_ratio, batch.rejected.log_ratio
        return -logsigmoid(self.beta * (chosen - rejected - self.lam * torch.relu(-chosen)))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # h_w = (-1 - 2) - (-0.9 - 1.9) = -0.2, h_l = (-4) - (-2.8) = -1.2: 0.1 (1 - 50 * 0.2) = -0.9, and
        # log(1 + e^0.9) = 1.241154. h_w = 2, h_l = -3 pays no penalty: 0.1 * 5 = 0.5 and log(1 + e^-0.5) = 0.474077.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -2.0]]), torch.tensor([[-0.9, -1.9], [-2.0, -3.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-4.0]]), torch.tensor([[-2.8], [-1.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([1.241154, 0.474077])
