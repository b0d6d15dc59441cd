"""Identity Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive


@dataclass(frozen=True)
class IPO(Paired):
    """Identity Preference Optimization: the margin of the log-ratios is regressed on 1 / (2 beta), `[B]`.

        (log pi(y_w|x)/pi_ref(y_w|x) - log pi(y_l|x)/pi_ref(y_l|x) - 1 / (2 beta))^2

    `beta` is the paper's tau. `reduction` says what a log-ratio is: "sum", over the tokens, as in the paper, in nats a
    completion; or "mean", in nats a token, as TRL and HALOs have it. One beta does not mean the same in both.
    """

    paper = "arXiv:2310.12036, eq. 17"
    at_reference: ClassVar[float | None] = 25.0
    beta: Positive = 0.1
    reduction: Literal["sum", "mean"] = "sum"

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = batch.chosen.log_ratio, batch.rejected.log_ratio
        if self.reduction == "mean":
            chosen, rejected = chosen / batch.chosen.length, rejected / batch.rejected.length
        return (chosen - rejected - 1 / (2 * self.beta)) ** 2

    def limit(self, world: ExactWorld) -> Tensor | None:
        # Over both labels of a pair the target is (2 p(y > y') - 1) / (2 beta). Least squares of h(y) - h(y') on it,
        # y and y' from the reference, give h(y) = p(y > y'~ref) / beta plus a constant. Worlds do not know lengths.
        return world.tilted(world.preference / self.beta) if self.reduction == "sum" else None

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Chosen log-ratio (-1 - 2) - (-2 - 3) = 2, rejected (-2) - (-1) = -1: (3 - 1 / 0.2)^2 = (3 - 5)^2 = 4.
        # The second pair is at the reference: (0 - 5)^2 = 25.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-2.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([4.0, 25.0])
