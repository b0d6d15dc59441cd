"""Group relative policy optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from alignbench import Completions, Experience

from ._online import Grouped


@dataclass(frozen=True)
class GRPO(Grouped):
    """Group relative policy optimization: rewards are normalised among the n samples of a prompt.

    With A_i = (r_i - mean r) / (std r + 1e-4) over the n samples of a prompt (the sample's standard deviation, n - 1),
    rho = pi / pi_old, and the KL in the loss (k3), each token costs

        max(-A rho, -A clip(rho, 1 - clip, 1 + clip)) + beta (pi_ref / pi - log(pi_ref / pi) - 1)

    `normaliser` says what these are averaged over: "sequence" is the paper's, the mean over the tokens of each
    completion (`[B]`), under which a token of a long one counts less; "token" takes all tokens of the batch alike
    (`[B, T]`, as in DAPO). The gradient of k3 is not that of the KL it estimates: on the policy's own samples its mean
    is that of KL(pi_ref || pi). With one update a rollout, the default, rho is 1 and nothing is clipped.
    """

    paper = "arXiv:2402.03300, eq. 3 and 4; normaliser 'token': DAPO, arXiv:2503.14476, section 3.3"
    normaliser: Literal["sequence", "token"] = "sequence"

    def advantages(self, rewards: Tensor) -> Tensor:  # [P, n]
        # Equal rewards leave nothing but rounding to divide by: 1e-4 is above it, and below any spread that matters.
        return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)

    def loss(self, batch: Experience) -> Tensor:  # [B], or [B, T] with the normaliser "token"
        tokens = self.token_loss(batch)
        return tokens if self.normaliser == "token" else tokens.sum(1) / batch.completions.length

    @staticmethod
    def example() -> tuple[Experience, Tensor]:
        # Ratios 1.5 and 0.5 with A = 1: max(-1.5, -1.2) and max(-0.5, -0.8), mean -0.85; pi_ref / pi = 2 and 1:
        # 0.04 (2 - log 2 - 1) = 0.012274 and 0, mean 0.006137. One token with A = -1 and ratio 0.5, at the reference:
        # max(0.5, 0.8).
        mask = torch.tensor([[True, True], [True, False]])
        logps = torch.tensor([[0.3, 0.2], [0.2, 1.0]]).log()
        ref, old = torch.tensor([[0.6, 0.2], [0.2, 1.0]]).log(), torch.tensor([[0.2, 0.4], [0.4, 1.0]]).log()
        advantages, scores = torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([2.0, 1.0])
        batch = Experience(Completions.of(logps, ref, mask), old, advantages, scores=scores)
        return batch, torch.tensor([-0.843863, 0.8])
