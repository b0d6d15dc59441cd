"""The report's numbers against what the store holds, and against small cases worked by hand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignbench.report import judging
from alignbench.report.curves import curve
from alignbench.report.store import read_store
from alignbench.results import read_json, read_jsonl, write_jsonl
from tests.synthetic import Synthetic
from tests.synthetic_judging import match_path, write_verdicts
from tests.synthetic_store import (
    CURVE_STEPS,
    as_markdown,
    printed,
    rows_of,
    summarise,
    without_style,
    write_store,
)

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """How wide the intervals of agreement are is for test_stats to say."""
    monkeypatch.setattr(judging, "RESAMPLES", 25)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """Three specs, three seeds, gold; one seed failed."""
    folder = write_store(tmp_path_factory.mktemp("store"), WHAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 25)
        return folder, summarise(folder)


WHAT = Synthetic(failed=[("kto", 1)])


def triples_of(folder: Path, judge: str, spec: str, seeds: Sequence[int] = (0, 1, 2)) -> list[Any]:
    """A judge's verdicts on a spec against the reference, those of all seeds together."""
    paths = [match_path(folder, WHAT, judge, spec, "reference", seed) for seed in seeds]
    return [triple for path in paths for triple in read_json(path)["verdicts"]]


def evaluations(folder: Path, spec: str) -> list[Json]:
    entry = next(cell for cell in read_json(folder / "run.json")["cells"] if cell["spec"] == spec)
    return [read_json(path) for path in sorted((folder / entry["folder"]).glob("seed-*/evaluations/e1.json"))]


def test_metrics_are_the_means_of_what_was_measured(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    row, found = rows_of(summary)["ppo"], evaluations(folder, "ppo")
    for name in ("kl", "k1", "reward", "proxy_reward", "length"):
        by_seed = [np.mean(evaluation["values"][name]) for evaluation in found]
        assert row[name]["per_seed"] == pytest.approx(by_seed)
        assert row[name]["value"] == pytest.approx(np.mean(by_seed))
        assert row[name]["low"] < row[name]["value"] < row[name]["high"]
        assert row[name]["n"] == 3 * 24
    assert row["kl"]["unit"] == "nats per completion"
    assert row["unfinished"]["value"] == pytest.approx(1 - np.mean([e["values"]["ended"] for e in found]))
    assert row["cost"]["seconds"]["value"] == pytest.approx(np.mean(row["cost"]["seconds"]["per_seed"]))
    assert "random effects" in row["kl"]["method"]
    assert "bootstrap" in row["kl"]["bootstrap"]["method"]


def test_win_rates_count_both_orders(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    points = {"first": 1.0, "second": 0.0}
    for judge in ("gold", "reward", "lm"):
        triples = triples_of(folder, judge, "dpo")
        expected = np.mean([(points[forward] + points[swapped]) / 2 for forward, swapped, _ in triples])
        found = summary["judges"][judge]["win_rate"]["dpo"]
        assert found["value"] == pytest.approx(expected)
        assert found["contradictions"] == pytest.approx(np.mean([f != s for f, s, _ in triples]))
    assert rows_of(summary)["dpo"]["win_rate"] == summary["judges"]["gold"]["win_rate"]["dpo"]
    assert rows_of(summary)["dpo"]["win_rate_chosen"]["value"] < rows_of(summary)["dpo"]["win_rate"]["value"]


def test_judge_agreement_is_with_gold_on_the_rows_own_verdicts(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    pairs = list(zip(*(triples_of(folder, judge, "ppo") for judge in ("lm", "gold")), strict=True))
    expected = np.mean([ours[order] == gold[order] for ours, gold in pairs for order in (0, 1)])
    found = rows_of(summary)["ppo"]["judge_agreement"]
    assert found["value"] == pytest.approx(expected)
    assert found["judge"] == "lm"
    assert "gold" in found["against"]
    assert found["kappa"]["value"] < found["value"]


def test_the_frontier_averages_each_checkpoint_over_seeds_and_ends_with_the_evaluation(
    reported: tuple[Path, Json],
) -> None:
    folder, summary = reported
    points = summary["frontier"]["dpo"]
    assert [point["step"] for point in points] == [*CURVE_STEPS, CURVE_STEPS[-1]]
    assert [point["final"] for point in points] == [False] * 5 + [True]
    metrics = [read_jsonl(path) for path in sorted((folder / "cells").glob("dpo-*/seed-*/metrics.jsonl"))]
    third = [
        row["evaluation"]["reward"] for rows in metrics for row in rows if row["step"] == 20 and "evaluation" in row
    ]
    assert len(third) == 3
    assert points[2]["reward"]["per_seed"] == third
    assert points[2]["reward"]["value"] == pytest.approx(np.mean(third))
    assert points[-1]["kl"]["value"] == pytest.approx(rows_of(summary)["dpo"]["kl"]["value"])


def test_training_curves_are_binned_by_completions_and_averaged_over_seeds(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0, 1), prompts=4, pairs=2))
    for seed in (0, 1):
        rows = [{"step": i + 1, "completions": 4 * (i + 1), "loss": 10.0 * seed + i} for i in range(60)]
        write_jsonl(next((folder / "cells").glob(f"*/seed-{seed}")) / "metrics.jsonl", rows)
    found = curve(read_store(folder).cells[0].seeds, "loss")
    assert found is not None
    assert found.mean[:2] == pytest.approx([5.5, 7.5])  # steps 1 and 2, then 3 and 4, of both seeds
    assert found.low[0] == pytest.approx(0.5)
    assert found.high[0] == pytest.approx(10.5)
    assert found.x[0] == pytest.approx(4.0)  # the middle of the first 8 of 240 completions
    assert curve(read_store(folder).cells[0].seeds, "score") is None


def test_one_seed_is_conditional_on_it(tmp_path: Path) -> None:
    summary = summarise(write_store(tmp_path, Synthetic(seeds=(4,), prompts=10, pairs=6)))
    assert "conditional on this seed" in summary["rows"][0]["kl"]["method"]
    assert "conditional on seed 4" in summary["conditional_on"]
    assert "conditional on seed 4" in as_markdown(summary)


def test_all_pairs_are_compared_and_an_insignificant_difference_is_called_so(reported: tuple[Path, Json]) -> None:
    _, summary = reported
    rows = rows_of(summary)
    found = summary["comparisons"]
    assert [(c["a"], c["b"]) for c in found] == list(itertools.combinations(["dpo", "kto", "ppo"], 2))
    for each in found:
        assert each["p_holm"] >= each["p"] >= max(each["p_sign_flip"], 0)
        assert each["significant"] == (each["p_holm"] < 0.05)
    with_ppo = found[1]
    assert with_ppo["seeds"] == [0, 1, 2]
    assert with_ppo["difference"]["value"] == pytest.approx(
        rows["dpo"]["win_rate"]["value"] - rows["ppo"]["win_rate"]["value"]
    )
    # kto lost seed 1: it is compared on the seeds that both have
    assert found[0]["seeds"] == [0, 2]
    kept = [rows["dpo"]["win_rate"]["per_seed"][i] for i in (0, 2)]
    assert found[0]["difference"]["value"] == pytest.approx(np.mean(kept) - rows["kto"]["win_rate"]["value"])
    lines = [line for line in as_markdown(summary).splitlines() if "p(Holm)" in line]
    assert [", not significant" in line for line in lines] == [not c["significant"] for c in found]


def test_what_holm_takes_back_is_not_significant(tmp_path: Path) -> None:
    """Six prompts of twenty differ, all in favour of a and c: sign-flip 2/64 = .031, times three comparisons .094."""
    what = Synthetic(specs=("a", "b", "c"), seeds=(0,), prompts=20, pairs=2)
    folder = write_store(tmp_path, what)
    for spec, wins in (("a", 12), ("b", 6), ("c", 12)):
        outcomes = ["first"] * wins + ["second"] * (20 - wins)
        write_verdicts(folder, what, "gold", spec, "reference", 0, [[outcome, outcome, None] for outcome in outcomes])
    found = summarise(folder)["comparisons"]
    assert [each["difference"]["value"] for each in found] == pytest.approx([0.3, 0.0, -0.3])
    assert [each["p"] for each in found] == pytest.approx([2 / 64, 1, 2 / 64])
    assert [each["p_holm"] for each in found] == pytest.approx([6 / 64, 1, 6 / 64])
    assert not any(each["significant"] for each in found)


def test_a_large_difference_is_significant(tmp_path: Path) -> None:
    what = Synthetic(specs=("good", "bad"), prompts=40, pairs=4)
    folder = write_store(tmp_path, what)
    for (spec, outcome), seed in itertools.product((("good", "first"), ("bad", "second")), what.seeds):
        before = read_json(match_path(folder, what, "gold", spec, "reference", seed))["verdicts"]
        changed = [*before[:5], *([outcome, outcome, None] for _ in before[5:])]
        write_verdicts(folder, what, "gold", spec, "reference", seed, changed)
    summary = summarise(folder)
    assert summary["comparisons"][0]["significant"]
    assert re.search(r"good - bad: \+0\.[0-9]+ .*, significant", without_style(printed(summary)))
