"""REINFORCE leave-one-out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from alignbench import Completions, Engine, Experience

from ._online import Group, Reinforce, recorded


@dataclass(frozen=True)
class RLOO(Reinforce):
    """REINFORCE leave-one-out: each of n samples of a prompt against the mean reward of the others, `[B]`.

    With R = r(x, y) - beta log pi(y|x)/pi_ref(y|x), the KL of the whole completion (k1) taken off the reward *before*
    the baseline, and without gradient, the loss of sample i is

        -(R_i - mean of R_j over j != i) log pi(y_i|x)
    """

    paper = "arXiv:2402.14740, 'REINFORCE Leave-One-Out (RLOO)'; its reward with the KL: 'RL Stage'"
    n: Group = 4

    def batches(self, engine: Engine) -> Iterator[Experience]:
        for samples, rewards in self.rollouts(engine, self.n):
            priced = (rewards - self.beta * samples.log_ratio).view(-1, self.n)
            baseline = (priced.sum(1, keepdim=True) - priced) / (self.n - 1)
            yield recorded(self, samples, rewards, (priced - baseline).flatten())

    @staticmethod
    def example() -> tuple[Experience, Tensor]:
        # Two samples of a prompt with R = 2 and 1: advantages 2 - 1 = 1 and -1, on log 1/2 + log 1/4 = -2.079442 and, a
        # single token, log 1/8 = -2.079442.
        mask = torch.tensor([[True, True], [True, False]])
        logps = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).log()
        advantages, scores = torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), torch.tensor([2.0, 1.0])
        batch = Experience(Completions.of(logps, logps, mask), logps, advantages, scores=scores)
        return batch, torch.tensor([2.079442, -2.079442])
