"""The contract of an objective: ranges and types of fields, training settings, what Paired and Unpaired supply."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Any, ClassVar, cast

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import (
    Completions,
    Count,
    Engine,
    Fraction,
    InputError,
    Labelled,
    NonNegative,
    Paired,
    Pairs,
    Positive,
    Range,
    Training,
    Unpaired,
)
from alignbench.objective import check_fields


@pytest.mark.parametrize(
    ("allowed", "text", "inside", "outside"),
    [
        (Range(0, low_open=True), "above 0", [1e-9, 5], [0, -1]),
        (Range(0), "at least 0", [0, 5], [-1e-9]),
        (Range(0, 1), "at least 0 and at most 1", [0, 1], [-0.1, 1.1]),
        (Range(high=2.5), "at most 2.5", [-5, 2.5], [2.6]),
        (Range(0, 1, low_open=True), "above 0 and at most 1", [0.5, 1], [0, 2]),
        (Range(), "", [-1e9, 1e9], []),
    ],
)
def test_ranges(allowed: Range, text: str, inside: list[float], outside: list[float]) -> None:
    assert str(allowed) == text
    assert all(allowed.holds(value) for value in inside)
    assert not any(allowed.holds(value) for value in [*outside, math.nan])


@dataclass(frozen=True)
class Settings:
    beta: Positive = 0.1
    share: Fraction = 0.5
    cost: NonNegative = 0.0
    rounds: Count = 3
    limit: Annotated[float | None, Range(1)] = None
    centred: bool = False
    name: str = "sum"
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beta": 0}, "own: beta=0 must be above 0."),
        ({"beta": -1e-7}, "own: beta=-1e-07 must be above 0."),
        ({"share": 1.5}, "own: share=1.5 must be at least 0 and at most 1."),
        ({"rounds": 0}, "own: rounds=0 must be at least 1."),
        ({"rounds": 2.0}, "own: rounds=2.0 must be of type int."),
        ({"rounds": True}, "own: rounds=True must be of type int."),
        ({"beta": True}, "own: beta=True must be of type float."),
        ({"beta": "0.1"}, "own: beta='0.1' must be of type float."),
        ({"beta": math.nan}, "own: beta=nan must be a finite number."),
        ({"beta": math.inf}, "own: beta=inf must be a finite number."),
        ({"centred": 1}, "own: centred=1 must be of type bool."),
        ({"name": None}, "own: name=None must be of type str."),
        ({"limit": 0.5}, "own: limit=0.5 must be at least 1."),
    ],
)
def test_a_field_that_is_not_right_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        check_fields(Settings(**given), "own")
    assert str(raised.value) == message


def test_a_whole_number_is_taken_for_a_float() -> None:
    settings = Settings(beta=2, limit=1.0)
    check_fields(settings, "own")
    assert type(settings.beta) is float
    assert settings == Settings(beta=2.0, limit=1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0 must be above 0"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"steps": -1}, "steps=-1 must be at least 0"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm=0 must be above 0"),
        ({"optimizer": "sgd"}, "optimizer='sgd' must be adamw or rmsprop"),
    ],
)
def test_training_settings_are_checked(given: dict[str, Any], words: str) -> None:
    assert Training(optimizer="rmsprop").optimizer == "rmsprop"
    with pytest.raises(InputError, match=words):
        Training(**given)


@dataclass(frozen=True)
class Margin(Paired):
    paper = "none: for this test"
    beta: Positive = 1.0

    def loss(self, batch: Pairs) -> Tensor:
        return -self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)


@dataclass(frozen=True)
class WithoutReference(Margin):
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})


@dataclass(frozen=True)
class Signed(Unpaired):
    paper = "none: for this test"

    def loss(self, batch: Labelled) -> Tensor:
        return torch.where(batch.desirable, -1, 1) * batch.completions.log_ratio


class Streams:
    """The part of an engine that Paired and Unpaired use."""

    def pairs(self) -> Iterator[str]:
        return iter(["pairs"])

    def labelled(self) -> Iterator[str]:
        return iter(["labelled"])


def completions(logps: list[float], ref_logps: list[float] | None) -> Completions:
    reference = None if ref_logps is None else torch.tensor(ref_logps)[:, None]
    return Completions.of(torch.tensor(logps)[:, None], reference, torch.ones(len(logps), 1))


def test_an_objective_is_frozen_and_checked_when_it_is_made() -> None:
    with pytest.raises(InputError, match="Margin: beta=-1 must be above 0"):
        Margin(beta=-1)
    with pytest.raises(FrozenInstanceError):
        Margin().beta = 2.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="loss"):
        Paired()  # type: ignore[abstract]


def test_what_paired_and_unpaired_supply() -> None:
    engine = cast(Engine, Streams())
    assert [*map(str, Margin().batches(engine)), *map(str, Signed().batches(engine))] == ["pairs", "labelled"]
    assert sorted(Margin.needs) == ["pairs", "reference"]
    assert sorted(Signed.needs) == ["labels", "reference"]
    assert (Margin.trains, Margin().init(engine)) == ("policy", None)


def test_metrics_of_pairs() -> None:
    # Margins of log-ratios: (-1 + 2) - (-3 + 2) = 2, (-2 + 1) - (-1 + 3) = -3, and 0.
    pairs = Pairs(
        completions([-1.0, -2.0, -1.0], [-2.0, -1.0, -1.0]), completions([-3.0, -1.0, -4.0], [-2.0, -3.0, -4.0])
    )
    shown = Margin().metrics(pairs)
    assert sorted(shown) == ["accuracy", "chosen_logp", "margin", "rejected_logp"]
    assert_close(shown["margin"], torch.tensor([2.0, -3.0, 0.0]))
    assert_close(shown["accuracy"], torch.tensor([1.0, 0.0, 0.5]))  # a tie, as at step 0, is no success
    assert_close(shown["chosen_logp"], torch.tensor([-1.0, -2.0, -1.0]))
    assert_close(shown["rejected_logp"], torch.tensor([-3.0, -1.0, -4.0]))


def test_an_objective_without_reference_never_reads_one() -> None:
    pairs = Pairs(completions([-1.0], None), completions([-2.0], None))  # reading the reference would raise
    assert sorted(WithoutReference().metrics(pairs)) == ["chosen_logp", "rejected_logp"]


def test_metrics_of_labelled_completions() -> None:
    # Log-ratios 1, 1, 0, 3 with labels good, bad, bad, good: right, wrong, a tie, right.
    batch = Labelled.of(
        completions([-1.0, -2.0, -3.0, -1.0], [-2.0, -3.0, -3.0, -4.0]),
        torch.tensor([True, False, False, True]),
        torch.tensor([1.0, 3.0]),
    )
    shown = Signed().metrics(batch)
    assert_close(shown["accuracy"], torch.tensor([1.0, 0.0, 0.5, 1.0]))
    assert_close(shown["margin"], torch.tensor([2.0, -2.0, 0.0, 6.0]))
    nan = math.nan
    assert_close(shown["chosen_logp"], torch.tensor([-1.0, nan, nan, -1.0]), equal_nan=True)
    assert_close(shown["rejected_logp"], torch.tensor([nan, -2.0, -3.0, nan]), equal_nan=True)
