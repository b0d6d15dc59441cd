"""The Bradley-Terry reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from alignbench import Completions, Engine, Move, NonNegative, Objective, Pairs


@dataclass(frozen=True)
class RewardModel(Objective[Pairs]):
    """Bradley-Terry reward model: -log sigmoid(r_w - r_l) + centring (r_w + r_l)^2, `[B]`, nats.

    r is a linear head on the state after the last token, the end token where the text ended. `centring` holds the
    sum of the two rewards near 0 without changing their difference; it is 0 in the source of the loss.
    """

    paper = "arXiv:2203.02155, eq. 1 (K = 2); centring: arXiv:2312.09244, eq. 2"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    trains: ClassVar[str] = "reward"
    moves: ClassVar[Mapping[str, Move]] = {"chosen": "up", "rejected": "down"}
    centring: NonNegative = 0.0

    def init(self, engine: Engine) -> nn.Module:
        head = nn.Linear(engine.hidden_size, 1, bias=False)
        nn.init.normal_(head.weight, std=(engine.hidden_size + 1) ** -0.5)
        return head

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        return engine.pairs()

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = reward(batch.chosen), reward(batch.rejected)
        return -logsigmoid(chosen - rejected) + self.centring * (chosen + rejected) ** 2

    def metrics(self, batch: Pairs) -> dict[str, Tensor]:
        margin = reward(batch.chosen) - reward(batch.rejected)
        return {"margin": margin, "accuracy": 0.5 + 0.5 * margin.sign()}

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # One token each, so the reward is the second value: 1.5 against 0.5, log(1 + e^-1) = 0.313262; equal: log 2.
        logps, mask = torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool)
        chosen = Completions.of(logps, None, mask, values=torch.tensor([[9.0, 1.5], [9.0, 0.5]]))
        rejected = Completions.of(logps, None, mask, values=torch.tensor([[9.0, 0.5], [9.0, 0.5]]))
        return Pairs(chosen, rejected), torch.tensor([0.313262, 0.693147])


def reward(completions: Completions) -> Tensor:  # [B]
    """The value after the last token: `values[:, length]`."""
    return completions.values.gather(1, completions.length[:, None]).squeeze(1)
