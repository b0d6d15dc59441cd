from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from alignbench import stats
from alignbench.stats import bootstrap_interval, estimates, holm, interval, intervals, mcnemar, paired_difference, pairs
from alignbench.stats.crossed import mean_squares, refitted_error, standard_error

Floats = NDArray[np.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def t_interval(x: Floats) -> tuple[float, float]:
    ends = scipy.stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    return float(ends.low), float(ends.high)


def ends(estimate: stats.Estimate) -> tuple[float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low, estimate.high


def test_crossed_interval_by_hand(rng: np.random.Generator) -> None:
    # Row means 1, 2, 4.5, column means 1, 4, mean 2.5. Sums of squares: prompts 2 (2.25 + .25 + 4) = 13 on 2 degrees,
    # seeds 3 (2.25 + 2.25) = 13.5 on 1, total 29.5, so residual 3 on 2: mean squares 6.5, 13.5, 1.5.
    # Var = (6.5 + 13.5 - 1.5) / 6; df = 18.5^2 / (6.5^2 / 2 + 13.5^2 + 1.5^2 / 2) = 342.25 / 204.5.
    estimate = interval([[0, 2], [1, 3], [2, 7]], rng)
    half = scipy.stats.t.ppf(0.975, 342.25 / 204.5) * np.sqrt(18.5 / 6)
    assert estimate.value == 2.5
    assert ends(estimate) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-12)
    assert (estimate.n, estimate.method) == (6, "crossed random effects, Satterthwaite t")


def test_a_component_below_zero_is_left_out(rng: np.random.Generator) -> None:
    no_seed_effect = np.array([[0, 1], [1, 0], [4, 4]])  # MS_seed is 0: the t interval of the prompts' means
    assert ends(interval(no_seed_effect, rng)) == pytest.approx(t_interval(no_seed_effect.mean(axis=1)))
    no_prompt_effect = no_seed_effect.T
    assert ends(interval(no_prompt_effect, rng)) == pytest.approx(t_interval(no_seed_effect.mean(axis=1)))
    only_residual = np.array([[0, 1], [1, 0]])  # the t interval of four independent scores
    assert ends(interval(only_residual, rng)) == pytest.approx(t_interval(only_residual.ravel()))


def test_degrees_of_freedom_are_no_fewer_than_a_terms_own() -> None:
    # Mean squares 1.1, 1.1, 1 on 4, 2, 8 degrees: the formula says 1.2^2 / (1.1^2 / 4 + 1.1^2 / 2 + 1 / 8) = 1.39
    # degrees, but no sum of these is known worse than the worst of them, 2.
    prompts = np.array([-2, -1, 0, 1, 2]) * np.sqrt(1.1 * 4 / 30)
    seeds = np.array([-1, 0, 1]) * np.sqrt(1.1 * 2 / 10)
    x = prompts[:, None] + seeds + np.outer([1, -1, 0, 0, 0], [1, -1, 0]) * np.sqrt(8 / 4)
    assert mean_squares(x)[0] == pytest.approx([1.1, 1.1, 1])
    assert standard_error(x) == pytest.approx((np.sqrt(1.2 / 15), 2))


def test_leading_axes_are_studies_of_their_own(rng: np.random.Generator) -> None:
    # One study for each way the variance is put together, and one without any.
    kinds = [[[0, 2], [1, 3], [2, 7]], [[0, 1], [1, 0], [4, 4]], [[0, 1], [1, 0], [0.5, 0.5]], [[1, 1]] * 3]
    x = np.array(kinds, dtype=np.float64)
    studies = np.stack([x, 10 * x], axis=1)
    errors, dfs = standard_error(studies)
    alone = [[standard_error(study) for study in pair] for pair in studies]
    np.testing.assert_allclose(np.stack([errors, dfs], axis=-1), alone)
    assert mean_squares(studies)[0].shape == (4, 2, 3)
    drawn = np.random.default_rng(3).normal(size=(2, 3, 20, 3))
    flip, headline, how = pairs.tests(drawn, rng, 199)
    assert (flip.shape, headline.shape, how) == ((2, 3), (2, 3), "sign-flip by prompt, 199 draws")
    for at in np.ndindex(2, 3):
        single = paired_difference(drawn[at], np.zeros((20, 3)), rng, resamples=40_000)
        assert (flip[at], headline[at]) == pytest.approx((single.p_value, single.p_headline), abs=0.12)


def test_blocks_do_not_change_the_generalized_p(monkeypatch: Any) -> None:
    x = np.random.default_rng(3).normal(size=(5, 20, 3))
    whole = pairs._generalized_p(x, np.random.default_rng(0), 4000)
    monkeypatch.setattr(estimates, "CELLS", 24_000)  # two studies at a time
    np.testing.assert_allclose(pairs._generalized_p(x, np.random.default_rng(0), 4000), whole, atol=0.03)


def test_refitted_error_is_the_crossed_one_for_a_mean(rng: np.random.Generator) -> None:
    # The mean of each column of a table is the simplest fit: its refits are the bootstrap, its influence the scores.
    x = rng.normal(size=(2, 25, 1)) + 0.7 * rng.normal(size=(2, 1, 4)) + rng.normal(size=(2, 25, 4))
    weights = estimates.draws(rng, 20_000, 25)
    refits = weights @ x.mean(axis=2).T / 25
    np.testing.assert_allclose(refitted_error(refits, x), standard_error(x), rtol=0.04)
    alone, _ = refitted_error(refits, np.zeros(x.shape))  # the prompts' share is that of the refits
    np.testing.assert_allclose(alone, np.std(x.mean(axis=2), axis=1, ddof=1) / 5, rtol=0.02)
    error, df = refitted_error(weights @ x[:, :, 0].T / 25, x[:, :, :1])  # one seed: the standard error by prompt
    np.testing.assert_allclose(error, scipy.stats.sem(x[:, :, 0], axis=1), rtol=0.02)
    assert df.tolist() == [24, 24]


def test_bounds_put_the_interval_on_the_logit_scale(rng: np.random.Generator) -> None:
    x = np.ones((12, 2))
    x[3, 0] = x[7, 1] = 0
    mean, (low, high) = float(x.mean()), ends(interval(x, rng))
    assert high > 1  # what the plain scale does
    step = (high - mean) / (mean * (1 - mean))
    inside = interval(x, rng, bounds=(0, 1))
    assert scipy.special.logit(ends(inside)) - scipy.special.logit(mean) == pytest.approx(np.array([-step, step]))
    assert 0 < ends(inside)[0] < low < mean < ends(inside)[1] < 1
    assert inside.method.endswith("on the logit scale")
    percent = interval(100 * x - 50, rng, bounds=(-50, 50))
    assert ends(percent) == pytest.approx(tuple(100 * end - 50 for end in ends(inside)))


def test_equal_scores_are_not_certainty(rng: np.random.Generator) -> None:
    for seeds in (1, 3):
        wins = interval(np.ones((30, seeds)), rng, bounds=(0, 1))
        exact = scipy.stats.binomtest(30, 30).proportion_ci(0.95)
        assert (wins.value, *ends(wins)) == pytest.approx((1, exact.low, 1))
        ties = interval(np.full((30, seeds), 0.5), rng, bounds=(0, 1))
        assert ends(ties) == pytest.approx((exact.low / 2, 1 - exact.low / 2))
        nothing_known = interval(np.full((30, seeds), 0.1 + 0.2), rng)
        assert (nothing_known.low, nothing_known.high) == (None, None)
        assert "all scores equal" in nothing_known.method
    # Within rounding is equal: no interval of width 1e-17.
    assert interval(np.array([[0.3, 0.1 + 0.2]] * 4), rng).low is None


def test_one_prompt_has_no_interval(rng: np.random.Generator) -> None:
    for estimate in (interval([[0, 1, 1]], rng), bootstrap_interval([[0, 1, 1]], rng)):
        assert (estimate.low, estimate.high, estimate.method) == (None, None, "one prompt: no interval")


def test_undefined_numbers_become_null_in_json(rng: np.random.Generator) -> None:
    undefined = stats.agreement_interval([1, 1], [1, 1], lambda a, b: np.nan, rng, resamples=10)
    estimates = [undefined, interval([[1.0], [1.0]], rng), paired_difference([[1.0]], [[0.0]], rng)]
    text = json.dumps([estimate.as_dict() for estimate in estimates], allow_nan=False)
    rows = [(row["value"], row["low"], row["high"]) for row in json.loads(text)]
    assert rows == [(None, None, None), (1, None, None), (1, None, None)]
    assert list(interval([[0.0], [1.0]], rng).as_dict()) == ["value", "low", "high", "n", "method"]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.0, 1.0], "shape"), (np.empty((0, 3)), "shape"), ([[0.0, np.nan]], "finite"), ([[0.0], [2.0]], "bounds")],
)
def test_malformed_scores_are_refused(rng: np.random.Generator, scores: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(scores, rng, bounds=(0, 1))
    with pytest.raises(ValueError, match="level"):
        interval([[0.0], [1.0]], rng, level=95)


@pytest.mark.parametrize("discrete", [True, False])
def test_one_seed_is_scipys_bca(rng: np.random.Generator, discrete: bool) -> None:
    x = rng.choice([0, 0.25, 1], p=[0.8, 0.15, 0.05], size=100) if discrete else np.exp(rng.normal(size=60))
    theirs = scipy.stats.bootstrap((x,), np.mean, n_resamples=60_000, method="BCa", rng=rng).confidence_interval
    plain = np.array([theirs.low, theirs.high]) - x.mean()
    ours = intervals._bca(x, rng, 0.95, resamples=60_000)
    assert abs(plain.sum()) > 0.08 * np.ptp(plain)  # skewed, so that a plain percentile interval would not pass
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03 * np.ptp(plain))
    assert interval(x[:, None], rng).method == "BCa bootstrap by prompt, conditional on this seed"


def test_bootstrap_resamples_prompts_and_seeds(rng: np.random.Generator) -> None:
    # The mean of p_i + s_j resamples as mean(p*) + mean(s*): variance var(p) / P + var(s) / S.
    p, s = rng.normal(size=(300, 1)), 0.5 * rng.normal(size=40)
    for x, variance in ((p + s, p.var() / 300 + s.var() / 40), (p, p.var() / 300)):
        low, high = ends(bootstrap_interval(x, rng, resamples=8000))
        assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.04)


def test_blocks_do_not_change_the_number_of_resamples(rng: np.random.Generator, monkeypatch: Any) -> None:
    assert list(estimates.blocks(10, 7)) == [10]
    monkeypatch.setattr(estimates, "CELLS", 21)
    assert list(estimates.blocks(10, 7)) == [3, 3, 3, 1]
    assert list(estimates.blocks(2, 99)) == [1, 1]
    x = np.arange(8.0)[:, None]
    assert ends(bootstrap_interval(x, rng)) == pytest.approx((1.9, 5.1), abs=0.4)
    assert paired_difference(np.ones((20, 1)), np.zeros((20, 1)), rng, resamples=99).p_value == 0.01


def test_a_generator_gives_the_same_numbers_again() -> None:
    x = np.random.default_rng(0).random((50, 1))

    def numbers(seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [interval(x, rng), bootstrap_interval(x, rng), paired_difference(x, x**2, rng, resamples=99)]

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)


# -- paired differences


@pytest.mark.parametrize(
    ("differences", "p"), [([1, 2, 3], 1 / 4), ([1, 2, -3], 1), ([1, 1, 1, -1], 10 / 16), ([4, 0, 0], 1), ([0, 0], 1)]
)
def test_sign_flip_by_hand(rng: np.random.Generator, differences: list[float], p: float) -> None:
    # 1, 2, 3: of 8 patterns only +++ and --- reach 6. 1, 1, 1, -1: 2 of 16 reach 4 and 8 reach 2.
    a = np.array(differences, dtype=float)[:, None]
    assert paired_difference(a + 0.1, np.full(a.shape, 0.1), rng).p_value == pytest.approx(p)
    d = np.append(a, np.zeros(20))  # prompts without a difference change nothing, however many
    assert pairs._sign_flip(d, rng, 9)[0] == pytest.approx(p)


def test_sign_flip_is_scipys_permutation_test(rng: np.random.Generator) -> None:
    a, b = rng.random((12, 3)), rng.random((12, 3)) - 0.2
    d = (a - b).mean(axis=1)
    exact = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=2**12).pvalue
    found = paired_difference(a, b, rng)
    assert found.p_value == pytest.approx(exact)
    assert found.method.endswith("exact sign-flip by prompt")
    sampled, how = pairs._sign_flip(np.append(d, 1e-9), rng, 40_000)  # a thirteenth: too many to enumerate
    assert sampled == pytest.approx(exact, abs=0.01)
    assert how == "sign-flip by prompt, 40000 draws"


def test_difference_has_the_crossed_interval_and_its_t_test(rng: np.random.Generator) -> None:
    a, b = rng.random((20, 3)) + 0.2, rng.random((20, 3))
    found = paired_difference(a, b, rng)
    assert (found.value, *ends(found)) == pytest.approx((np.mean(a - b), *ends(interval(a - b, rng))))
    assert found.p_value_t is not None
    touching = interval(a - b, rng, level=1 - found.p_value_t)  # the interval at level 1 - p ends at 0
    assert ends(touching)[0] == pytest.approx(0, abs=1e-9)
    one_seed = paired_difference(a[:, :1], b[:, :1], rng)
    assert one_seed.p_value_t == pytest.approx(scipy.stats.ttest_rel(a[:, 0], b[:, 0]).pvalue)
    assert one_seed.p_headline == one_seed.p_value


def test_generalized_p_by_hand(rng: np.random.Generator) -> None:
    # Where the residual hides what the seeds vary, or there is none, it is the t test of the prompts' means.
    one_factor = np.array([[0, 1], [1, 0], [4, 4]])
    p = scipy.stats.ttest_1samp(one_factor.mean(axis=1), 0.0).pvalue
    for x in (one_factor, one_factor.T, np.tile(one_factor.mean(axis=1)[:, None], 5)):
        assert pairs._generalized_p(x.astype(float), rng, count=100_000) == pytest.approx(p, rel=0.03)
    # With many of both the mean squares are the variances, and it is the normal test.
    both = 0.1 * (rng.normal(size=(400, 1)) + rng.normal(size=400)) + 2 * rng.normal(size=(400, 400))
    error, _ = standard_error(both)
    normal = 2 * scipy.stats.norm.sf(1.5)
    assert pairs._generalized_p(both - both.mean() + 1.5 * error, rng) == pytest.approx(normal, rel=0.03)


def test_chance_in_the_drawing_makes_no_claim() -> None:
    # With few draws the p-value is uncertain, and then high: seldom below what 100,000 draws give.
    x = np.random.default_rng(8).normal(0.4, 1, size=(15, 3))
    exact = pairs._generalized_p(x, np.random.default_rng(0), count=100_000)
    few = [pairs._generalized_p(x, np.random.default_rng(i), count=100) for i in range(400)]
    assert np.mean(few < exact) < 0.1
    assert np.mean(few) < exact + 0.1


def test_difference_without_variance(rng: np.random.Generator) -> None:
    same = np.array([[0.3, 1.0], [0.7, 0.2]])
    alike = paired_difference(same, same, rng)
    assert (alike.low, alike.p_value, alike.p_value_t, alike.p_headline) == (None, 1, 1, 1)
    # 0.1 + 0.2 - 0.3 is rounding, not a difference.
    assert paired_difference(np.full((9, 2), 0.1 + 0.2), np.full((9, 2), 0.3), rng).p_value == 1
    one_prompt = paired_difference([[1, 2, 4]], [[0, 0, 0]], rng)
    assert (one_prompt.low, one_prompt.p_value, one_prompt.p_value_t, one_prompt.p_headline) == (None, 1, None, 1)
    swept = paired_difference(np.ones((10, 2)), np.zeros((10, 2)), rng)
    assert (swept.low, swept.p_value, swept.p_value_t, swept.p_headline) == (None, 2**-9, None, 2**-9)
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(same, same[:1], rng)


def test_mcnemar_by_hand(rng: np.random.Generator) -> None:
    # Nine prompts differ, eight of them in favour: p = 2 (1 + 9) / 2^9. Ten that agree say nothing.
    a = np.array([1.0] * 8 + [0.0] + [1.0] * 5 + [0.0] * 5)
    b = np.array([0.0] * 8 + [1.0] + [1.0] * 5 + [0.0] * 5)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(20 / 512)
    assert mcnemar(a, b) == pytest.approx(paired_difference(a[:, None], b[:, None], rng).p_value)
    assert mcnemar([1, 0], [0, 1]) == 1
    assert mcnemar(a, a) == 1
    # Only which is higher counts, and rounding is no difference.
    assert mcnemar([1, 1, 0.5, 0.3], [0.5, 0, 0, 0.1 + 0.2]) == pytest.approx(2 / 8)
    with pytest.raises(ValueError, match="one shape"):
        mcnemar([1, 0], [1])
    with pytest.raises(ValueError, match=r"\[prompts\]"):
        mcnemar(np.ones((3, 1)), np.ones((3, 1)))


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert holm([]).size == 0
    for bad in ([0.5, np.nan], [1.1], [[0.5]]):
        with pytest.raises(ValueError, match="p-values"):
            holm(bad)
