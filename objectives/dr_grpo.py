"""GRPO done right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Experience

from ._online import Grouped


@dataclass(frozen=True)
class DrGRPO(Grouped):
    """Dr. GRPO: GRPO divided neither by the spread of a group's rewards nor by the length of a completion, `[B]`.

    With A_i = r_i - mean r over the n samples of a prompt and rho = pi / pi_old, summed over a completion's tokens:

        sum_t max(-A rho_t, -A clip(rho_t, 1 - clip, 1 + clip)) + beta (pi_ref / pi - log(pi_ref / pi) - 1)_t

    The authors' code divides this sum by a constant, the longest length that is sampled; the formula has none, and nor
    has this: it would only scale the learning rate. The paper sets beta = 0, for rewards that cannot be exploited; a
    reward model can, so GRPO's beta is kept here. With one update a rollout rho is 1 and nothing is clipped.

    Its limit is not the optimum of E r - beta KL: the mean gradient of k3 is that of KL(pi_ref || pi), and the mean of
    a group holds the sample's own reward. It stops where, with Q the expected reward after a token, V the mean of Q
    under pi and b = beta n / (n - 1), at every prefix pi = pi_ref b / (b + V - Q).
    """

    paper = "arXiv:2503.20783, section 3.2, 'Dr. GRPO'"
    known_failures: ClassVar[Mapping[str, str]] = {
        "policy_gradient": "the mean of a group holds the sample's own reward, which scales the gradient by (n - 1) / n"
    }

    def advantages(self, rewards: Tensor) -> Tensor:  # [P, n]
        return rewards - rewards.mean(1, keepdim=True)

    def loss(self, batch: Experience) -> Tensor:  # [B]
        return self.token_loss(batch).sum(1)

    @staticmethod
    def example() -> tuple[Experience, Tensor]:
        # Ratios 1.5 and 0.5 with A = 1: max(-1.5, -1.2) + max(-0.5, -0.8) = -1.7; pi_ref / pi = 2 and 1:
        # 0.04 (2 - log 2 - 1) = 0.012274. One token with A = -1 and ratio 0.5, at the reference: max(0.5, 0.8).
        mask = torch.tensor([[True, True], [True, False]])
        logps = torch.tensor([[0.3, 0.2], [0.2, 1.0]]).log()
        ref, old = torch.tensor([[0.6, 0.2], [0.2, 1.0]]).log(), torch.tensor([[0.2, 0.4], [0.4, 1.0]]).log()
        advantages, scores = torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([2.0, 1.0])
        batch = Experience(Completions.of(logps, ref, mask), old, advantages, scores=scores)
        return batch, torch.tensor([-1.687726, 0.8])
