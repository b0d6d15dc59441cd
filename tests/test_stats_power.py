"""The sizes that `needed` returns, by simulated studies of those sizes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from alignbench.stats import needed, pairs
from alignbench.stats.crossed import mean_squares
from alignbench.stats.estimates import Floats


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def differences(rng: np.random.Generator, mean: float, parts: Floats, P: int, S: int, studies: int) -> Floats:
    """Studies `[studies, P, S]` with variances `parts` of prompts, seeds and the rest."""
    prompt, seed, rest = np.sqrt(parts)
    effects = prompt * rng.normal(size=(studies, P, 1)) + seed * rng.normal(size=(studies, 1, S))
    found: Floats = mean + effects + rest * rng.normal(size=(studies, P, S))
    return found


def exact_study(rng: np.random.Generator, mean: float, parts: Floats, P: int, S: int) -> Floats:
    """One study that shows exactly this mean and these variance components."""
    rows, columns = scipy.stats.zscore(rng.normal(size=P), ddof=1), scipy.stats.zscore(rng.normal(size=S), ddof=1)
    rest = rng.normal(size=(P, S))
    rest -= rest.mean(axis=0) + rest.mean(axis=1, keepdims=True) - rest.mean()
    rest *= np.sqrt(parts[2] * (P - 1) * (S - 1) / np.sum(rest**2))
    rows = rows * np.sqrt(parts[0] + parts[2] / S)
    columns = columns * np.sqrt(parts[1] + parts[2] / P)
    return np.asarray(mean + rows[:, None] + columns + rest)


def power_at(rng: np.random.Generator, mean: float, parts: Floats, P: int, S: int) -> float:
    blocks = [differences(rng, mean, parts, P, S, 100) for _ in range(10)]
    return float(np.mean([pairs.tests(x, rng, 99)[1] <= 0.05 for x in blocks]))


@pytest.mark.parametrize(
    ("parts", "prompts", "seeds"), [((0.02, 0.0004, 0.2), 100, 5), ((0.03, 0, 0.1), 80, 3), ((0, 0.001, 0.05), 60, 4)]
)
def test_the_numbers_are_enough_and_not_too_many(
    rng: np.random.Generator, parts: tuple[float, ...], prompts: int, seeds: int
) -> None:
    components = np.array(parts)
    x = exact_study(rng, 0.07, components, prompts, seeds)
    ms, _ = mean_squares(x)
    assert ms == pytest.approx(components[2] + np.array([seeds * parts[0], prompts * parts[1], 0]))
    found = needed(x, np.zeros(x.shape))
    assert found.prompts_at == (prompts, seeds)
    assert found.difference == pytest.approx(0.07)
    assert found.prompts is not None
    assert found.seeds is not None
    assert power_at(rng, 0.07, components, found.prompts, seeds) == pytest.approx(0.8, abs=0.04)
    # Seeds come in ones, so that one fewer is short of it.
    assert power_at(rng, 0.07, components, prompts, found.seeds) >= 0.76
    assert found.seeds == 2 or power_at(rng, 0.07, components, prompts, found.seeds - 1) <= 0.84
    turned = needed(np.zeros(x.shape), x)
    assert (turned.prompts, turned.seeds) == (found.prompts, found.seeds)
    assert turned.difference == pytest.approx(-0.07)


def test_more_is_needed_for_more(rng: np.random.Generator) -> None:
    x = exact_study(rng, 0.07, np.array([0.02, 0.0002, 0.2]), 100, 5)
    zero = np.zeros(x.shape)
    sizes = [needed(x, zero), needed(x, zero, power=0.9), needed(x, zero, level=0.05 / 3), needed(0.8 * x + 0.2, zero)]
    assert all(size.prompts is not None and size.seeds is not None for size in sizes)
    prompts, seeds = [size.prompts or 0 for size in sizes], [size.seeds or 0 for size in sizes]
    assert prompts[0] < min(prompts[1:3])
    assert seeds[0] < min(seeds[1:3])
    assert prompts[3] < prompts[0]  # less noise and a larger difference


@pytest.mark.parametrize(("effect", "enough"), [(0.3, 90), (0.4, 52), (0.5, 34)])
def test_one_seed_is_the_paired_t_test(rng: np.random.Generator, effect: float, enough: int) -> None:
    # The textbooks' numbers of pairs for an effect in standard deviations, power .8.
    x = scipy.stats.zscore(rng.normal(size=(20, 1)), ddof=1) + effect
    found = needed(x, np.zeros(x.shape))
    assert (found.prompts, found.seeds) == (enough, None)
    assert "conditional on this seed" in found.method


def test_no_number_of_prompts_makes_up_for_seeds_that_vary(rng: np.random.Generator) -> None:
    x = exact_study(rng, 0.07, np.array([0, 0.01, 0.1]), 100, 3)
    found = needed(x, np.zeros(x.shape))
    assert found.prompts is None
    assert found.seeds is not None
    assert found.seeds > 3
    prompts_vary = exact_study(rng, 0.07, np.array([0.5, 0, 0.05]), 30, 3)
    found = needed(prompts_vary, np.zeros(prompts_vary.shape))
    assert found.seeds is None
    assert found.prompts is not None
    assert found.prompts > 500


def test_few_prompts_cannot_be_significant(rng: np.random.Generator) -> None:
    # Five prompts that all agree have a sign-flip p-value of 2 / 2^5 = .0625, six half of it.
    clear = exact_study(rng, 1, np.full(3, 1e-6), 5, 3)
    found = needed(clear, np.zeros(clear.shape))
    assert (found.prompts, found.seeds) == (6, None)
    six = exact_study(rng, 1, np.full(3, 1e-6), 6, 3)
    assert (needed(six, np.zeros(six.shape)).prompts, needed(six, np.zeros(six.shape)).seeds) == (6, 2)
    assert needed(np.ones((9, 3)), np.zeros((9, 3))).prompts == 6
    assert needed(np.ones((9, 1)), np.zeros((9, 1))).prompts == 6


def test_nothing_to_go_by() -> None:
    x = np.array([[0.0, 1], [1, 0]])
    for a, b in ((x, x), (x, 1 - x), (x[:1], x[:1] + 1)):
        found = needed(a, b)
        assert (found.prompts, found.seeds) == (None, None)
    assert needed(x, x).as_dict()["prompts_at"] == (2, 2)
    for bad in ({"power": 1.0}, {"power": 0.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match="between 0 and 1"):
            needed(x, x + 1, **bad)
    with pytest.raises(ValueError, match="one shape"):
        needed(x, x[:1])
