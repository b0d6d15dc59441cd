"""Simple Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, NonNegative, Paired, Pairs, Positive


@dataclass(frozen=True)
class SimPO(Paired):
    """Simple Preference Optimization: a logistic loss on the margin of the mean log-probs; no reference, `[B]`, nats.

        -log sigmoid(beta (log pi(y_w|x) / |y_w| - log pi(y_l|x) / |y_l| - gamma_beta_ratio))

    `gamma_beta_ratio` is the margin to be reached, in nats a token: the paper's gamma divided by beta, as in its
    authors' code. The paper's gamma is beta * gamma_beta_ratio; TRL's `simpo_gamma` is the paper's.
    """

    paper = "arXiv:2405.14734, eq. 6, with gamma = beta * gamma_beta_ratio"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    beta: Positive = 2.0
    gamma_beta_ratio: NonNegative = 0.5

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = batch.chosen.mean_logp - batch.rejected.mean_logp
        return -logsigmoid(self.beta * (margin - self.gamma_beta_ratio))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Means -1 (over 2 tokens) and -2: 2 (1 - 0.5) = 1, log(1 + e^-1) = 0.313262.
        # Means -1.5 and -1.5: 2 (0 - 0.5) = -1, log(1 + e) = 1.313262.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[-0.5, -1.5], [-1.0, -2.0]]), None, both)
        rejected = Completions.of(torch.tensor([[-2.0], [-1.5]]), None, first)
        return Pairs(chosen, rejected), torch.tensor([0.313262, 1.313262])
