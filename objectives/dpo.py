"""Direct Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Paired, Pairs, Positive


@dataclass(frozen=True)
class DPO(Paired):
    """Direct Preference Optimization: a logistic loss on the implicit reward margin.

    -log sigmoid(beta (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x))), `[B]`, nats.
    """

    paper = "arXiv:2305.18290, eq. 7"
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return -logsigmoid(self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Chosen log-ratio (-1 - 2) - (-2 - 3) = 2, rejected (-4) - (-1) = -3: margin 5, times beta 0.1 is 0.5, and
        # log(1 + e^-0.5) = 0.474077. The second pair is at the reference: log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.474077, 0.693147])
