"""The hinge on the implicit reward margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Paired, Pairs, Positive


@dataclass(frozen=True)
class Hinge(Paired):
    """Hinge on the implicit reward margin: pairs with a margin above 1 no longer count, `[B]`.

        max(0, 1 - beta (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x)))

    SLiC's hinge with the log-probs counted from the reference, as RSO has it; beta is RSO's gamma. `slic` has none.
    """

    paper = "arXiv:2309.06657, the hinge-norm loss"
    at_reference: ClassVar[float | None] = 1.0
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return torch.relu(1 - self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3: 1 - 0.1 * 5 = 0.5. At the reference: 1.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.5, 1.0])
