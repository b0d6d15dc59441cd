"""Figures of the seeds alone, and of reward against KL."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from alignbench.stats import (
    best_of_n_kl,
    frontier_area,
    interquartile_mean,
    probability_of_improvement,
    reward_at_kl,
    seeds,
)
from alignbench.stats.frontier import common_kl

from .test_stats import ends


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def test_interquartile_mean_by_hand(rng: np.random.Generator) -> None:
    # Of five the middle three stay, of eight the middle four; order and outliers do not matter.
    found = interquartile_mean([100, 3, 1, 5, 10], rng)
    assert (found.value, found.n) == (6, 5)
    assert interquartile_mean([8, -50, 2, 3, 4, 5, 7, 70], rng).value == 4.75
    assert ends(found)[0] < 6 < ends(found)[1]
    assert (
        ends(interquartile_mean([1000, *range(11)], rng))[1] < 30
    )  # a resample holds four such outliers in .02 of cases
    share = interquartile_mean([0.99, 1, 0.98, 0.5, 1], rng, bounds=(0, 1))
    assert ends(share)[1] == 1  # stretched beyond, cut off
    assert ends(interquartile_mean([0.99, 1, 0.98, 0.5, 1], np.random.default_rng(0)))[1] > 1
    equal = interquartile_mean([0.3] * 6, rng)
    assert equal.value == pytest.approx(0.3)
    assert (equal.low, equal.high) == (None, None)
    with pytest.raises(ValueError, match="needs 5 seeds, got 4"):
        interquartile_mean([1, 2, 3, 4], rng)


def test_probability_of_improvement_by_hand() -> None:
    # 2 beats one of b, 4 beats three and so on; the two 5s tie: 0 + 1 + 3 + 3.5 + 5 of 25.
    found = probability_of_improvement([0, 2, 4, 5, 9], [1, 3, 3, 5, 6])
    assert found.value == pytest.approx(12.5 / 25)
    assert found.n == 25
    turned = probability_of_improvement([1, 3, 3, 5, 6], [0, 2, 4, 5, 9])
    assert ends(turned) == pytest.approx((1 - ends(found)[1], 1 - ends(found)[0]))
    uneven = probability_of_improvement([7, 2, 4, 5, 9, 8], [1, 3, 3, 5, 6])
    assert uneven.value == pytest.approx(scipy.stats.mannwhitneyu([7, 2, 4, 5, 9, 8], [1, 3, 3, 5, 6]).statistic / 30)
    for few in ([1, 2, 3, 4], [1]):
        with pytest.raises(ValueError, match="needs 5 seeds"):
            probability_of_improvement(few, [1, 2, 3, 4, 5])


def test_probability_of_improvement_keeps_an_interval_when_every_pair_agrees() -> None:
    low, high = ends(probability_of_improvement([6, 7, 8, 9, 10], [1, 2, 3, 4, 5]))
    assert high == 1
    # At the lower end p, (1 - p)^2 = z^2 p (1 - p) (1 + 4 ((1 - p) / (2 - p) + p / (1 + p))) / 25.
    variance = low * (1 - low) * (1 + 4 * ((1 - low) / (2 - low) + low / (1 + low))) / 25
    assert (1 - low) ** 2 == pytest.approx(scipy.stats.norm.ppf(0.975) ** 2 * variance)
    assert ends(probability_of_improvement([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])) == pytest.approx((0, 1 - low))


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_coverage_of_the_probability_of_improvement(rng: np.random.Generator, shift: float) -> None:
    truth = scipy.stats.norm.cdf(shift / np.sqrt(2))
    found = [ends(probability_of_improvement(a + shift, b)) for a, b in rng.normal(size=(2000, 2, 5))]
    assert 0.92 <= np.mean([low <= truth <= high for low, high in found]) <= 0.98


@pytest.mark.parametrize("many", [5, 10])
def test_coverage_of_the_interquartile_mean(rng: np.random.Generator, many: int) -> None:
    found = [ends(interquartile_mean(x, rng, resamples=200)) for x in rng.normal(size=(2000, many))]
    assert 0.92 <= np.mean([low <= 0 <= high for low, high in found]) <= 0.98


@pytest.mark.parametrize("many", [2, 3, 5])
def test_coverage_with_few_seeds(rng: np.random.Generator, many: int) -> None:
    """Of a mean over seeds, which frontier areas and rewards at a KL are."""
    curves = np.broadcast_to([0.0, 1.0], (many, 2))
    studies = [np.repeat(x[:, None], 2, axis=1) for x in rng.normal(size=(2000, many))]
    found = [reward_at_kl(curves, x, 0.5, rng, resamples=200) for x in studies]
    assert all(each is not None for each in found)
    assert 0.92 <= np.mean([ends(each)[0] <= 0 <= ends(each)[1] for each in found if each is not None]) <= 0.97
    low, high = seeds.seed_interval(0, rng.normal(size=200_000), 200, 0.95)  # with many it is a percentile interval
    assert (low, high) == pytest.approx((-1.98, 1.98), abs=0.03)


# -- reward against KL


def test_area_between_lines(rng: np.random.Generator) -> None:
    # 2 KL over [0, 4] and KL over [1, 6]: over [1, 4] the gap is KL, 2.5 on average, whatever the checkpoints are.
    a = np.array([[0.0, 1.7, 4]])
    b = np.array([[1.0, 1.5, 2.9, 6]])
    found = frontier_area((a, 2 * a), (b, b), rng)
    assert found is not None
    assert found.value == pytest.approx(2.5)
    assert (found.low, found.high, found.n) == (None, None, 1)
    back = frontier_area((b, b), (a, 2 * a), rng)
    assert back is not None
    assert back.value == pytest.approx(-2.5)


def test_area_over_several_seeds(rng: np.random.Generator) -> None:
    # Every seed of both must reach the range: [1, 3]. The gap is KL + c_s, with c = 0, 3: 2 and 5 on average.
    kl_a, kl_b = np.array([[0.0, 4], [1, 3]]), np.array([[0.0, 6], [0.5, 5]])
    found = frontier_area((kl_a, 2 * kl_a + [[0], [3]]), (kl_b, kl_b), rng)
    assert found is not None
    assert found.value == pytest.approx(3.5)
    assert found.n == 2
    assert sum(ends(found)) / 2 == pytest.approx(3.5)
    alike = frontier_area((kl_a, 2 * kl_a), (kl_b, kl_b), rng)
    assert alike is not None
    assert alike.value == pytest.approx(2)
    assert alike.low is None
    with pytest.raises(ValueError, match="same seeds"):
        frontier_area((kl_a, kl_a), (kl_b[:1], kl_b[:1]), rng)
    with pytest.raises(ValueError, match="one shape"):
        frontier_area((kl_a, kl_a[:, :1]), (kl_b, kl_b), rng)


def test_over_optimisation_is_not_hidden(rng: np.random.Generator) -> None:
    # Gold reward d (a - b d) with d = sqrt(KL) falls from KL = 1 on. Its integral over [0, 4] with a = 2, b = 1:
    # 2 (2/3) 4^1.5 - 4^2 / 2 = 8/3, a mean of 2/3; the upper envelope would say 11/12.
    kl = np.linspace(0, 2, 400)[None] ** 2
    order = rng.permutation(400)  # the order of training is not that of the KL
    gold = (2 * np.sqrt(kl) - kl)[:, order]
    found = frontier_area((kl[:, order], gold), (kl, np.zeros(kl.shape)), rng)
    assert found is not None
    assert found.value == pytest.approx(2 / 3, abs=1e-4)
    nothing = frontier_area(([[0, 4]], [[0, 0]]), (kl[:, order], gold), rng)
    assert nothing is not None
    assert nothing.value == pytest.approx(-2 / 3, abs=1e-4)


def test_repeated_kl_counts_with_its_mean_reward(rng: np.random.Generator) -> None:
    kl, reward = [[0, 1, 1, 2]], [[0, 1, 3, 2]]
    at_one = reward_at_kl(kl, reward, 1, rng)
    assert at_one is not None
    assert at_one.value == 2
    area = frontier_area((kl, reward), ([[0, 2]], [[0, 0]]), rng)
    assert area is not None
    assert area.value == pytest.approx(1.5)  # (1 + 2) / 2


def test_no_common_range(rng: np.random.Generator) -> None:
    low, high = np.array([[0.0, 1], [0, 2]]), np.array([[1.0, 3], [1, 3]])
    assert frontier_area((low, low), (high, high), rng) is None  # they touch in a point, one seed's
    assert frontier_area(([[1]], [[5]]), ([[1]], [[4]]), rng) is None


def test_the_kl_in_common() -> None:
    a, b = [[2.0, 1, 4], [5, 3, 0.5]], [[0.7, 3.5, 2], [1.5, 6, 2]]
    assert common_kl(a, b) == (1.5, 3.5)  # the latest start and the earliest end, of any seed of any curve
    assert common_kl(a) == (1, 4)
    assert common_kl([[1, 2]], [[2, 3]]) == (2, 2)
    assert common_kl([[1, 2]], [[2.1, 3]]) is None


def test_reward_at_matched_kl(rng: np.random.Generator) -> None:
    kl, reward = [[0, 2, 4], [4, 0, 2]], [[0, 1, 5], [7, 0, 3]]
    found = reward_at_kl(kl, reward, 3, rng)  # 3 and 5
    assert found is not None
    assert (found.value, found.n) == (4, 2)
    assert ends(found)[0] < 3 < 5 < ends(found)[1]
    for outside in (-0.1, 4.1):
        assert reward_at_kl(kl, reward, outside, rng) is None
    assert reward_at_kl([[0, 4], [0, 2]], [[0, 1], [0, 1]], 3, rng) is None  # one seed does not reach it
    edge = reward_at_kl(kl, reward, 4, rng)
    assert edge is not None
    assert edge.value == 6


def test_best_of_n_kl() -> None:
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(4) == pytest.approx(np.log(4) - 0.75)
    # The best of n uniform draws has density n u^(n-1): its KL to the uniform, integrated.
    u = (np.arange(100_000) + 0.5) / 100_000
    assert best_of_n_kl(16) == pytest.approx(np.mean(16 * u**15 * np.log(16 * u**15)), rel=1e-6)
    with pytest.raises(ValueError, match="n >= 1"):
        best_of_n_kl(0)
