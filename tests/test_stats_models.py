"""Bradley-Terry strengths and length-controlled win rates, against their likelihoods and by simulated studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from alignbench import stats
from alignbench.stats import Estimate, bradley_terry, interval, length_controlled, lengths
from alignbench.stats.estimates import Floats
from alignbench.stats.newton import newton

from .test_stats import ends
from .test_stats_simulated import STUDIES, expected_rate

GAMES = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def largest(likelihood: Callable[[Floats], float], parameters: int) -> Floats:
    def negative(x: Floats) -> float:
        return -likelihood(x)

    return np.asarray(scipy.optimize.minimize(negative, np.zeros(parameters), tol=1e-12).x)


def log_likelihood(y: Floats, logits: Floats) -> Floats:
    return y * scipy.special.log_expit(logits) + (1 - y) * scipy.special.log_expit(-logits)


def covers(estimates: Sequence[Estimate | None], truth: Sequence[float]) -> list[bool]:
    found = [ends(each) if each is not None else (np.nan, np.nan) for each in estimates]
    return [low <= value <= high for (low, high), value in zip(found, truth, strict=True)]


# -- Bradley-Terry


def test_two_players_by_hand(rng: np.random.Generator) -> None:
    # Nine points of twelve, two ties among them: odds of 3 to 1. Over many prompts the ridge does not show.
    y = np.tile([1, 1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1, 0.5], 10_000)[None, :, None]
    odds = y.mean() / (1 - y.mean())
    first, second = bradley_terry(2, [(0, 1)], y, rng, resamples=10)
    assert first.value == pytest.approx(np.log(odds) / 2, rel=1e-4)
    assert second.value == pytest.approx(-first.value)
    assert first.n == 120_000
    turned = bradley_terry(2, [(1, 0)], 1 - y, np.random.default_rng(0), resamples=10)
    assert [each.value for each in turned] == pytest.approx([first.value, second.value])


def test_strengths_are_the_most_likely(rng: np.random.Generator) -> None:
    games = [(0, 1), (2, 0), (1, 2), (3, 1)]  # not all pairs meet
    y = rng.choice([0, 0.25, 0.5, 1], size=(4, 12, 2))

    def likelihood(x: Floats) -> float:
        logits = np.array([x[i] - x[j] for i, j in games])[:, None, None]
        return float(log_likelihood(y, logits).sum() / 2 - 0.05 * np.sum(x**2))  # a prompt counts once, whatever S

    found = bradley_terry(4, games, y, rng, resamples=10)
    values = [each.value for each in found]
    np.testing.assert_allclose(values, largest(likelihood, 4), atol=1e-5)
    assert sum(values) == pytest.approx(0, abs=1e-12)
    assert [each.n for each in found] == [48, 72, 48, 24]


def test_refits_and_influence_agree_on_the_error(rng: np.random.Generator) -> None:
    # With one seed the interval is that of the refits; doubled to two equal seeds it is the same in both ways.
    p = scipy.special.expit(rng.normal(size=(1, 300, 1)) + np.array([0.8, 0.5, -0.2])[:, None, None])
    y = (rng.random((3, 300, 1)) < p).astype(float)
    once = bradley_terry(3, GAMES, y, rng, resamples=4000)
    twice = bradley_terry(3, GAMES, np.repeat(y, 2, axis=2), rng, resamples=4000)
    for a, b in zip(once, twice, strict=True):
        assert a.value == pytest.approx(b.value)
        assert np.ptp(ends(a)) == pytest.approx(np.ptp(ends(b)), rel=0.05)
    assert once[0].method.endswith("conditional on this seed")
    assert twice[0].method.endswith("crossed random effects")


def test_a_prompt_is_drawn_with_all_its_matches(rng: np.random.Generator) -> None:
    # Player 0 meets both others with the same luck on every prompt: they stay equal in every resample, so that each
    # of them moves by -1/3 and player 0 by 2/3 of what its logit moves.
    won = (rng.random((300, 1)) < 0.6).astype(float)
    found = bradley_terry(3, GAMES[:2], np.stack([won, won]), rng, resamples=4000)
    spread = np.sqrt(1 / (299 * won.mean() * (1 - won.mean()))) * 2 * 1.968  # of the logit's interval, t on 299 degrees
    widths = [np.ptp(ends(each)) for each in found]
    np.testing.assert_allclose(widths, np.array([2, 1, 1]) / 3 * spread, rtol=0.05)


def test_what_no_fit_can_tell_has_no_interval(rng: np.random.Generator) -> None:
    y = (rng.random((3, 20, 2)) < 0.6).astype(float)
    swept = y.copy()
    swept[:2] = 1  # player 0 wins everything
    winner, *others = bradley_terry(3, GAMES, swept, rng)
    assert winner.value > max(each.value for each in others)
    assert all(each.low is None and "never loses" in each.method for each in (winner, *others))
    assert bradley_terry(3, GAMES[:1], y[:1], rng)[0].low is None  # player 2 met nobody
    assert bradley_terry(4, [(0, 1), (2, 3)], y[:2], rng)[0].low is None  # two islands
    circle = np.stack([np.ones((20, 2)), np.zeros((20, 2)), np.ones((20, 2))])  # 0 beats 1 beats 2 beats 0
    level = bradley_terry(3, GAMES, circle, rng)
    assert [each.value for each in level] == pytest.approx([0, 0, 0])
    assert [each.low for each in level] == [None, None, None]
    assert "all scores equal" in level[0].method
    assert "one prompt" in bradley_terry(3, GAMES, y[:, :1], rng)[0].method
    tied = np.concatenate([y, np.full((1, 20, 2), 0.5)])  # player 3 only ever ties
    assert [each.low is None for each in bradley_terry(4, [*GAMES, (0, 3)], tied, rng)] == [False] * 3 + [True]


def test_malformed_matches_are_refused(rng: np.random.Generator) -> None:
    y = np.ones((1, 3, 2))
    for games in ([(0, 0)], [(0, 2)], [(-1, 0)], [(0, 1), (0, 1)], []):
        with pytest.raises(ValueError, match="matches must be 1 pairs"):
            bradley_terry(2, games, y, rng)
    with pytest.raises(ValueError, match="bounds"):
        bradley_terry(2, [(0, 1)], 2 * y, rng)
    with pytest.raises(ValueError, match="shape"):
        bradley_terry(2, [(0, 1)], y[0], rng)


def strengths_behind(true: Floats, sd: float) -> Floats:
    """The strengths that fit the expected win rates, when what players do varies by `sd` logits each."""
    rates = [expected_rate(true[i] - true[j], sd * np.sqrt(2)) for i, j in GAMES]

    def likelihood(x: Floats) -> float:
        logits = np.array([x[i] - x[j] for i, j in GAMES])
        return float(log_likelihood(np.array(rates), logits).sum() - 1e-9 * np.sum(x**2))

    return largest(likelihood, 3)


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0), (3, 0.8), (1, 0)])
def test_coverage_of_strengths(rng: np.random.Generator, seeds: int, seed_sd: float) -> None:
    true = np.array([0.9, 0, -0.9])
    behind, found = strengths_behind(true, np.hypot(1.2, seed_sd)), []
    for _ in range(STUDIES):
        # What a player does on a prompt it does in all its matches.
        does = true[:, None, None] + 1.2 * rng.normal(size=(3, 30, 1)) + seed_sd * rng.normal(size=(3, 1, seeds))
        p = scipy.special.expit(np.stack([does[i] - does[j] for i, j in GAMES]))
        y = (rng.random(p.shape) < p).astype(float)
        found.append(covers(bradley_terry(3, GAMES, y, rng, resamples=100), behind.tolist()))
    coverage = np.mean(found, axis=0)
    assert 0.92 <= coverage.min() <= coverage.max() <= 0.98


# -- length-controlled win rates


def judged(
    rng: np.random.Generator, at_equal: Floats, longer_by: Floats, slope: float, P: int, S: int, seed_sd: float = 0
) -> tuple[Floats, Floats]:
    """Wins and lengths `[K, P, S]` of specs that win at `at_equal` logits, by a judge that likes what is longer."""
    d = np.round(20 * rng.normal(size=(len(at_equal), P, S)) + longer_by[:, None, None])
    logits = at_equal[:, None, None] + slope * np.tanh(d / np.hypot(20, np.std(longer_by)))
    logits += 0.7 * rng.normal(size=(1, P, 1)) + seed_sd * rng.normal(size=(len(at_equal), 1, S))
    return (rng.random(d.shape) < scipy.special.expit(logits)).astype(float), d


def test_the_joint_fit_is_the_most_likely(rng: np.random.Generator) -> None:
    y = rng.choice([0, 0.25, 0.5, 1], size=(2, 15, 3), p=[0.2, 0.2, 0.2, 0.4])
    d = 30 * rng.normal(size=(2, 15, 3)) + 5
    x = np.tanh(d / d.std())

    def likelihood(b: Floats) -> float:
        logits = b[:2, None, None] + b[2] * x
        return float(log_likelihood(y, logits).sum() / 3 - 0.05 * np.sum(b**2))

    found, best = length_controlled(y, d, rng, resamples=10), largest(likelihood, 3)
    rates = [each.value for each in found.rates if each is not None]
    np.testing.assert_allclose([*rates, found.slope.value], [*scipy.special.expit(best[:2]), best[2]], atol=1e-6)
    assert (found.identified, found.why, found.slope.n) == ([True, True], ["", ""], 90)


def test_influence_is_the_derivative_by_a_prompts_weight(rng: np.random.Generator) -> None:
    y = rng.choice([0, 0.5, 1], size=(2, 15, 3))
    x = np.tanh(rng.normal(0.3, 1, size=(2, 15, 3)))
    fitted = lengths._fit(y, x, np.ones((1, 15)), np.zeros(3))[0]
    more, less = (lengths._fit(y, x, 1 + step * np.eye(15), fitted) for step in (1e-3, -1e-3))
    influence = lengths._influence(y, x, fitted)
    np.testing.assert_allclose(influence.mean(axis=2).T / 15, (more - less) / 2e-3, atol=1e-5)


def test_a_tie_is_half_a_win_and_half_a_loss(rng: np.random.Generator) -> None:
    y = np.array([1.0, 1, 0, 1, 0, 0, 1, 1])[:, None]
    d = np.array([3.0, -2, -5, 4, 1, -1, 2, 0])[:, None]
    ties = length_controlled([np.vstack([y, [[0.5]]])], [np.vstack([d, [[7.0]]])], rng, resamples=10)
    halves = length_controlled(
        [np.vstack([y, y, [[1.0]], [[0.0]]])], [np.vstack([d, d, [[7.0]], [[7.0]]])], rng, resamples=10
    )
    # The same table twice: only the ridge weighs half as much there.
    assert halves.slope.value == pytest.approx(ties.slope.value, rel=0.1)
    assert halves.rates[0] is not None
    assert ties.rates[0] is not None
    assert halves.rates[0].value == pytest.approx(ties.rates[0].value, abs=0.005)


def test_length_is_taken_out(rng: np.random.Generator) -> None:
    # Equally good, but the second writes 25 more and the judge likes that: raw it looks better by far.
    y, d = judged(rng, np.array([0.3, 0.3]), np.array([0.0, 12]), 2, 3000, 2)
    first, second = length_controlled(y, d, rng).rates
    truth = expected_rate(0.3, 0.7)
    assert y[1].mean() - truth > 0.08
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == pytest.approx((truth, truth), abs=0.02)
    turned = length_controlled(1 - y, -d, rng)
    assert turned.rates[1] is not None
    assert turned.rates[1].value == pytest.approx(1 - second.value)


@pytest.mark.parametrize(("seeds", "seed_sd"), [(3, 0), (3, 0.8), (1, 0)])
def test_coverage_of_length_controlled_rates(rng: np.random.Generator, seeds: int, seed_sd: float) -> None:
    at_equal, found = np.array([0.5, -0.3]), []
    truth = [expected_rate(value, float(np.hypot(0.7, seed_sd))) for value in at_equal]
    for _ in range(STUDIES):
        y, d = judged(rng, at_equal, np.array([8.0, -4]), 1, 40, seeds, seed_sd)
        found.append(covers(length_controlled(y, d, rng, resamples=60).rates, truth))
    coverage = np.mean(found, axis=0)
    assert 0.92 <= coverage.min() <= coverage.max() <= 0.98


def test_no_rate_where_lengths_lie_on_one_side(rng: np.random.Generator) -> None:
    y, d = judged(rng, np.array([0.5, 0, 0]), np.zeros(3), 1, 50, 2)
    d[1] = np.abs(d[1]) + 1
    d[1, :9, 0] = -3  # 9 of 100 pairs shorter
    d[2] = -np.abs(d[2]) - 1
    d[2, :10, 0] = 3  # 10 of 100 longer: enough
    found = length_controlled(y, d, rng, resamples=50)
    assert found.identified == [True, False, True]
    assert found.why == ["", "91% of the pairs longer than the opponent, 9% shorter", ""]
    assert [rate is None for rate in found.rates] == [False, True, False]
    assert ends(found.slope)[0] < found.slope.value < ends(found.slope)[1]
    level = length_controlled(y, np.zeros(d.shape), rng, resamples=50)
    assert level.rates == [None, None, None]
    assert (level.slope.value, level.slope.low) == (0, None)
    assert length_controlled(y, np.full(d.shape, 4.0), rng, resamples=50).identified == [False] * 3


def test_equal_scores_have_the_exact_interval(rng: np.random.Generator) -> None:
    y, d = judged(rng, np.array([0.5, 0]), np.zeros(2), 1, 30, 2)
    y[0] = 1
    always, other = length_controlled(y, d, rng, resamples=50).rates
    assert always == interval(y[0], rng, bounds=(0, 1))
    assert other is not None
    assert other.method.startswith("joint logistic fit")
    nothing = length_controlled(np.ones(y.shape), d, rng, resamples=50)
    assert nothing.slope.low is None
    single = length_controlled(y[:, :1], np.array([[[1.0, -1]], [[2, -2]]]), rng).rates[1]
    assert single is not None
    assert single.low is None


def test_malformed_specs_are_refused(rng: np.random.Generator) -> None:
    y = np.ones((2, 4, 2))
    with pytest.raises(ValueError, match="same prompts and seeds"):
        length_controlled([y[0], y[1, :, :1]], y, rng)
    with pytest.raises(ValueError, match="one shape"):
        length_controlled(y, y[:1], rng)
    with pytest.raises(ValueError, match="from 0 to 1"):
        length_controlled(2 * y, y, rng)
    with pytest.raises(ValueError, match="same prompts and seeds"):
        length_controlled([], [], rng)


def test_newton_gives_up_rather_than_return_anything() -> None:
    with pytest.raises(ArithmeticError, match="100 steps"):
        newton(np.ones_like, np.zeros((1, 2)))

    def towards_zero(x: Floats) -> Floats:
        p = scipy.special.expit(x)
        moves: Floats = (0.5 - p) / (p * (1 - p))
        return moves

    # From 3, full steps lead to -7, 542 and so on; in steps of two at most they come to rest.
    assert newton(towards_zero, np.array([[3.0], [-5.0]])) == pytest.approx(np.zeros((2, 1)), abs=1e-9)
    assert stats.__all__ == sorted(stats.__all__)
