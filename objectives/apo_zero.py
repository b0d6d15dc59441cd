"""Anchored preference optimization, zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Paired, Pairs, Positive


@dataclass(frozen=True)
class APOZero(Paired):
    """APO-zero: the chosen is raised above the reference and the rejected pushed below it, each by itself, `[B]`.

    With r = beta log pi(y|x)/pi_ref(y|x):

        1 - sigmoid(r_w) + sigmoid(r_l)

    For chosen completions that are better than what the model itself writes; otherwise `apo_down`. The loss is bounded:
    pairs far from the reference, right or wrong, have hardly any gradient.
    """

    paper = "arXiv:2408.06266, eq. 7"
    at_reference: ClassVar[float | None] = 1.0
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return torch.sigmoid(-self.beta * batch.chosen.log_ratio) + torch.sigmoid(self.beta * batch.rejected.log_ratio)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3, times 0.1: 1 - sigmoid(0.2) + sigmoid(-0.3) = 0.450166 + 0.425557 = 0.875723.
        # At the reference: 1/2 + 1/2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.875723, 1.0])
