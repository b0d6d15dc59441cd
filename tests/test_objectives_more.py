"""Weighted, supervised, reference-free, ranked and unlikelihood objectives: formulas, slopes, extremes, differences."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, Labelled, Pairs, Ranked, create
from alignbench.train import train
from tests.small import engine

NAMES = [
    "wpo", "aot", "aot_unpaired", "bco", "bco_pair", "rpo", "cpo", "simpo", "orpo", "rrhf", "pl_dpo", "unlikelihood",
]  # fmt: skip


class Seq(NamedTuple):
    """One completion, token by token."""

    logps: tuple[float, ...]
    ref: tuple[float, ...]
    collision: tuple[float, ...]


def total(y: Seq) -> float:
    return sum(y.logps)


def mean(y: Seq) -> float:
    return sum(y.logps) / len(y.logps)


def ratio(y: Seq) -> float:
    return sum(y.logps) - sum(y.ref)


def logistic(margin: float) -> float:
    return max(-margin, 0) + math.log1p(math.exp(-abs(margin)))


def log_odds(y: Seq) -> float:
    p = math.exp(mean(y))
    return math.log(p / (1 - p))


def weight(y: Seq, sampled: bool) -> float:
    tokens = zip(y.logps, y.collision, strict=True)
    terms = [math.exp(logp) / math.exp(same) if sampled else math.exp(logp) for logp, same in tokens]
    return math.prod(terms) ** (1 / len(terms))


SHIFT, PARTNER, BELOW, ABOVE, COUNTED = 0.3, 0.6, -0.4, 0.9, 0.25
EXTRA = {"shift": SHIFT, "partner": PARTNER, "below": BELOW, "above": ABOVE, "counted": COUNTED}

# The loss of a pair (w, lo) that stood at (w0, lo0) before the step, which is where detached parts stay.
Formula = Callable[[Seq, Seq, Seq, Seq], float]
PAIRED: dict[str, Formula] = {
    "wpo": lambda w, lo, w0, lo0: weight(w0, True) * weight(lo0, True) * logistic(0.1 * (ratio(w) - ratio(lo))),
    "wpo:beta=0.7:alignment=none": lambda w, lo, w0, lo0: (
        weight(w0, False) * weight(lo0, False) * logistic(0.7 * (ratio(w) - ratio(lo)))
    ),
    "aot": lambda w, lo, *_: logistic(0.1 * (total(w) - total(lo) - PARTNER)),
    "aot:beta=0.7": lambda w, lo, *_: logistic(0.7 * (total(w) - total(lo) - PARTNER)),
    "aot_unpaired": lambda w, lo, *_: (
        logistic(0.1 * (ratio(w) - BELOW)) + logistic(0.1 * (ABOVE - ratio(lo))) - COUNTED
    ),
    "bco_pair": lambda w, lo, *_: logistic(0.1 * ratio(w) - SHIFT) + logistic(SHIFT - 0.1 * ratio(lo)),
    "bco_pair:beta=0.7": lambda w, lo, *_: logistic(0.7 * ratio(w) - SHIFT) + logistic(SHIFT - 0.7 * ratio(lo)),
    "rpo": lambda w, lo, *_: logistic(0.1 * (ratio(w) - ratio(lo))) - mean(w),
    "rpo:beta=0.7:alpha=2.5": lambda w, lo, *_: 2.5 * logistic(0.7 * (ratio(w) - ratio(lo))) - mean(w),
    "cpo": lambda w, lo, *_: logistic(0.1 * (total(w) - total(lo))) - mean(w),
    "cpo:beta=0.7:alpha=0.3:nll=sum": lambda w, lo, *_: logistic(0.7 * (total(w) - total(lo))) - 0.3 * total(w),
    "simpo": lambda w, lo, *_: logistic(2 * (mean(w) - mean(lo)) - 1),
    "simpo:beta=2.5:gamma_beta_ratio=0.3": lambda w, lo, *_: logistic(2.5 * (mean(w) - mean(lo)) - 0.75),
    "orpo": lambda w, lo, *_: 0.1 * logistic(log_odds(w) - log_odds(lo)) - mean(w),
    "orpo:lam=0.8": lambda w, lo, *_: 0.8 * logistic(log_odds(w) - log_odds(lo)) - mean(w),
}


def sequences(count: int, seed: int) -> list[Seq]:
    """Completions of one to four tokens of ordinary probabilities."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        length = draw.randint(1, 4)
        logps, ref = ([draw.uniform(-3, -0.05) for _ in range(length)] for _ in range(2))
        made.append(Seq(tuple(logps), tuple(ref), tuple(draw.uniform(2 * max(logps), 0) for _ in range(length))))
    return made


def completions(rows: Sequence[Seq], dtype: torch.dtype = torch.float64) -> tuple[Completions, Tensor]:
    """Padded, and the log-probs to differentiate by; behind the mask stands junk."""

    def padded(values: Sequence[Sequence[float]]) -> Tensor:
        rows = [torch.tensor(row, dtype=dtype) for row in values]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-0.7)

    lengths = torch.tensor([len(row.logps) for row in rows])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    leaf = padded([row.logps for row in rows]).requires_grad_()
    ref, collision = padded([row.ref for row in rows]), padded([row.collision for row in rows])
    return Completions.of(leaf, ref, mask, collision=collision), leaf


def paired(spec: str, ws: Sequence[Seq], ls: Sequence[Seq], dtype: torch.dtype = torch.float64) -> Any:
    (chosen, up), (rejected, down) = completions(ws, dtype), completions(ls, dtype)
    notes = {name: torch.full((len(ws),), value, dtype=dtype) for name, value in EXTRA.items()}
    return create(spec).loss(Pairs(chosen, rejected).with_extra(**notes)), up, down


def moved(y: Seq, t: int, by: float) -> Seq:
    return y._replace(logps=tuple(logp + by * (k == t) for k, logp in enumerate(y.logps)))


def slopes(of: Callable[[Seq], float], y: Seq, step: float = 1e-5) -> Any:
    """The derivative by each token, as numbers to compare with."""
    found = [(of(moved(y, t, step)) - of(moved(y, t, -step))) / (2 * step) for t in range(len(y.logps))]
    return pytest.approx(found, rel=1e-5, abs=1e-9)


def slopes_of_pair(formula: Formula, w: Seq, lo: Seq) -> tuple[Any, Any]:
    return slopes(lambda y: formula(y, lo, w, lo), w), slopes(lambda y: formula(w, y, w, lo), lo)


def slopes_in_list(formula: Callable[[Sequence[Seq]], float], ys: Sequence[Seq], k: int) -> Any:
    return slopes(lambda y: formula([*ys[:k], y, *ys[k + 1 :]]), ys[k])


@pytest.mark.parametrize("spec", PAIRED)
def test_loss_and_slope_of_a_pair_are_those_of_the_formula(spec: str) -> None:
    formula, ws, ls = PAIRED[spec], sequences(9, 0), sequences(9, 1)
    loss, up, down = paired(spec, ws, ls)
    expected = torch.tensor([formula(w, lo, w, lo) for w, lo in zip(ws, ls, strict=True)], dtype=torch.float64)
    assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    loss.sum().backward()
    for i, (w, lo) in enumerate(zip(ws, ls, strict=True)):
        for leaf, y, expected in zip((up, down), (w, lo), slopes_of_pair(formula, w, lo), strict=True):
            assert leaf.grad[i, : len(y.logps)].tolist() == expected
            assert not leaf.grad[i, len(y.logps) :].any()


def plackett_luce(scores: Sequence[float]) -> float:
    places = range(len(scores))
    return -math.log(math.prod(math.exp(scores[k]) / sum(math.exp(s) for s in scores[k:]) for k in places))


def hinges(ys: Sequence[Seq]) -> float:
    return sum(max(0.0, mean(worse) - mean(better)) for better, worse in itertools.combinations(ys, 2))


RANKED: dict[str, Callable[[Sequence[Seq]], float]] = {
    "rrhf": lambda ys: hinges(ys) - mean(ys[0]),
    "rrhf:rank_weight=3:nll=sum": lambda ys: 3 * hinges(ys) - total(ys[0]),
    "pl_dpo": lambda ys: plackett_luce([0.1 * ratio(y) for y in ys]),
    "pl_dpo:beta=0.7": lambda ys: plackett_luce([0.7 * ratio(y) for y in ys]),
}
SIZES = (3, 2, 5, 2, 4)


@pytest.mark.parametrize("spec", RANKED)
def test_loss_and_slope_of_lists_of_several_lengths_are_those_of_the_formula(spec: str) -> None:
    formula, rows = RANKED[spec], iter(sequences(sum(SIZES), 2))
    lists = [list(itertools.islice(rows, size)) for size in SIZES]
    held, leaf = completions([y for ys in lists for y in ys])
    loss = create(spec).loss(Ranked(held, SIZES))
    assert_close(loss, torch.tensor([formula(ys) for ys in lists], dtype=torch.float64), rtol=1e-10, atol=1e-12)
    loss.sum().backward()
    grads = iter(leaf.grad)  # type: ignore[arg-type]
    for ys in lists:
        for k, y in enumerate(ys):
            assert next(grads)[: len(y.logps)].tolist() == slopes_in_list(formula, ys, k)


@pytest.mark.parametrize("beta", [0.1, 0.8])
def test_a_list_of_two_is_dpo(beta: float) -> None:
    ws, ls = sequences(6, 0), sequences(6, 1)
    held, leaf = completions([y for pair in zip(ws, ls, strict=True) for y in pair])
    loss = create(f"pl_dpo:beta={beta}").loss(Ranked(held, (2,) * 6))
    expected, up, down = paired(f"dpo:beta={beta}", ws, ls)
    assert_close(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    assert leaf.grad is not None
    assert_close(leaf.grad[::2, : up.shape[1]], up.grad)
    assert_close(leaf.grad[1::2, : down.shape[1]], down.grad)


def test_the_likelihoods_of_all_orders_of_a_list_sum_to_1_and_are_equal_at_the_reference() -> None:
    ys = sequences(4, 3)
    orders = list(itertools.permutations(ys))
    loss = create("pl_dpo:beta=0.7").loss(Ranked(completions([y for o in orders for y in o])[0], (4,) * len(orders)))
    assert (-loss).exp().sum().item() == pytest.approx(1)
    there = [y._replace(logps=y.ref) for y in sequences(5, 3)]
    at_reference = create("pl_dpo").loss(Ranked(completions(there)[0], (2, 3)))
    assert at_reference.tolist() == pytest.approx([math.log(2), math.log(6)])


def test_rrhf_on_a_list_in_the_right_order_is_fine_tuning_on_its_best() -> None:
    ys = sorted(sequences(4, 5), key=mean, reverse=True)
    held, leaf = completions(ys)
    loss = create("rrhf").loss(Ranked(held, (4,)))
    assert loss.item() == pytest.approx(-mean(ys[0]))
    loss.backward()
    assert leaf.grad is not None and leaf.grad[0].any() and not leaf.grad[1:].any()


LABELS = [True, False, False, True, False]


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_bco_is_the_formula(beta: float) -> None:
    rows = sequences(5, 6)
    held, leaf = completions(rows)
    batch = Labelled.of(held, torch.tensor(LABELS), torch.zeros(1)).with_extra(shift=torch.full((5,), SHIFT).double())
    loss = create(f"bco:beta={beta}").loss(batch)
    logits = [beta * ratio(y) - SHIFT for y in rows]
    signs = [1 if good else -1 for good in LABELS]
    assert_close(loss, torch.tensor([logistic(s * x) for s, x in zip(signs, logits, strict=True)]).double())
    loss.sum().backward()
    assert leaf.grad is not None
    expected = [-s * beta / (1 + math.exp(s * x)) for s, x in zip(signs, logits, strict=True)]
    assert leaf.grad[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_unlikelihood_is_the_formula(alpha: float) -> None:
    rows = sequences(5, 7)
    held, leaf = completions(rows)
    loss = create(f"unlikelihood:alpha={alpha}").loss(Labelled.of(held, torch.tensor(LABELS), torch.zeros(1)))
    loss.sum().backward()
    assert leaf.grad is not None and loss.shape == held.mask.shape
    assert not loss[~held.mask].any() and not leaf.grad[~held.mask].any()
    for y, good, values, slopes in zip(rows, LABELS, loss.tolist(), leaf.grad.tolist(), strict=True):
        p = [math.exp(logp) for logp in y.logps]
        expected = [-math.log(q) if good else -alpha * math.log(1 - q) for q in p]
        assert values[: len(p)] == pytest.approx(expected)
        assert slopes[: len(p)] == pytest.approx([-1.0 if good else alpha * q / (1 - q) for q in p])


FAR = [0.0, -1e-7, -1e-3, -5.0, -100.0, -1e4]


@pytest.mark.parametrize("spec", PAIRED)
def test_pairs_far_out_have_finite_losses_and_slopes_of_the_right_sign(spec: str) -> None:
    """Log-probs of 0 to -1e4 a token on both sides, and so log-ratios of up to +-2e4."""
    corners = [Seq((p,) * n, (q,) * n, (max(2 * p, -5.0),) * n) for p in FAR for q in (0.0, -5.0, -1e4) for n in (1, 2)]
    ws, ls = zip(*itertools.product(corners, repeat=2), strict=True)
    loss, up, down = paired(spec, ws, ls, torch.float32)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(up.grad).all() and torch.isfinite(down.grad).all()
    assert (up.grad <= 0).all() and (down.grad >= 0).all()
    assert up.grad.any() and down.grad.any()


@pytest.mark.parametrize("spec", RANKED)
def test_lists_far_out_have_finite_losses_and_slopes_of_the_right_sign(spec: str) -> None:
    corners = [Seq((p,), (q,), (0.0,)) for p in FAR for q in (0.0, -1e4)]
    lists = list(itertools.product(corners, repeat=3))
    held, leaf = completions([y for ys in lists for y in ys], torch.float32)
    loss = create(spec).loss(Ranked(held, (3,) * len(lists)))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad[::3] <= 0).all() and (leaf.grad[2::3] >= 0).all()


@pytest.mark.parametrize("spec", ["bco", "unlikelihood"])
@pytest.mark.parametrize("good", [True, False])
def test_labelled_completions_far_out_have_finite_losses_and_slopes_of_the_right_sign(spec: str, good: bool) -> None:
    held, leaf = completions([Seq((p,), (q,), (0.0,)) for p in FAR for q in FAR], torch.float32)
    labels = torch.full((len(FAR) ** 2,), good)
    batch = Labelled.of(held, labels, torch.zeros(1)).with_extra(shift=torch.zeros(len(labels)))
    loss = create(spec).loss(batch)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and leaf.grad is not None
    assert torch.isfinite(leaf.grad).all() and leaf.grad.any()
    assert ((leaf.grad <= 0) if good else (leaf.grad >= 0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_with_what_it_needs(name: str) -> None:
    objective = create(name)
    serving = engine(batch_size=4, budget=24)
    if "reference" not in objective.needs:
        serving.sources.reference = None
    steps = list(train(serving, objective))
    assert len(steps) >= 3
    for step in steps:
        assert all(map(math.isfinite, (step.loss, step.grad_norm, *step.metrics.values())))
    extra = {"wpo": "weight", "bco": "shift", "bco_pair": "shift"}.get(name)
    assert extra is None or extra in steps[0].metrics
