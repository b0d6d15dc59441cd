"""Preferred fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, Engine, ExactWorld, Objective


@dataclass(frozen=True)
class PreferredFT(Objective[Completions]):
    """Fine-tuning on the chosen completions alone, -log pi(y_chosen,t | x, y_<t): the baseline of the DPO paper.

    It tends to the distribution of the chosen ones. Of two samples of the reference, y is the chosen one with density
    2 pi_ref(y) p(y > y'), y' ~ pi_ref: tilted as far as the labels are sure, whatever the price of the KL.
    """

    paper = "arXiv:2305.18290, section 6, 'Preferred-FT'"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def batches(self, engine: Engine) -> Iterator[Completions]:
        for pairs in engine.pairs():
            # Selected afresh, so that the rejected side, scored with its partner otherwise, is never run.
            yield pairs.chosen.select(range(len(pairs)))

    def loss(self, batch: Completions) -> Tensor:  # [B, T]
        return -batch.logps

    def metrics(self, batch: Completions) -> dict[str, Tensor]:
        return {"chosen_logp": batch.logp}

    def limit(self, world: ExactWorld) -> Tensor:
        return world.tilted(world.preference.log())

    @staticmethod
    def example() -> tuple[Completions, Tensor]:
        # Probabilities 1/2, 1/4 and, after padding is left out, 1/8.
        logps = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).log()
        mask = torch.tensor([[True, True], [True, False]])
        return Completions.of(logps, None, mask), torch.tensor([[0.693147, 1.386294], [2.079442, 0.0]])
