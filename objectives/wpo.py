"""Weighted Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, Paired, Pairs, Positive


@dataclass(frozen=True)
class WPO(Paired):
    """Weighted Preference Optimization: the DPO loss, weighted by how probable the policy finds both sides of a pair.

    -w(y_w) w(y_l) log sigmoid(m), `[B]`, nats, with m as in DPO and weights without gradient

        w(y) = exp(1/|y| sum_t (log pi(y_t|x, y_<t) - log sum_v pi(v|x, y_<t)^2))

    The sum over v is the expected probability of a token that the policy draws ("sampled" alignment): tokens that it
    might have drawn weigh about 1 where it is uncertain, too. `alignment=none` leaves that logarithm out.
    """

    paper = "arXiv:2406.11827, eq. 2, with the sampled alignment"
    beta: Positive = 0.1
    alignment: Literal["sampled", "none"] = "sampled"

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)
        return -self._weight(batch) * logsigmoid(margin)

    def metrics(self, batch: Pairs) -> dict[str, Tensor]:
        """As for every batch of pairs; also `weight`, w(y_w) w(y_l)."""
        return {**super().metrics(batch), "weight": self._weight(batch)}

    def limit(self, world: ExactWorld) -> Tensor | None:
        # Both labels of a pair weigh the same, whatever the policy: pi* is best on every pair, as in DPO.
        return world.tilted(world.reward / self.beta)

    def _weight(self, batch: Pairs) -> Tensor:  # [B]
        return (self._mean(batch.chosen) + self._mean(batch.rejected)).exp()

    def _mean(self, side: Completions) -> Tensor:  # [B]
        logps = side.logps.detach()
        aligned = logps - side.collision if self.alignment == "sampled" else logps
        return aligned.sum(-1) / side.length

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Weights exp(((-1 + 0.5) + (-2 + 1.5)) / 2) = e^-0.5 and exp(-4 + 3) = e^-1; log-ratios 2 and -3 as in DPO:
        # e^-1.5 log(1 + e^-0.5) = 0.223130 * 0.474077 = 0.105781. The second pair: weights 1, at the reference, log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]),
            torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]),
            both,
            collision=torch.tensor([[-0.5, -1.5], [-1.0, -1.0]]),
        )
        rejected = Completions.of(
            torch.tensor([[-4.0], [-2.0]]),
            torch.tensor([[-1.0], [-2.0]]),
            first,
            collision=torch.tensor([[-3.0], [-2.0]]),
        )
        return Pairs(chosen, rejected), torch.tensor([0.105781, 0.693147])
