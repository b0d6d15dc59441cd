"""Unlikelihood training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Labelled, Positive, Unpaired

from ._log1mexp import log1mexp


@dataclass(frozen=True)
class Unlikelihood(Unpaired):
    """Unlikelihood training: raise the tokens of desirable completions, lower those of undesirable ones; no reference.

    With pi_t = pi(y_t|x, y_<t), `[B, T]`, nats:

        -log pi_t              where y is desirable
        -alpha log(1 - pi_t)   where it is not

    The paper's negative candidates are tokens of the context or of repeated n-grams of the model's own samples; here
    they are the tokens of completions that people called bad. Above pi_t = 1 - 1e-6 the second is continued by its
    tangent, so that it is finite where pi_t is 1.
    """

    paper = "arXiv:1908.04319, eq. 4 and 5, the candidates given by labels"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    alpha: Positive = 1.0

    def loss(self, batch: Labelled) -> Tensor:  # [B, T]
        logps = batch.completions.logps
        loss = torch.where(batch.desirable[:, None], -logps, -self.alpha * log1mexp(logps))
        return loss.masked_fill(~batch.mask, 0.0)

    @staticmethod
    def example() -> tuple[Labelled, Tensor]:
        # Desirable: probabilities 1/2 and 1/4, log 2 and log 4. Undesirable: 1/5, -log(1 - 1/5) = 0.223144.
        logps = torch.tensor([[0.5, 0.25], [0.2, 1.0]]).log()
        completions = Completions.of(logps, None, torch.tensor([[True, True], [True, False]]))
        batch = Labelled.of(completions, torch.tensor([True, False]), mismatched_log_ratio=torch.zeros(2))
        return batch, torch.tensor([[0.693147, 1.386294], [0.223144, 0.0]])
