"""Robust DPO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive, Range


@dataclass(frozen=True)
class RobustDPO(Paired):
    """Robust DPO: an unbiased estimate of the DPO loss on clean labels, where each was flipped with probability e.

    With m as in DPO and e = `label_smoothing`, below 1/2 (where labels say nothing), `[B]`:

        (-(1 - e) log sigmoid(m) + e log sigmoid(-m)) / (1 - 2 e)

    It has no lower bound: a pair alone would drive its margin to infinity, faster than in DPO. Conservative DPO
    (`dpo:label_smoothing=...`) adds the second term instead.
    """

    paper = "arXiv:2403.00409, section 3.1"
    at_reference: ClassVar[float | None] = math.log(2)
    beta: Positive = 0.1
    label_smoothing: Annotated[float, Range(0, 0.49)] = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin, e = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio), self.label_smoothing
        return (-(1 - e) * logsigmoid(margin) + e * logsigmoid(-margin)) / (1 - 2 * e)

    def limit(self, world: ExactWorld) -> Tensor | None:
        # pi* where labels are flipped at the rate e. Those of a world are not: the loss is then that of DPO on
        # preferences (p - e) / (1 - 2e), which leave [0, 1] where p < e, and a bound from below may be missing.
        return None if self.label_smoothing else world.tilted(world.reward / self.beta)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3: m = 0.5, log(1 + e^-0.5) = 0.474077 and log(1 + e^0.5) = 0.974077, and
        # (0.9 * 0.474077 - 0.1 * 0.974077) / 0.8 = 0.411577. At the reference: (0.9 - 0.1) / 0.8 log 2 = log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.411577, 0.693147])
