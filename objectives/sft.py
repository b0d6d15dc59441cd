"""Supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Engine, Objective


@dataclass(frozen=True)
class SFT(Objective[Completions]):
    """Supervised fine-tuning: the cross-entropy of demonstrations, -log pi(y_t | x, y_<t) for every token."""

    paper = "arXiv:2203.02155, section 3.5"
    needs: ClassVar[frozenset[str]] = frozenset({"demonstrations"})

    def batches(self, engine: Engine) -> Iterator[Completions]:
        return engine.demonstrations()

    def loss(self, batch: Completions) -> Tensor:  # [B, T]
        return -batch.logps

    def metrics(self, batch: Completions) -> dict[str, Tensor]:
        """`nll`: nats a token; `logp`: nats a completion."""
        return {"nll": -batch.logps, "logp": batch.logp}

    @staticmethod
    def example() -> tuple[Completions, Tensor]:
        # Probabilities 1/2 and 1/4, then 1/8 with one token only: losses log 2, log 4 and log 8; padding costs nothing.
        logps = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).log()
        mask = torch.tensor([[True, True], [True, False]])
        return Completions.of(logps, None, mask), torch.tensor([[0.693147, 1.386294], [2.079442, 0.0]])
