"""Kahneman-Tversky Optimization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Engine, ExactWorld, Labelled, Positive, Unpaired

from ._limits import by_completion


@dataclass(frozen=True)
class KTO(Unpaired):
    """Kahneman-Tversky Optimization: completions labelled good or bad, valued against how far the policy has drifted.

    With r = log pi(y|x)/pi_ref(y|x) and z = max(0, mean of r over mismatched (x, y')), `[B]`:

        lambda_D (1 - sigmoid(beta (r - z)))   where y is desirable
        lambda_U (1 - sigmoid(beta (z - r)))   where it is not

    z is taken over the whole batch, before the clamp, and carries no gradient. The paper asks that
    lambda_D n_D / (lambda_U n_U) lie in [1, 4/3].
    """

    paper = "arXiv:2402.01306, eq. 8"
    at_reference: ClassVar[float | None] = 0.5
    beta: Positive = 0.1
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0

    def batches(self, engine: Engine) -> Iterator[Labelled]:
        good, bad = engine.label_counts
        ratio = self.desirable_weight * good / (self.undesirable_weight * bad) if bad else float("inf")
        if not 1 <= ratio <= 4 / 3:
            engine.warn(
                f"KTO: lambda_D n_D / (lambda_U n_U) is {ratio:.3g} ({good} desirable, {bad} undesirable), outside "
                f"[1, 4/3]; set desirable_weight or undesirable_weight."
            )
        return engine.labelled()

    def loss(self, batch: Labelled) -> Tensor:  # [B]
        drift = batch.mismatched_log_ratio.mean().clamp(min=0)
        ratio = batch.completions.log_ratio
        desirable = self.desirable_weight * (1 - torch.sigmoid(self.beta * (ratio - drift)))
        undesirable = self.undesirable_weight * (1 - torch.sigmoid(self.beta * (drift - ratio)))
        return torch.where(batch.desirable, desirable, undesirable)

    def metrics(self, batch: Labelled) -> dict[str, Tensor]:
        """As for every labelled batch; also `drift`, z before the clamp, nats a completion."""
        drift = batch.mismatched_log_ratio.mean().expand(len(batch))
        return {**super().metrics(batch), "drift": drift}

    def limit(self, world: ExactWorld) -> Tensor | None:
        # With p = p(y > y'~ref) and h = log pi/pi_ref, a completion costs -c sigmoid(beta h), c = lambda_D p -
        # lambda_U (1 - p), in expectation, while z is 0. If beta <= 1, that is convex in e^h where c > 0, and there
        # c beta sigmoid'(beta h) = k e^h with one k a prompt; where c < 0 nothing is left, which is why z, the mean
        # of h over completions of other prompts, ends below 0.
        wanted = self.desirable_weight * world.preference - self.undesirable_weight * (1 - world.preference)
        if self.beta > 1 or not ((wanted < 0).any(1) & (wanted > 0).any(1)).all():
            return None

        def slope(h: Tensor) -> Tensor:
            return -wanted * self.beta * (self.beta * h).sigmoid() * (-self.beta * h).sigmoid()

        return by_completion(world, slope, self.beta)

    @staticmethod
    def example() -> tuple[Labelled, Tensor]:
        # z = max(0, (4 - 2) / 2) = 1. Desirable: r = -1 + 6 = 5, 1 - sigmoid(0.1 (5 - 1)) = 0.401312.
        # Undesirable: r = -3 + 1 = -2, 1 - sigmoid(0.1 (1 + 2)) = 0.425557.
        mask = torch.tensor([[True], [True]])
        completions = Completions.of(torch.tensor([[-1.0], [-3.0]]), torch.tensor([[-6.0], [-1.0]]), mask)
        batch = Labelled.of(completions, torch.tensor([True, False]), torch.tensor([4.0, -2.0]))
        return batch, torch.tensor([0.401312, 0.425557])
