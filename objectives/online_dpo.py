"""Online preference optimization: a paired loss on the policy's own samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from alignbench import Completions, Engine, InputError, NonNegative, Objective, Paired, Pairs, create

from ._online import Group, Picking, unpenalised


@dataclass(frozen=True)
class OnlineDPO(Picking[Pairs]):
    """Online DPO: a paired loss on the best and the worst of n samples that the policy has just drawn, `[B]`.

    Of the n samples of a prompt that of the highest reward is the chosen one, that of the lowest the rejected one. A
    prompt whose samples all have the same reward has no preference to learn from and is left out of the batch; its
    samples count in the budget all the same.

    `loss_type` is any paired objective, with `+` before each of its fields: `online_dpo:loss_type=ipo+beta=0.3`.
    `beta` is that of the paired loss. What `loss_type` itself sets goes before, 0 leaves the loss its default, and the
    field shows what is used: 0 where the loss has no beta.
    """

    paper = "arXiv:2402.04792, algorithm 1"
    needs: ClassVar[frozenset[str]] = Picking.needs | {"reference"}
    moves = Paired.moves
    at_reference: ClassVar[float | None] = 0.693147
    n: Group = 2
    loss_type: str = "dpo"
    beta: NonNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = self.needs - {"reference"} | self.paired.needs - {"pairs"}
        own: dict[str, Any] = {"needs": needs, "moves": self.paired.moves, "beta": getattr(self.paired, "beta", 0.0)}
        if self.paired != create("dpo"):
            own |= {"at_reference": None, "known_failures": self.paired.known_failures}
        if self.overruled:
            idle = {"hyper_parameters": "beta is settled by loss_type, whatever the field says"}
            own["known_failures"] = {**own.get("known_failures", self.known_failures), **idle}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @cached_property
    def paired(self) -> Paired:
        """The objective whose loss it is."""
        try:
            made = create(self._spec)
            if self.beta and not _settled(self._spec, made):
                made = create(f"{self._spec}:beta={self.beta!r}")
        except InputError as error:
            raise InputError(f"OnlineDPO: loss_type={self.loss_type!r}: {error}") from None
        if not isinstance(made, Paired):
            raise InputError(f"OnlineDPO: loss_type={self.loss_type!r} learns from no pairs: name a paired objective.")
        return made

    @property
    def overruled(self) -> bool:
        """Whether the field beta counts for nothing: `loss_type` sets it, or its loss has none."""
        return _settled(self._spec, self.paired)

    @property
    def _spec(self) -> str:
        return re.sub(r"\+(?=\w+=)", ":", self.loss_type)  # the + of 1e+2 is none

    def uses(self) -> tuple[Objective[Any], ...]:
        return (self.paired,)

    def init(self, engine: Engine) -> nn.Module | None:
        return self.paired.init(engine)

    def batches(self, engine: Engine) -> Iterator[Pairs]:
        """Whatever the paired objective makes of pairs: it may weigh them, or look at the whole batch first."""
        served: Any = _Serving(engine, self.drawn(engine))
        return self.paired.batches(served)

    def drawn(self, engine: Engine) -> Iterator[Pairs]:
        for samples, rewards in self.groups(engine):
            kept = rewards.amax(1) > rewards.amin(1)
            if kept.any():
                best, worst = (
                    [samples.tokens[row] for row in self.place(side)[kept].tolist()]
                    for side in (rewards.argmax(1), rewards.argmin(1))
                )
                scores = unpenalised(rewards.flatten(), samples, self.missing_end_penalty).view(-1, self.n).mean(1)
                pairs = Pairs.from_rows(best, worst, samples.scorer)
                shown = {"score": scores.mean(), "kept": kept.float().mean()}
                yield pairs.with_extra(**{name: value.expand(len(best)) for name, value in shown.items()})

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return self.paired.loss(batch)

    def metrics(self, batch: Pairs) -> dict[str, Tensor]:
        """Those of the paired objective; `score` (of the reward model), a sample's mean; `kept`, the share of the
        prompts whose samples differ in reward."""
        shown = {name: batch.extra[name] for name in ("score", "kept") if name in batch.extra}
        return {**self.paired.metrics(batch), **shown}

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Of DPO with beta 0.1. Log-ratios (-1 - 1) - (-2 - 3) = 3 and (-3) - (-2) = -1: log(1 + e^-0.4) = 0.513015.
        # The second pair is at the reference: log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-3.0], [-2.0]]), torch.tensor([[-2.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.513015, 0.693147])


def _settled(spec: str, made: Any) -> bool:
    return ":beta=" in spec or "beta" not in {field.name for field in fields(made)}


class _Serving:
    """An engine whose pairs are those of a stream, and which is another one in all the rest."""

    def __init__(self, engine: Engine, drawn: Iterator[Pairs]) -> None:
        self._engine, self._drawn = engine, drawn

    def pairs(self) -> Iterator[Pairs]:
        return self._drawn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)
