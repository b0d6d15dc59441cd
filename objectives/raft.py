"""Reward-ranked fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from alignbench import Completions, Engine

from ._online import Picking


@dataclass(frozen=True)
class RAFT(Picking[Completions]):
    """Reward-ranked fine-tuning: the best of n samples of each prompt is imitated, -log pi(y_t|x, y_<t), `[B, T]`.

    All n samples of a prompt count in the budget, the best by its reward is trained on, the first of equals. There is
    no reference, and nothing but the end of training holds the policy near where it started: the longer it runs, the
    nearer it comes to the one completion of the highest reward.
    """

    paper = "arXiv:2304.06767, algorithm 1"

    def batches(self, engine: Engine) -> Iterator[Completions]:
        for samples, rewards in self.groups(engine):
            yield samples.select(self.place(rewards.argmax(1)).tolist())

    def loss(self, batch: Completions) -> Tensor:  # [B, T]
        return -batch.logps

    def metrics(self, batch: Completions) -> dict[str, Tensor]:
        """`chosen_logp`, of the best sample, nats a completion; `entropy`, nats, a token's mean."""
        return {"chosen_logp": batch.logp, "entropy": batch.entropy}

    @staticmethod
    def example() -> tuple[Completions, Tensor]:
        # Probabilities 1/2 and 1/4, then 1/8 of one token: log 2, log 4 and log 8; padding costs nothing.
        logps = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).log()
        mask = torch.tensor([[True, True], [True, False]])
        return Completions.of(logps, None, mask), torch.tensor([[0.693147, 1.386294], [2.079442, 0.0]])
