"""Objectives on the margin, or on the two log-ratios, of a pair: formulas, gradients, extremes, differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, InputError, Pairs, create

LENGTHS = (3, 2)  # tokens of the chosen and of the rejected
REFERENCE = (-1.5, -2.3)  # log-prob of each of their tokens under the reference


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def logistic(margin: float) -> float:
    return softplus(-margin)


def alpha_score(h: float, alpha: float) -> float:
    return (1 - math.exp(-alpha * h)) / alpha


def relative_entropy(right: float, e: float) -> float:
    return right * math.log(right / (1 - e)) + (1 - right) * math.log((1 - right) / e)


def discopop(m: float, tau: float) -> float:
    share = 1 / (1 + math.exp(-m / tau))
    return (1 - share) * math.log(1 + math.exp(-m)) + share * math.exp(-m)


def slic(w: float, lo: float, delta: float, lam: float) -> float:
    logp_w, logp_l = w + LENGTHS[0] * REFERENCE[0], lo + LENGTHS[1] * REFERENCE[1]
    return max(0.0, delta - logp_w + logp_l) - lam * logp_w


# The loss of a pair whose log-ratios, summed over tokens, are w and lo; written without a look at the plug-ins.
Formula = Callable[[float, float], float]
FORMULAS: dict[str, Formula] = {
    "dpo": lambda w, lo: logistic(0.1 * (w - lo)),
    "dpo:beta=0.7:label_smoothing=0.2": lambda w, lo: 0.8 * logistic(0.7 * (w - lo)) + 0.2 * logistic(0.7 * (lo - w)),
    "robust_dpo": lambda w, lo: (0.9 * logistic(0.1 * (w - lo)) - 0.1 * logistic(0.1 * (lo - w))) / 0.8,
    "robust_dpo:beta=0.7:label_smoothing=0.3": lambda w, lo: (
        (0.7 * logistic(0.7 * (w - lo)) - 0.3 * logistic(0.7 * (lo - w))) / 0.4
    ),
    "ipo": lambda w, lo: (w - lo - 5) ** 2,
    "ipo:beta=0.4:reduction=mean": lambda w, lo: (w / 3 - lo / 2 - 1.25) ** 2,
    "slic": lambda w, lo: slic(w, lo, 1, 0.1),
    "slic:delta=2.5:lam=0.6": lambda w, lo: slic(w, lo, 2.5, 0.6),
    "hinge": lambda w, lo: max(0.0, 1 - 0.1 * (w - lo)),
    "hinge:beta=0.7": lambda w, lo: max(0.0, 1 - 0.7 * (w - lo)),
    "length_dpo": lambda w, lo: logistic(5 * (w / 3 - lo / 2)),
    "length_dpo:beta=2": lambda w, lo: logistic(2 * (w / 3 - lo / 2)),
    "f_dpo": lambda w, lo: logistic(0.1 * (alpha_score(w, 0.5) - alpha_score(lo, 0.5))),
    "f_dpo:alpha=0.2:beta=0.7": lambda w, lo: logistic(0.7 * (alpha_score(w, 0.2) - alpha_score(lo, 0.2))),
    "f_dpo:divergence=reverse_kl": lambda w, lo: logistic(0.1 * (w - lo)),
    "f_dpo:divergence=forward_kl": lambda w, lo: logistic(0.1 * (math.exp(-lo) - math.exp(-w))),
    "f_dpo:divergence=js": lambda w, lo: logistic(
        0.1 * (math.log(2 * math.exp(w) / (1 + math.exp(w))) - math.log(2 * math.exp(lo) / (1 + math.exp(lo))))
    ),
    "dpop": lambda w, lo: logistic(0.1 * (w - lo - 50 * max(0.0, -w))),
    "dpop:beta=0.7:lam=2": lambda w, lo: logistic(0.7 * (w - lo - 2 * max(0.0, -w))),
    "exo": lambda w, lo: relative_entropy(sigmoid(0.1 * (w - lo)), 1e-3),
    "exo:beta=0.7:label_smoothing=0.2": lambda w, lo: relative_entropy(sigmoid(0.7 * (w - lo)), 0.2),
    "nca": lambda w, lo: softplus(-0.1 * w) + 0.5 * softplus(0.1 * w) + 0.5 * softplus(0.1 * lo),
    "nca:beta=0.7": lambda w, lo: softplus(-0.7 * w) + 0.5 * softplus(0.7 * w) + 0.5 * softplus(0.7 * lo),
    "sppo": lambda w, lo: (w - 5) ** 2 + (lo + 5) ** 2,
    "sppo:beta=0.4": lambda w, lo: (w - 1.25) ** 2 + (lo + 1.25) ** 2,
    "apo_zero": lambda w, lo: 1 - sigmoid(0.1 * w) + sigmoid(0.1 * lo),
    "apo_zero:beta=0.7": lambda w, lo: 1 - sigmoid(0.7 * w) + sigmoid(0.7 * lo),
    "apo_down": lambda w, lo: sigmoid(0.1 * w) + 1 - sigmoid(0.1 * (w - lo)),
    "apo_down:beta=0.7": lambda w, lo: sigmoid(0.7 * w) + 1 - sigmoid(0.7 * (w - lo)),
    "discopop": lambda w, lo: discopop(0.05 * (w - lo), 0.05),
    "discopop:beta=0.7:tau=0.9": lambda w, lo: discopop(0.7 * (w - lo), 0.9),
}
NAMES = sorted({spec.partition(":")[0] for spec in FORMULAS})
every = pytest.mark.parametrize("name", NAMES)
NEAR, FAR = (-6.5, -1.1, -0.3, 0.2, 1.4, 7.0), (-1e4, -900.0, -80.0, 0.0, 80.0, 900.0, 1e4)
RATIOS = list(itertools.product(NEAR, NEAR))


def pairs(ratios: Sequence[tuple[float, float]], dtype: torch.dtype = torch.float64) -> tuple[Pairs, list[Tensor]]:
    """Pairs with these log-ratios, unevenly spread over the tokens, and the log-probs to differentiate by."""
    sides, leaves = [], []
    for side, (length, reference) in enumerate(zip(LENGTHS, REFERENCE, strict=True)):
        share = torch.arange(1, length + 1, dtype=dtype) / (length * (length + 1) / 2)
        ref = torch.full((len(ratios), length), reference, dtype=dtype)
        logps = (ref + torch.tensor([pair[side] for pair in ratios], dtype=dtype)[:, None] * share).requires_grad_()
        sides.append(Completions.of(logps, ref, torch.ones(len(ratios), length, dtype=torch.bool)))
        leaves.append(logps)
    return Pairs(sides[0], sides[1]), leaves


@pytest.mark.parametrize("spec", FORMULAS)
def test_the_loss_and_its_slope_are_those_of_the_formula(spec: str) -> None:
    formula, step = FORMULAS[spec], 1e-5
    batch, leaves = pairs(RATIOS)
    loss = create(spec).loss(batch)
    assert_close(loss, torch.tensor([formula(*pair) for pair in RATIOS], dtype=torch.float64), rtol=1e-10, atol=1e-12)
    loss.sum().backward()
    slopes = [
        ((formula(w + step, lo) - formula(w - step, lo)), (formula(w, lo + step) - formula(w, lo - step)))
        for w, lo in RATIOS
    ]
    expected = torch.tensor(slopes, dtype=torch.float64) / (2 * step)
    for side, leaf in enumerate(leaves):
        assert leaf.grad is not None
        each_token = expected[:, side, None].expand_as(leaf)
        assert_close(leaf.grad, each_token, rtol=1e-5, atol=1e-6)


@every
def test_the_value_at_the_reference_is_the_declared_one(name: str) -> None:
    objective = create(name)
    batch, _ = pairs([(0.0, 0.0)])
    if name == "slic":
        assert objective.at_reference is None  # it has none
    else:
        assert objective.loss(batch).item() == pytest.approx(objective.at_reference, abs=1e-6)


@every
def test_one_step_from_the_reference_moves_each_side_as_declared(name: str) -> None:
    """At the reference itself, and a little to its right and wrong sides."""
    objective = create(name)
    batch, leaves = pairs([(0.0, 0.0), (0.4, -0.4), (-0.4, 0.4)])
    objective.loss(batch).sum().backward()
    for leaf, side in zip(leaves, ("chosen", "rejected"), strict=True):
        assert leaf.grad is not None
        if objective.moves[side] == "up":
            assert (leaf.grad < 0).all()
        elif objective.moves[side] == "down":
            at_reference = leaf.grad[:1]
            still = name == "apo_down" and side == "chosen"
            assert (at_reference == 0).all() if still else (at_reference > 0).all()
            assert (leaf.grad[1:] > 0).all()


@pytest.mark.parametrize("spec", FORMULAS)
def test_loss_and_slope_are_finite_and_of_the_right_sign_far_out(spec: str) -> None:
    objective = create(spec)
    far = list(itertools.product(FAR, FAR))
    batch, leaves = pairs(far, torch.float32)
    loss = objective.loss(batch)
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    loss.sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    wrong = torch.tensor([w < 0 < lo for w, lo in far])
    chosen, rejected = (leaf.grad for leaf in leaves)
    assert chosen is not None and rejected is not None
    if objective.moves["chosen"] == "up":
        assert (chosen[wrong] <= 0).all() and (rejected[wrong] >= 0).all()


# What tells relatives apart.


def one(spec: str, w: float, lo: float) -> float:
    return float(create(spec).loss(pairs([(w, lo)])[0]).detach())


def test_conservative_and_robust_dpo_correct_in_opposite_directions() -> None:
    """With x the margin, both differ from DPO by a multiple of -log sigmoid(-x) + log sigmoid(x) = x."""
    plain = one("dpo:beta=0.5", 3, 1)
    assert one("dpo:beta=0.5:label_smoothing=0.2", 3, 1) == pytest.approx(plain + 0.2 * 1)
    assert one("robust_dpo:beta=0.5:label_smoothing=0.2", 3, 1) == pytest.approx(plain - 0.2 / 0.6 * 1)
    assert one("robust_dpo:beta=0.5:label_smoothing=0", 3, 1) == pytest.approx(plain)
    batch, (chosen, _) = pairs([(math.log(4), 0.0)])  # cDPO comes to rest at the log-odds of .8, robust DPO nowhere
    create("dpo:beta=1:label_smoothing=0.2").loss(batch).sum().backward()
    assert chosen.grad is not None and chosen.grad.abs().max() < 1e-12


@pytest.mark.parametrize("spec", ["robust_dpo:label_smoothing=0.5", "dpo:label_smoothing=0.6", "exo:label_smoothing=0"])
def test_a_smoothing_under_which_labels_say_nothing_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"label_smoothing=.* must be (at|above)"):
        create(spec)


def doubled(batch: Pairs) -> Pairs:
    """The same pairs with every token twice."""

    def twice(side: Completions) -> Completions:
        return Completions.of(side.logps.repeat(1, 2), side.ref_logps.repeat(1, 2), side.mask.repeat(1, 2))

    return Pairs(twice(batch.chosen), twice(batch.rejected))


@every
def test_only_averages_are_indifferent_to_length(name: str) -> None:
    batch, _ = pairs([(0.8, -0.6)])
    averaged = {"length_dpo", "ipo:reduction=mean"}
    for spec in [name] + [s for s in averaged if s.startswith(f"{name}:")]:
        same = torch.equal(create(spec).loss(batch), create(spec).loss(doubled(batch)))
        assert same == (spec in averaged)


def test_slic_has_no_reference_and_hinge_has_one() -> None:
    batch, _ = pairs([(0.3, 0.1)])
    chosen, rejected = (Completions.of(side.logps, None, side.mask) for side in (batch.chosen, batch.rejected))
    alone = Pairs(chosen, rejected)
    assert create("slic").loss(alone).item() == one("slic", 0.3, 0.1)
    assert "reference" not in create("slic").needs and "reference" in create("hinge").needs
    with pytest.raises(AttributeError, match="ref_logps"):
        create("hinge").loss(alone)


def test_a_divergence_that_has_no_alpha_refuses_one() -> None:
    for divergence in ("reverse_kl", "forward_kl", "js"):
        with pytest.raises(InputError, match=f"alpha=0.3 has no part in divergence={divergence}"):
            create(f"f_dpo:divergence={divergence}:alpha=0.3")


@pytest.mark.parametrize("spec", ["f_dpo:divergence=forward_kl:beta=1", "f_dpo:alpha=0.5:beta=1"])
def test_a_steep_score_goes_on_along_its_tangent(spec: str) -> None:
    """Up to 20 nats the paper's; beyond them a line of the same slope; a chosen completion is still raised there."""
    power = 0.5 if "alpha" in spec else 1.0
    lo, e20 = -math.log(1e12) / power, math.exp(20)  # the rejected is further out than any chosen below
    for beyond in (-1.0, 0.0, 1.0, 2.0):
        w = -(20 + beyond) / power
        batch, (chosen, _) = pairs([(w, -lo)])  # the rejected scores 1 / power: the loss is the margin itself
        loss = create(spec).loss(batch)
        steep = math.exp(20 + beyond) if beyond <= 0 else e20 * (1 + beyond)
        assert loss.item() == pytest.approx(steep / power, rel=1e-9)
        loss.sum().backward()
        assert chosen.grad is not None
        assert_close(chosen.grad, torch.full_like(chosen, -min(math.exp(20 + beyond), e20)), rtol=1e-9, atol=0)


def test_dpop_is_dpo_while_the_chosen_is_likelier_than_before() -> None:
    assert one("dpop", 0.5, 0.2) == one("dpo", 0.5, 0.2)
    assert one("dpop:lam=0", -0.5, 0.2) == one("dpo", -0.5, 0.2)
    assert one("dpop", -0.5, 0.2) > one("dpo", -0.5, 0.2)


def test_discopop_lowers_the_margin_between_its_pit_and_its_hump() -> None:
    ratios = [(m / 0.05, 0.0) for m in (-0.2, -0.12, -0.118, 0.0, 0.071, 0.073, 0.5)]
    batch, (chosen, _) = pairs(ratios)
    create("discopop").loss(batch).sum().backward()
    assert chosen.grad is not None
    assert (chosen.grad[:, 0] < 0).tolist() == [True, True, False, False, False, True, True]
