"""DiscoPOP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Move, Paired, Pairs, Positive, Range


@dataclass(frozen=True)
class DiscoPOP(Paired):
    """DiscoPOP, the log-ratio modulated loss: logistic for negative margins, exponential for positive ones, `[B]`.

    With m = beta (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x)) and s = sigmoid(m / tau):

        -(1 - s) log sigmoid(m) + s exp(-m)

    It was found by search and is not monotone: with tau = 0.05 it rises from m = -0.119 to m = 0.072, so that a step
    at the reference, m = 0, *lowers* the margin. tau above 1 is refused: s exp(-m) would grow without bound as m falls.
    """

    paper = "arXiv:2406.08414, eq. 5"
    at_reference: ClassVar[float | None] = 0.846574
    moves: ClassVar[Mapping[str, Move]] = {"chosen": "any", "rejected": "any"}
    known_failures: ClassVar[Mapping[str, str]] = {
        "learns": "from the reference a small step falls into the pit at m = -0.119, where the chosen is less likely"
    }
    beta: Positive = 0.05
    tau: Annotated[float, Range(0, 1, low_open=True)] = 0.05

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)
        # s exp(-m) as one exponential: far below 0 the product would be 0 times infinity.
        exponential = torch.exp(logsigmoid(margin / self.tau) - margin)
        return -torch.sigmoid(-margin / self.tau) * logsigmoid(margin) + exponential

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 4 and -6: m = 0.05 * 10 = 0.5, s = sigmoid(10) = 0.999955, log(1 + e^-0.5) = 0.474077, and
        # 0.000045 * 0.474077 + 0.999955 * 0.606531 = 0.606525. At the reference: (log 2 + 1) / 2 = 0.846574.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-3.0, -4.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-7.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.606525, 0.846574])
