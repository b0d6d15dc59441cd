"""Self-play preference optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive

from ._limits import by_completion


@dataclass(frozen=True)
class SPPO(Paired):
    """SPPO with hard labels: each log-ratio is regressed on +-1 / (2 beta), by itself, `[B]`.

    With h = log pi(y|x)/pi_ref(y|x), nats a completion:

        (h_w - 1 / (2 beta))^2 + (h_l + 1 / (2 beta))^2

    One round of the paper, from the reference and on the pairs that are there: the chosen has won with probability 1.
    beta is the paper's 1 / eta; its eta is 1000.
    """

    paper = "arXiv:2405.00675, eq. 4.7 with P of 1 and 0"
    at_reference: ClassVar[float | None] = 50.0
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        target = 1 / (2 * self.beta)
        return (batch.chosen.log_ratio - target) ** 2 + (batch.rejected.log_ratio + target) ** 2

    def limit(self, world: ExactWorld) -> Tensor | None:
        # A completion's expected target is t = (2 p(y > y'~ref) - 1) / (2 beta), and E_ref e^t >= e^(E_ref t) = 1.
        target = (2 * world.preference - 1) / (2 * self.beta)
        return by_completion(world, lambda h: h - target, self.beta)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3, 1 / (2 beta) = 5: (2 - 5)^2 + (-3 + 5)^2 = 13. At the reference: 25 + 25.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([13.0, 50.0])
