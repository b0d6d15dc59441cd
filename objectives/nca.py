"""Noise contrastive alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive

from ._limits import by_completion


@dataclass(frozen=True)
class NCA(Paired):
    """Noise contrastive alignment on pairs: each completion is told from one of the reference by itself, `[B]`, nats.

    With r = beta log pi(y|x)/pi_ref(y|x), for the chosen r_w and the rejected r_l:

        -log sigmoid(r_w) - log sigmoid(-r_w) / 2 - log sigmoid(-r_l) / 2

    Unlike DPO it fixes r_w itself and not a margin: the loss of the chosen is least at r_w = log 2.
    """

    paper = "arXiv:2402.05369, section 4.1, for pairs"
    at_reference: ClassVar[float | None] = 2 * math.log(2)
    beta: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = self.beta * batch.chosen.log_ratio, self.beta * batch.rejected.log_ratio
        return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)

    def limit(self, world: ExactWorld) -> Tensor | None:
        # With p = p(y > y'~ref), a completion costs -p log sigmoid(beta h) - log sigmoid(-beta h) / 2 in expectation,
        # least at h = log(2 p) / beta, and E_ref (2 p)^(1 / beta) >= (E_ref 2 p)^(1 / beta) = 1 where beta <= 1.
        def slope(h: Tensor) -> Tensor:
            return self.beta * ((world.preference + 0.5) * (self.beta * h).sigmoid() - world.preference)

        return by_completion(world, slope, self.beta) if self.beta <= 1 else None

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3, times 0.1: log(1 + e^-0.2) + log(1 + e^0.2) / 2 + log(1 + e^-0.3) / 2
        # = 0.598139 + 0.798139 / 2 + 0.554355 / 2 = 1.274386. At the reference: 2 log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([1.274386, 1.386294])
