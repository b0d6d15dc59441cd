"""Our loss and gradient beside those of TRL's own trainers: `make parity`."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from alignbench import Experience, Labelled, Pairs
from alignbench.plugins import available

from . import ours, peer, world
from .cases import AGREE, MEANT, NOT_HERE, NOT_IN_TRL, Case, Meant
from .table import ROWS, Row
from .world import Answer, Off

if importlib.util.find_spec("trl") is None:
    pytest.skip("TRL is not installed: `make parity` installs it", allow_module_level=True)

TOLERANCE = 1e-5  # of the largest: both sides compute in float32
APART = 1e-3  # a difference that is meant is far larger than what rounding makes


def off(case: Case, scratch: Path) -> Off:
    """Both sides of a case."""
    mine, other = _answers(case, scratch)
    return Off.between(mine, other, case.gradient_only)


def _answers(case: Case, scratch: Path) -> tuple[Answer, Answer]:
    if case.data in world.DATA:
        data = world.dataset(case.data)
        mine = ours.offline(case.ours, data, case.served_at_reference)
        return mine, peer.offline(case.kind, data, scratch, **case.theirs)
    batch, mine = ours.online(case.ours, case.moved)
    if case.kind == "OnlineDPO":
        return mine, peer.online_pairs(scratch, case.moved, **case.theirs)
    met = batch if case.data == "our samples" else None
    assert met is None or isinstance(met, Experience)
    return mine, peer.online(case.kind, scratch, case.moved, met=met, **case.theirs)


def test_the_release_is_the_one_that_was_read() -> None:
    assert importlib.import_module("trl").__version__ == "1.16.0"


@pytest.mark.parametrize("case", AGREE, ids=lambda case: f"{case.ours} {case}")
def test_the_same(case: Case, tmp_path: Path) -> None:
    found = off(case, tmp_path)
    ROWS.append(Row(case, found))
    assert found.worst < TOLERANCE, found


@pytest.mark.parametrize("meant", MEANT, ids=lambda meant: f"{meant.plain.ours} {meant.plain}")
def test_a_difference_that_is_meant(meant: Meant, tmp_path: Path) -> None:
    """It is there, and after what it is put down to is made alike, nothing is left of it."""
    plain, adjusted = off(meant.plain, tmp_path / "plain"), off(meant.adjusted, tmp_path / "adjusted")
    ROWS.append(Row(meant.plain, plain, meant, adjusted))
    assert plain.worst > APART, plain
    assert adjusted.worst < TOLERANCE, adjusted


def test_every_objective_is_compared_or_said_not_to_be() -> None:
    compared = {case.ours.split(":")[0] for case in (*AGREE, *(meant.plain for meant in MEANT))}
    assert not compared & NOT_IN_TRL.keys()
    assert compared | NOT_IN_TRL.keys() == available("objective").keys()


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("DPO", "_compute_loss"),
        ("KTO", "_compute_loss"),
        ("CPO", "cpo_loss"),
        ("GRPO", "_compute_loss"),
        ("OnlineDPO", "training_step"),
    ],
)
def test_every_loss_type_of_trl_is_compared_or_said_not_to_be(kind: str, method: str) -> None:
    """Their names as they stand in the code that tells them apart."""
    code = inspect.getsource(getattr(peer.trl(kind, "Trainer"), method))
    named = set(re.findall(r'loss_type == "(\w+)"', code))
    for several in re.findall(r"loss_type in \[([^\]]+)\]", code):
        named |= set(re.findall(r'"(\w+)"', several))
    assert named, "the code names no loss type: this test looks in the wrong place"
    cases = [*AGREE, *(meant.plain for meant in MEANT)]
    met = {name for case in cases if case.kind == kind for name in _loss_types(case)}
    not_here = {name.split()[1] for name in NOT_HERE if name.startswith(f"{kind} ")}
    assert not met & not_here
    assert met | not_here == named


def _loss_types(case: Case) -> list[str]:
    """The loss types that a case runs: those it names, or the trainer's default."""
    given = case.theirs.get("loss_type", {"KTO": "kto", "CPO": "sigmoid"}.get(case.kind, ""))
    return given if isinstance(given, list) else [given]


def test_a_loss_of_another_beta_is_told_apart(tmp_path: Path) -> None:
    """The comparison itself can fail: here by a thousandth of beta."""
    assert off(Case("dpo:beta=0.3", "DPO", {"beta": 0.3003}), tmp_path).worst > 10 * TOLERANCE


def test_the_batch_lies_on_both_sides_of_every_bend() -> None:
    """Hinges, clips and a clamp would agree wherever only one of their sides is met."""
    pairs = ours.batch("dpo", world.dataset())
    assert isinstance(pairs, Pairs)
    for margin in (pairs.chosen.log_ratio - pairs.rejected.log_ratio, pairs.chosen.logp - pairs.rejected.logp):
        assert (margin > 1).any() and (margin < 1).any()
    labelled = ours.batch("kto", world.dataset())
    assert isinstance(labelled, Labelled)
    assert labelled.mismatched_log_ratio.mean() > 0.1
    experience = ours.online("grpo", moved=True)[0]
    assert isinstance(experience, Experience)
    met = experience.select(range(len(experience)))
    ratio = (met.completions.logps - met.old_logps).exp()[met.mask]
    gain = met.advantages[met.mask] > 0
    for over in ((ratio > 1.2) & gain, (ratio > 1.2) & ~gain, (ratio < 0.8) & gain, (ratio < 0.8) & ~gain):
        assert over.any()
    assert ((ratio - 1).abs() < 0.2).float().mean() > 0.25
