"""Anchored preference optimization, down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Move, Paired, Pairs, Positive


@dataclass(frozen=True)
class APODown(Paired):
    """APO-down: both completions are pushed below the reference, the rejected further than the chosen, `[B]`.

    With r = beta log pi(y|x)/pi_ref(y|x):

        sigmoid(r_w) + 1 - sigmoid(r_w - r_l)

    For chosen completions that are worse than what the model itself writes; otherwise `apo_zero`. The slope in r_w,
    sigmoid'(r_w) - sigmoid'(r_w - r_l), is 0 at the reference and lowers the chosen where |r_w| < |r_w - r_l|, as it is
    when the two have opposite signs.
    """

    paper = "arXiv:2408.06266, eq. 8"
    at_reference: ClassVar[float | None] = 1.0
    moves: ClassVar[Mapping[str, Move]] = {"chosen": "down", "rejected": "down"}
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = self.beta * batch.chosen.log_ratio, self.beta * batch.rejected.log_ratio
        return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3, times 0.1: sigmoid(0.2) + 1 - sigmoid(0.5) = 0.549834 + 0.377541 = 0.927375.
        # At the reference: 1/2 + 1/2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.927375, 1.0])
