"""Direct Preference Optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive, Range


@dataclass(frozen=True)
class DPO(Paired):
    """Direct Preference Optimization: a logistic loss on the implicit reward margin.

    With m = beta (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x)) and e = `label_smoothing`, `[B]`, nats:

        -(1 - e) log sigmoid(m) - e log sigmoid(-m)

    e > 0 is conservative DPO: labels are taken to be wrong with probability e, and margins stay finite. Robust DPO
    (`robust_dpo`) is another loss for the same assumption.
    """

    paper = "arXiv:2305.18290, eq. 7; label smoothing: E. Mitchell, 'A note on DPO with noisy preferences', 2023"
    at_reference: ClassVar[float | None] = math.log(2)
    beta: Positive = 0.1
    label_smoothing: Annotated[float, Range(0, 0.5)] = 0.0

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)
        return -(1 - self.label_smoothing) * logsigmoid(margin) - self.label_smoothing * logsigmoid(-margin)

    def limit(self, world: ExactWorld) -> Tensor | None:
        # A pair's best margin is the log-odds of its label. Smoothed labels have log-odds that are no differences
        # r(y) - r(y') any more, so that no policy reaches them all, and which one is best is not known in closed form.
        return None if self.label_smoothing else world.tilted(world.reward / self.beta)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Chosen log-ratio (-1 - 2) - (-2 - 3) = 2, rejected (-4) - (-1) = -3: margin 5, times beta 0.1 is 0.5, and
        # log(1 + e^-0.5) = 0.474077. The second pair is at the reference: log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.474077, 0.693147])
