from __future__ import annotations

import json
import math
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alignbench.agreement import (
    alpha_of_table,
    cohens_kappa,
    kappa_of_table,
    krippendorff_alpha,
    position_bias,
    raw_agreement,
    self_agreement,
)
from alignbench.stats import agreement_interval

NONE = math.nan


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240611)


def test_kappa_by_hand() -> None:
    # Both yes 20, both no 15, only a 5, only b 10: p_o = .7, p_e = .5 * .6 + .5 * .4 = .5.
    a = ["yes"] * 20 + ["yes"] * 5 + ["no"] * 10 + ["no"] * 15
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert raw_agreement(a, b) == pytest.approx(0.7)
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert cohens_kappa([0, 1, 2, 0], [1, 2, 0, 1]) < 0
    assert cohens_kappa([1, 2, 0.5], [1, 2, 0.5]) == 1
    assert cohens_kappa([1, 1], [2, 2]) == 0  # nothing agreed, nothing expected
    assert math.isnan(cohens_kappa([1, 1], [1, 1]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (["1", "2"], [1, 2], "all be text"),
        ([1.0, NONE], [1, 2], "all be text"),
        (["1", None], ["1", "2"], "all be text"),
        ([1, 2], [1, 2, 3], "one length"),
        ([], [], "one length"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(a: Any, b: Any, message: str) -> None:
    for statistic in (raw_agreement, cohens_kappa):
        with pytest.raises(ValueError, match=message):
            statistic(a, b)


def test_alpha_is_krippendorffs_own_examples() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011): section A, two observers, and C, four with gaps.
    a = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
    assert krippendorff_alpha(np.transpose(a)) == pytest.approx(0.095, abs=5e-4)
    c: list[list[float]] = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
    assert krippendorff_alpha(np.transpose(c)) == pytest.approx(0.743, abs=5e-4)


def test_alpha_by_hand_and_at_the_edges() -> None:
    # Labels 1 1 | 1 2: 3 ones and 1 two in n = 4. D_o = 2 / 4, D_e = 2 * 3 * 1 / (4 * 3) = 1 / 2.
    assert krippendorff_alpha(np.array([[1, 1], [1, 2], [7, NONE]])) == pytest.approx(0)
    assert krippendorff_alpha([[1, 1], [2, 2]]) == 1
    undefined: list[list[list[float]]] = [[[1, 1], [1, 1]], [[1, NONE], [NONE, 2]], [[NONE, NONE]]]
    for ratings in undefined:
        assert math.isnan(krippendorff_alpha(ratings))
    with pytest.raises(ValueError, match="items, raters"):
        krippendorff_alpha([1, 2])


def test_a_contingency_table_gives_what_the_labels_give(rng: np.random.Generator) -> None:
    # 20 both yes, 5 only a, 10 only b, 15 both no: kappa as above; alpha has 55 and 45 of 100 labels, 15 items differ.
    table = [[20, 5], [10, 15]]
    assert kappa_of_table(table) == pytest.approx(0.4)
    assert alpha_of_table(table) == pytest.approx(1 - 99 * 30 / (55 * 45 * 2))
    a, b = rng.integers(0, 4, 60), rng.integers(0, 3, 60)
    counts = np.zeros((4, 4))
    np.add.at(counts, (a, b), 1)
    assert kappa_of_table(counts) == pytest.approx(cohens_kappa(a, b))
    assert alpha_of_table(counts) == pytest.approx(krippendorff_alpha(np.stack([a, b], axis=1)))
    assert math.isnan(kappa_of_table([[3, 0], [0, 0]])) and math.isnan(alpha_of_table([[3]]))
    for wrong in ([[1, 2]], [[0, 0], [0, 0]], [[-1, 2], [0, 3]], [1, 2]):
        for statistic in (kappa_of_table, alpha_of_table):
            with pytest.raises(ValueError, match="a table of two raters must be square"):
                statistic(wrong)


def test_position_bias_and_self_agreement_by_hand() -> None:
    # Completion one first, then second. Pair 1: one wins twice. 2: the first shown wins twice. 3: the second shown
    # wins twice. 4: the first shown, then a tie. 5: two ties. Picks of first - second over 10 answers: (4 - 3) / 10.
    first, second = [1, 1, 0, 1, 0.5], [1, 0, 1, 0.5, 0.5]
    assert position_bias(first, second) == pytest.approx(0.1)
    assert self_agreement(first, second) == pytest.approx(2 / 5)
    assert position_bias([1, 1], [0, 0]) == 1
    assert position_bias([0, 0], [1, 1]) == -1
    with pytest.raises(ValueError, match="verdicts"):
        position_bias([1, 2], [1, 1])


# -- agreement's intervals


def match(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.mean(a == b))


def test_agreement_interval_resamples_clusters(rng: np.random.Generator) -> None:
    a = (rng.random(200) < 0.7).astype(int)
    b = np.ones(200, dtype=int)
    width = {}
    tripled = np.tile(np.arange(200), 3)
    for name, clusters in (("items", None), ("clusters", tripled)):
        found = agreement_interval(np.tile(a, 3), np.tile(b, 3), match, rng, clusters)
        assert found.n == 600
        assert found.value == pytest.approx(a.mean())
        assert found.low is not None and found.high is not None
        width[name] = found.high - found.low
    # Tripled rows know no more than the rows: the interval of 200, not that of 600.
    assert width["clusters"] == pytest.approx(2 * 1.96 * a.std() / np.sqrt(200), rel=0.08)
    assert width["items"] == pytest.approx(width["clusters"] / np.sqrt(3), rel=0.08)


def test_agreement_interval_takes_matrices_and_text(rng: np.random.Generator) -> None:
    ratings = np.array([["A", "B"], ["B", "B"], ["A", "A"], ["B", "A"]] * 10)
    found = agreement_interval(ratings, ratings[:, 0], lambda m, a: match(m[:, 1], a), rng)
    assert found.value == 0.5
    assert [found.low, found.high] == pytest.approx([0.35, 0.65], abs=0.03)


def test_agreement_without_variance_has_no_interval(rng: np.random.Generator) -> None:
    a = np.arange(20) % 2
    assert agreement_interval(a, a, match, rng).low is None
    mostly_undefined = agreement_interval(a, a, lambda x, y: np.nan if rng.random() < 0.2 else rng.random(), rng)
    assert mostly_undefined.low is None
    with pytest.raises(ValueError, match="items must match"):
        agreement_interval(a, a[:-1], match, rng)


# -- the figures of the published data


def llmbar(folder: Path, name: str) -> tuple[list[int], list[int], list[int]]:
    """Human labels and the raw replies in both orders as the winning output, 1 or 2."""
    rows = json.loads((folder / "llmbar" / f"{name}.json").read_text(encoding="utf-8"))
    orders: list[list[int]] = []
    for swapped in (False, True):
        replies = [row["results"][0][f"swap = {swapped}"]["completion"][0] for row in rows]
        assert set(replies) == {"Output (a)", "Output (b)"}
        orders.append([1 if (reply == "Output (a)") != swapped else 2 for reply in replies])
    return [int(row["label"]) for row in rows], orders[0], orders[1]


@pytest.mark.parametrize(
    ("name", "accuracy", "kappa", "agreement", "order_kappa"),
    [
        ("natural-verdicts-gpt-4", 0.955, 0.9078, 0.950, 0.8977),
        ("natural-verdicts-chatgpt", 0.815, 0.6197, 0.710, 0.4287),
        ("neighbor-verdicts-gpt-4", 0.7873, 0.5712, 0.9328, 0.8651),
        ("neighbor-verdicts-chatgpt", 0.1940, -0.6005, 0.7164, 0.4616),
    ],
)
def test_llmbar(
    data_folder: Path, name: str, accuracy: float, kappa: float, agreement: float, order_kappa: float
) -> None:
    labels, first, second = llmbar(data_folder, name)
    human, judge = labels * 2, first + second
    assert raw_agreement(human, judge) == pytest.approx(accuracy, abs=5e-4)
    assert cohens_kappa(human, judge) == pytest.approx(kappa, abs=5e-4)
    assert cohens_kappa(first, second) == pytest.approx(order_kappa, abs=5e-4)
    scores = [[float(winner == 1) for winner in order] for order in (first, second)]
    assert self_agreement(*scores) == pytest.approx(agreement, abs=5e-4)
    # Both orders of a pair are one cluster.
    found = agreement_interval(
        human, judge, cohens_kappa, np.random.default_rng(0), clusters=list(range(len(labels))) * 2, resamples=300
    )
    assert found.low is not None and found.high is not None
    assert found.low < kappa < found.high


def test_chatgpt_prefers_the_first_output_on_llmbar(data_folder: Path) -> None:
    _, first, second = llmbar(data_folder, "natural-verdicts-chatgpt")
    # 25 pairs go to whichever is shown first, 4 to whichever is second, of 100.
    bias = position_bias([float(w == 1) for w in first], [float(w == 1) for w in second])
    assert bias == pytest.approx(0.21)


def pandalm(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "pandalm" / name).read_text(encoding="utf-8"))
    return rows


def test_pandalm_annotators(data_folder: Path) -> None:
    rows = pandalm(data_folder, "testset-v1.json")
    annotators = [[row[f"annotator{k}"] for row in rows] for k in (1, 2, 3)]
    raw = [raw_agreement(a, b) for a, b in combinations(annotators, 2)]
    kappa = [cohens_kappa(a, b) for a, b in combinations(annotators, 2)]
    assert (min(raw), max(raw)) == pytest.approx((0.913, 0.929), abs=5e-4)
    assert (min(kappa), max(kappa)) == pytest.approx((0.852, 0.879), abs=5e-4)
    # Alpha is a chance-corrected agreement of all three: between the pairs' kappas.
    assert min(kappa) < krippendorff_alpha(np.transpose(annotators)) < max(kappa)


def test_pandalm_gpt_against_the_majority(data_folder: Path) -> None:
    rows = pandalm(data_folder, "testset-v1.json")
    majority = np.array([Counter(row[f"annotator{k}"] for k in (1, 2, 3)).most_common(1)[0][0] for row in rows])
    codes = {"1": 1, "2": 2, "Tie": 0}
    replies = pandalm(data_folder, "gpt-3.5-turbo-verdicts.json")
    gpt = np.array([codes.get(reply["gpt_result"], -1) for reply in replies])  # -1: unusable
    usable = gpt != -1
    decided = usable & (gpt != 0) & (majority != 0)
    for rows_used, raw, kappa in ((..., 0.698, 0.476), (usable, 0.716, 0.493), (decided, 0.815, 0.630)):
        assert raw_agreement(majority[rows_used], gpt[rows_used]) == pytest.approx(raw, abs=5e-4)
        assert cohens_kappa(majority[rows_used], gpt[rows_used]) == pytest.approx(kappa, abs=5e-4)
