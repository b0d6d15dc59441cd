"""Families of objectives: a subclass gives `paper` and `loss`, and the family where its batches come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .batch import Completions, Experience, Labelled, Pairs, Ranked
from .objective import BatchT, Engine, Move, NonNegative, Objective


class Paired(Objective[Pairs]):
    """An objective on preference pairs: a subclass gives `paper` and `loss`."""

    needs: ClassVar[frozenset[str]] = frozenset({"pairs", "reference"})
    moves: ClassVar[Mapping[str, Move]] = {"chosen": "up", "rejected": "down"}

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        return engine.pairs()

    def metrics(self, batch: Pairs) -> dict[str, Tensor]:
        """Log-probs of both sides; with a reference also the margin and accuracy of the implicit reward (nats)."""
        shown = {"chosen_logp": batch.chosen.logp, "rejected_logp": batch.rejected.logp}
        if "reference" in self.needs:
            margin = batch.chosen.log_ratio - batch.rejected.log_ratio
            shown |= {"margin": margin, "accuracy": _accuracy(margin)}
        return shown


class Unpaired(Objective[Labelled]):
    """An objective on completions labelled desirable or not: a subclass gives `paper` and `loss`."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels", "reference"})
    moves: ClassVar[Mapping[str, Move]] = {"desirable": "up", "undesirable": "down"}

    def batches(self, engine: Engine) -> Iterator[Labelled]:
        return engine.labelled()

    def metrics(self, batch: Labelled) -> dict[str, Tensor]:
        """Log-probs (NaN where a row is of the other label: such rows do not count) and implicit rewards, nats."""
        good, logp = batch.desirable, batch.completions.logp
        nothing = torch.full_like(logp, math.nan)
        shown = {
            "chosen_logp": torch.where(good, logp, nothing),
            "rejected_logp": torch.where(good, nothing, logp),
        }
        if "reference" in self.needs:
            # Twice the signed log-ratio: the expected margin between a desirable and an undesirable completion when
            # the two labels are equally frequent, so that the curve stands beside that of a paired objective.
            signed = torch.where(good, batch.completions.log_ratio, -batch.completions.log_ratio)
            shown |= {"margin": 2 * signed, "accuracy": _accuracy(signed)}
        return shown


class Listwise(Objective[Ranked]):
    """An objective on ranked lists of completions: a subclass gives `paper` and `loss`."""

    needs: ClassVar[frozenset[str]] = frozenset({"rankings", "reference"})
    moves: ClassVar[Mapping[str, Move]] = {"best": "up", "worst": "down"}

    def batches(self, engine: Engine) -> Iterator[Ranked]:
        return engine.rankings()

    def metrics(self, batch: Ranked) -> dict[str, Tensor]:
        """Log-probs of the best and the worst; with a reference also margin and accuracy of these two (nats)."""
        last = torch.tensor(batch.sizes, device=batch.completions.mask.device)[:, None] - 1

        def ends(values: Tensor) -> tuple[Tensor, Tensor]:
            table = batch.table(values)
            return table[:, 0], table.gather(1, last).squeeze(1)

        best, worst = ends(batch.completions.logp)
        shown = {"chosen_logp": best, "rejected_logp": worst}
        if "reference" in self.needs:
            best, worst = ends(batch.completions.log_ratio)
            shown |= {"margin": best - worst, "accuracy": _accuracy(best - worst)}
        return shown


@dataclass(frozen=True)
class Rewarded(Objective[BatchT]):
    """An objective on the policy's own samples and their rewards, whatever batches it makes of them.

    `reward` says what is optimised: the reward model trained on the preferences ("model"), or the benchmark's true
    reward ("gold"), which shows what the reward model costs. `missing_end_penalty` is taken off the score of a
    completion that did not end by itself.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"sampling", "reward"})
    reward: Literal["model", "gold"] = "model"
    missing_end_penalty: NonNegative = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reward == "gold":
            object.__setattr__(self, "needs", self.needs - {"reward"} | {"gold"})

    def rewarded(self, engine: Engine, samples: Completions) -> Tensor:
        """The reward of each completion, `[B]`, less the penalty of one without an end."""
        return engine.reward(samples, self.reward) - self.missing_end_penalty * (~samples.ended)


@dataclass(frozen=True)
class Online(Rewarded[Experience]):
    """An objective on the policy's own samples: a subclass gives `paper`, `batches` (from `rollouts`) and `loss`."""

    needs: ClassVar[frozenset[str]] = frozenset({"sampling", "reward", "reference"})
    moves: ClassVar[Mapping[str, Move]] = {"positive": "up", "negative": "down"}

    def rollouts(self, engine: Engine, n: int = 1) -> Iterator[tuple[Completions, Tensor]]:
        """For each batch of B prompts n samples of each, scored by policy and reference and with their values, and
        their rewards `[B n]`; the n of one prompt stand together."""
        for prompts in engine.prompts(n):
            samples = engine.score(engine.sample(prompts, n))
            yield samples, self.rewarded(engine, samples)


def _accuracy(margin: Tensor) -> Tensor:
    """1 where the margin is right, 0 where it is wrong, 1/2 at a tie (as at step 0)."""
    return 0.5 + 0.5 * margin.sign()
