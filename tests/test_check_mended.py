"""Faults that the conformance kit once let pass, and sound objectives that it once failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench.check import Outcome, Subject, ask
from alignbench.plugins import recreate

HEAD = """
from dataclasses import dataclass
from typing import Annotated, Literal
import torch
from torch import nn
from torch.nn.functional import logsigmoid
from alignbench import *
"""

PAIRED = """
@dataclass(frozen=True)
class Mine(Paired):
    paper = "unpublished"
    beta: Positive = 0.1
    {field}

    def loss(self, batch):
        {before}
        margin = self.beta * (batch.chosen.log_ratio - batch.rejected.log_ratio)
        {then}
"""

ROLLOUT = """
@dataclass(frozen=True)
class Mine(Online):
    paper = "unpublished"
    needs = frozenset({{"sampling", "reward"}})
    {field}

    def init(self, engine):
        {init}

    def batches(self, engine):
        for samples, rewards in self.rollouts(engine, 2):
            masked = rewards[:, None] * samples.mask
            yield Experience(samples, samples.logps, masked, returns=masked)

    def loss(self, batch):
        ratio = (batch.completions.logps - batch.old_logps).clamp(-10, 10).exp()
        policy = -batch.advantages * ratio
        {then}

    @staticmethod
    def example():
        logps = torch.tensor([[0.5], [0.25]]).log()
        samples = Completions.of(logps, logps, torch.ones(2, 1), values=torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        old = torch.tensor([[2.0], [-1.0]])
        return Experience(samples, logps, old, returns=old), torch.zeros(2)
"""


def paired(
    folder: Path, check: str, field: str = "", before: str = "", then: str = "return -logsigmoid(margin)"
) -> Outcome:
    return asked(folder, check, PAIRED.format(field=field, before=before, then=then))


def rollout(folder: Path, check: str, then: str, field: str = "", init: str = "return None") -> Outcome:
    return asked(folder, check, ROLLOUT.format(field=field, init=init, then=then))


def asked(folder: Path, check: str, text: str) -> Outcome:
    file = folder / "mine.py"
    file.write_text(HEAD + text)
    return ask(Subject(recreate(str(file))), check)


# pure


@pytest.mark.parametrize("side", ["chosen", "rejected"])
@pytest.mark.parametrize(
    ("name", "change"), [("logps", "mul_(0.5)"), ("ref_logps", "mul_(1.0001)"), ("mask", "logical_not_()")]
)
def test_a_change_in_place_is_seen_on_either_side_of_a_pair(side: str, name: str, change: str, tmp_path: Path) -> None:
    outcome = paired(tmp_path, "pure", before=f"batch.{side}.{name}.{change}")
    assert outcome.result == "failed"
    assert f"`{name}` of the {side} completions" in outcome.sentence


def test_a_change_in_place_of_single_completions_is_seen(tmp_path: Path) -> None:
    outcome = rollout(tmp_path, "pure", "batch.completions.logps.mul_(0.5)\n        return policy")
    assert "`logps` of the completions" in outcome.sentence


# frozen_inputs

REFERENCE = (
    "every = batch.chosen._shared; "
    "parts = every.scorer.reference(every.rows).split([len(row.completion) for row in every.rows]); "
    "reference = torch.stack([part.sum() for part in parts]); "
    "chosen, rejected = reference[:len(batch)], reference[len(batch):]"
)


def test_a_gradient_of_the_reference_is_seen(tmp_path: Path) -> None:
    through = "return -logsigmoid(self.beta * ((batch.chosen.logp - chosen) - (batch.rejected.logp - rejected)))"
    outcome = paired(tmp_path, "frozen_inputs", before=REFERENCE, then=through)
    assert "the reference gets a gradient" in outcome.sentence
    detached = through.replace("- chosen", "- chosen.detach()").replace("- rejected)", "- rejected.detach())")
    assert paired(tmp_path, "frozen_inputs", before=REFERENCE, then=detached).result == "passed"


def test_the_reference_of_a_batch_has_no_gradient(tmp_path: Path) -> None:
    assert paired(tmp_path, "frozen_inputs").result == "passed"


# padding

VALUES = "(batch.completions.values[:, :-1] - batch.returns) ** 2"
VALUE_HEAD = "return nn.Linear(engine.hidden_size, 1)"


def test_what_its_own_batches_zero_off_the_mask_an_objective_need_not_mask(tmp_path: Path) -> None:
    assert rollout(tmp_path, "padding", "return policy.sum(1)").result == "passed"


def test_values_off_the_mask_must_be_masked(tmp_path: Path) -> None:
    free, masked = (
        rollout(tmp_path, "padding", f"return (policy + {VALUES}{mask}).sum(1)", init=VALUE_HEAD)
        for mask in ("", " * batch.mask")
    )
    assert (free.result, masked.result) == ("failed", "passed")


# hyper_parameters


@pytest.mark.parametrize(
    "field",
    [
        "lam: Annotated[float, Range(0.9, 0.999)] = 0.95",
        "lam: Annotated[float, Range(0.9, 0.999)] = 0.999",
        "fixed: Annotated[int, Range(3, 3)] = 3",
        "way: Literal['one'] = 'one'",
    ],
)
def test_a_field_in_a_narrow_range_that_does_nothing_is_seen(field: str, tmp_path: Path) -> None:
    outcome = paired(tmp_path, "hyper_parameters", field)
    assert outcome.result == "failed"
    assert field.split(":", maxsplit=1)[0] in outcome.sentence


def test_a_field_in_a_narrow_range_that_matters_passes(tmp_path: Path) -> None:
    field = "lam: Annotated[float, Range(0.9, 0.999)] = 0.95"
    assert paired(tmp_path, "hyper_parameters", field, then="return -logsigmoid(self.lam * margin)").result == "passed"


@pytest.mark.parametrize("field", ["mode: str = 'a'", "weights: tuple = (1.0, 2.0)", "margin: float | None = None"])
def test_a_field_that_cannot_be_examined_is_named(field: str, tmp_path: Path) -> None:
    outcome = paired(tmp_path, "hyper_parameters", field)
    assert outcome.result == "not applicable"
    assert outcome.sentence.startswith(f"{field.split(':', maxsplit=1)[0]} could not be examined")


def test_a_field_that_does_nothing_is_seen_beside_one_that_cannot_be_examined(tmp_path: Path) -> None:
    outcome = paired(tmp_path, "hyper_parameters", "mode: str = 'a'\n    idle: Positive = 1.0")
    assert outcome.sentence.startswith("idle=")


MLP = "return nn.Sequential(nn.Linear(engine.hidden_size, {0}), {1}, nn.Linear({0}, 1))"


@pytest.mark.parametrize(
    ("field", "width", "between"),
    [
        ("hidden: Count = 16", "self.hidden", "nn.Tanh()"),
        ("kind: Literal['tanh', 'relu'] = 'tanh'", "8", "nn.Tanh() if self.kind == 'tanh' else nn.ReLU()"),
    ],
)
def test_a_field_may_shape_the_head_alone(field: str, width: str, between: str, tmp_path: Path) -> None:
    then = f"return (policy + {VALUES} * batch.mask).sum(1)"
    used = rollout(tmp_path, "hyper_parameters", then, field, MLP.format(width, between))
    idle = rollout(tmp_path, "hyper_parameters", then, field, MLP.format("8", "nn.Tanh()"))
    assert (used.result, idle.result) == ("passed", "failed")


# gradcheck


@pytest.mark.parametrize(
    "weight",
    [
        "w = torch.sigmoid(-margin); w *= 2.0",
        "w = torch.sigmoid(-margin); w.mul_(margin.exp())",
        "w = torch.sigmoid(-margin); w[0].mul_(2.0)",
        "w = torch.sigmoid(-margin); w[margin > 0] = 1.0",
        "w = margin.sort().values",
    ],
)
def test_weights_without_gradient_may_be_made_in_place(weight: str, tmp_path: Path) -> None:
    then = f"with torch.no_grad():\n            {weight}\n        return -w * logsigmoid(margin)"
    assert paired(tmp_path, "gradcheck", then=then).result == "passed"


def test_a_weight_without_gradient_does_not_hide_a_wrong_one(tmp_path: Path) -> None:
    weight = "with torch.no_grad():\n            w = torch.sigmoid(-margin)\n            w *= 2.0\n        "
    wrong = f"{weight}return -w * logsigmoid(margin) * torch.tensor(batch.chosen.logp.tolist())"
    assert paired(tmp_path, "gradcheck", then=wrong).result == "failed"


def test_a_gradient_that_float32_loses_is_seen(tmp_path: Path) -> None:
    """Two terms of a derivative, each of 1e7, whose difference is nothing: float32 has no digit left for the rest."""
    lossy = "near = margin.clamp(max=100.0); return -logsigmoid(near) - (margin - near) * 1e7"
    outcome = paired(tmp_path, "gradcheck", then=lossy)
    assert outcome.result == "failed"
    assert "in float32 is off" in outcome.sentence
    assert paired(tmp_path, "gradcheck").result == "passed"
