"""Binary Classifier Optimization on pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Engine, Paired, Pairs, Positive

from ._whole_batch import RewardShift, scored


@dataclass(frozen=True)
class BCOPair(Paired):
    """Binary Classifier Optimization on pairs: chosen and rejected are classified apart, and their losses added.

    With r = beta log pi(y|x)/pi_ref(y|x), `[B]`, nats:

        -log sigmoid(r_w - delta) - log sigmoid(delta - r_l)

    delta is the cumulative mean of r over all completions trained on so far, as in `bco`: chosen and rejected are
    equally many. Against `bco`, a batch holds both sides of each pair, and its loss is the sum of the two.
    """

    paper = "arXiv:2404.04656, the BCO loss with reward shift, on pairs"
    at_reference: ClassVar[float | None] = 1.386294
    beta: Positive = 0.1

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        shift = RewardShift()
        for pairs in engine.pairs():
            rewards = self.beta * torch.cat([side.log_ratio for side in scored(engine, pairs)])
            good = torch.arange(len(rewards), device=rewards.device) < len(pairs)
            yield pairs.with_extra(shift=shift.update(rewards, good)[: len(pairs)])

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        shift = batch.extra["shift"]
        chosen, rejected = self.beta * batch.chosen.log_ratio, self.beta * batch.rejected.log_ratio
        return -logsigmoid(chosen - shift) - logsigmoid(shift - rejected)

    def metrics(self, batch: Pairs) -> dict[str, Tensor]:
        """As for every batch of pairs; also `shift`, delta, nats."""
        return {**super().metrics(batch), "shift": batch.extra["shift"]}

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # delta = 0.2, log-ratios 7 and 12: log(1 + e^-(0.7 - 0.2)) + log(1 + e^(1.2 - 0.2)) = 0.474077 + 1.313262.
        # The second pair: log-ratios 2 and 2 are rewards of 0.2, that is delta: log 2 twice.
        mask = torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[-1.0], [-2.0]]), torch.tensor([[-8.0], [-4.0]]), mask)
        rejected = Completions.of(torch.tensor([[-3.0], [-1.0]]), torch.tensor([[-15.0], [-3.0]]), mask)
        batch = Pairs(chosen, rejected).with_extra(shift=torch.tensor([0.2, 0.2]))
        return batch, torch.tensor([1.787339, 1.386294])
