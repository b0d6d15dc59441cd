"""The contract of an objective: where its batches come from, and the loss on them."""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from .batch import Batch, Completions, Labelled, Pairs, Prompts, Ranked
from .errors import InputError
from .exact import ExactWorld

BatchT = TypeVar("BatchT", bound=Batch)


@dataclass(frozen=True)
class Range:
    """The values a hyper-parameter may take: `low < x` or `low <= x`, and the same above."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False

    def holds(self, value: float) -> bool:
        return (self.low < value if self.low_open else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        low = f"{'above' if self.low_open else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"at most {self.high:g}" if self.high < math.inf else ""
        return " and ".join(part for part in (low, high) if part)


Positive = Annotated[float, Range(0, low_open=True)]
NonNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]


def check_fields(config: Any, name: str) -> None:
    """Hold every field of a dataclass to its declared type and range.

    Raises:
        InputError: with the field, its value and what it may be.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        hint, value = hints[field.name], getattr(config, field.name)
        base, *marks = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        if base is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(config, field.name, float(value))
            value = float(value)
        if typing.get_origin(base) is Literal and value not in typing.get_args(base):
            choices = " or ".join(map(str, typing.get_args(base)))
            raise InputError(f"{name}: {field.name}={value!r} must be {choices}.")
        if base in (int, float, bool, str) and type(value) is not base:
            raise InputError(f"{name}: {field.name}={value!r} must be of type {base.__name__}.")
        if base in (int, float) and not math.isfinite(value):
            raise InputError(f"{name}: {field.name}={value!r} must be a finite number.")
        for mark in marks:
            if isinstance(mark, Range) and value is not None and not mark.holds(value):
                raise InputError(f"{name}: {field.name}={value:g} must be {mark}.")


@dataclass(frozen=True)
class Training:
    """How any objective is optimised; set in a spec like a hyper-parameter (`dpo:learning_rate=1e-5`).

    `batch_size` counts pairs, ranked lists, prompts to sample from, or single completions. The learning rate
    rises linearly over `warmup_steps` optimizer steps and then falls linearly with the share of the budget used.
    `steps` ends training early; 0 leaves it to the budget.
    """

    learning_rate: Positive = 1e-4
    batch_size: Count = 32
    steps: Annotated[int, Range(0)] = 0
    optimizer: str = "adamw"
    warmup_steps: Annotated[int, Range(0)] = 10
    max_grad_norm: Positive = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "training")
        if self.optimizer not in ("adamw", "rmsprop"):
            raise InputError(f"training: optimizer={self.optimizer!r} must be adamw or rmsprop.")


class Engine(Protocol):
    """What serves an objective. Streams end when the budget is used up."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def generator(self) -> torch.Generator:
        """Random numbers for the objective's own use (the order of inner epochs), from the seed."""
        ...

    @property
    def batch_size(self) -> int: ...

    @property
    def label_counts(self) -> tuple[int, int]:
        """How many completions of the data are desirable and how many are not."""
        ...

    def warn(self, message: str) -> None:
        """Tell the user something about this cell; it stands in the result, once."""
        ...

    def pairs(self) -> Iterator[Pairs]: ...

    def labelled(self) -> Iterator[Labelled]: ...

    def rankings(self) -> Iterator[Ranked]:
        """Lists of completions from the best to the worst; a pair is a list of two."""
        ...

    def demonstrations(self) -> Iterator[Completions]: ...

    def prompts(self, n: int = 1) -> Iterator[Prompts]:
        """Prompts to sample from; `n` is how many completions of each will be drawn, for the budget."""
        ...

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        """`n` completions of each prompt from the policy, temperature 1; the n of one prompt stand together.

        A `greedy` one takes the likeliest token each time; it counts in the budget as any other.
        """
        ...

    def score(self, samples: Completions) -> Completions:
        """The same completions with `logps`, `ref_logps` and `values` of now, without gradient, in large packs."""
        ...

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        """`[B]`: the trained reward model's score ("model") or the benchmark's true reward ("gold")."""
        ...


NEEDS = frozenset({"pairs", "labels", "rankings", "demonstrations", "reference", "sampling", "reward", "gold"})
Move = Literal["up", "down", "any"]


class Objective(ABC, Generic[BatchT]):
    """A training objective: a frozen dataclass whose fields are its hyper-parameters.

    Class attributes: `paper` (its source and equation), `needs` (a subset of `NEEDS`: what a run must have for it; a
    field may change what an instance needs), `trains` ("policy", a row of the table, or "reward", a stage).

    The conformance kit also reads: `at_reference`, the loss of every sequence or token where the policy is the
    reference and every field at its default; `moves`, which way a step on the loss moves the log-prob (of a reward
    model: the reward) of each kind of completion, where an objective differs from its family; `known_failures`, the
    checks that it does not pass, each with the reason.
    """

    paper: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    trains: ClassVar[str] = "policy"
    at_reference: ClassVar[float | None] = None
    moves: ClassVar[Mapping[str, Move]] = {"all": "up"}
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)

    def init(self, engine: Engine) -> nn.Module | None:
        """Extra trainable parts, applied to `states` to give `values` (a value head); none by default."""
        return None

    @abstractmethod
    def batches(self, engine: Engine) -> Iterator[BatchT]:
        """Batches to train on, advanced without gradient and resumed after each optimizer step."""

    @abstractmethod
    def loss(self, batch: BatchT) -> Tensor:
        """Unreduced: `[B]` is averaged over sequences, `[B, T]` over the completion tokens of the whole batch."""

    def metrics(self, batch: BatchT) -> dict[str, Tensor]:
        """Diagnostics, `[B]` or `[B, T]` each, without gradient, reduced like the loss."""
        return {}

    @staticmethod
    def example() -> tuple[Any, Tensor] | None:
        """A small batch and the loss worked out by hand for the default hyper-parameters, for the conformance kit."""
        return None

    def uses(self) -> tuple[Objective[Any], ...]:
        """Other objectives whose code runs in this one: an edit of theirs trains this one again as well."""
        return ()

    def limit(self, world: ExactWorld) -> Tensor | None:
        """The policy `[P, N]` that it tends to with unlimited data, steps and capacity in a world that can be
        enumerated, with pairs drawn from the reference and labelled by Bradley and Terry; None where nobody knows."""
        return None
