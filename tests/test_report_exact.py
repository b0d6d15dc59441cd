"""Exact figures in the report: sums are taken as they are, seeds alone are a sample, holes are said."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from alignbench.errors import InputError
from alignbench.report import judging, write_report
from alignbench.report.exact_seeds import adjust, compare, over_seeds
from alignbench.report.exact_tables import build
from alignbench.report.tables import write_markdown
from alignbench.results import read_json, write_json
from tests.synthetic import Synthetic, cell_folder
from tests.synthetic_exact import CELL, SPECS, TWELVE, WORLD, Exact, exact_of, write_exact
from tests.synthetic_store import summarise, write_store

Json = dict[str, Any]
DPO, KTO, MODEL, GOLD = SPECS
FILES = ("exact.md", "exact.csv", "exact.tex")


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        yield


def small(**changes: Any) -> Synthetic:
    sizes: Json = {
        "seeds": (0, 1, 2),
        "prompts": 4,
        "pairs": 2,
        "gold": False,
        "held_out": False,
        "head_to_head": False,
    }
    return Synthetic(**(sizes | {"specs": SPECS} | changes))


def exact_store(folder: Path, what: Synthetic, exact: Exact | None = None) -> Path:
    return write_exact(write_store(folder, what), what, exact or Exact())


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    folder = exact_store(tmp_path_factory.mktemp("exact"), small())
    return folder, write_report(folder)


def cell(folder: Path, what: Synthetic, spec: str, seed: int) -> Json:
    return read_json(folder / cell_folder(what, spec) / f"seed-{seed}" / CELL)


def test_the_interval_is_that_of_t_over_seeds() -> None:
    values = {0: 0.70, 1: 0.75, 4: 0.71}
    found = over_seeds(values, [0, 1, 2, 4], "share")
    assert found is not None
    mean, error = np.mean(list(values.values())), scipy.stats.sem(list(values.values()))
    low, high = scipy.stats.t.interval(0.95, 2, loc=mean, scale=error)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((mean, low, high))
    assert (found["n"], found["per_seed"]) == (3, [0.70, 0.75, None, 0.71])
    assert found["method"] == "exact for each seed; t over 3 seeds"


def test_one_seed_has_no_interval_and_two_say_how_wide_theirs_is() -> None:
    one, two = over_seeds({0: 0.5}, [0, 1], "share"), over_seeds({0: 0.5, 1: 0.6}, [0, 1], "share")
    assert one is not None and two is not None
    assert (one["low"], one["high"]) == (None, None) and "one seed: no interval" in one["method"]
    assert two["high"] - two["value"] == pytest.approx(12.706 * 0.1 / 2, abs=1e-4)
    assert "6.4 times the distance of the two to either side" in two["method"]
    same = over_seeds({0: 0.5, 1: 0.5}, [0, 1], "share")
    assert same is not None and same["low"] is None and "all equal" in same["method"]
    assert over_seeds({}, [0, 1], "share") is None


def test_an_interval_ends_where_its_scale_does() -> None:
    found = over_seeds({0: 0.9, 1: 0.99}, [0, 1], "share", (None, 1.0))
    assert found is not None
    assert found["high"] == 1.0 and found["method"].endswith("cut at 1, which nothing is above")
    assert found["low"] < 0.5


def test_pairs_are_tested_on_common_seeds_and_adjusted_together() -> None:
    a, b, c = {0: 0.70, 1: 0.75, 2: 0.71}, {0: 0.60, 1: 0.64, 2: 0.62, 3: 0.1}, {2: 0.5}
    pairs = [compare("a", "b", a, b, [0, 1, 2, 3]), compare("a", "c", a, c, [0, 1, 2, 3])]
    first, second = (each for each in pairs if each is not None)
    p = scipy.stats.ttest_rel([0.70, 0.75, 0.71], [0.60, 0.64, 0.62]).pvalue
    assert first["p"] == pytest.approx(p) and first["seeds"] == [0, 1, 2]
    assert second["p"] is None and second["difference"]["value"] == pytest.approx(0.21)
    more: list[Json] = [{"p": 0.04, "difference": {}}, {"p": None, "difference": {}}]
    adjust([first, second, *more])
    assert first["p_holm"] == pytest.approx(2 * p) and first["significant"]
    assert second["p_holm"] is None and not second["significant"]
    assert more[0]["p_holm"] == pytest.approx(0.04)
    assert compare("a", "b", {0: 1.0}, {1: 1.0}, [0, 1]) is None
    equal = compare("a", "b", a, a, [0, 1, 2])
    assert equal is not None and equal["p"] == 1.0


def test_the_summary_holds_the_figures_of_the_cells(tmp_path: Path) -> None:
    what = small()
    folder = exact_store(tmp_path, what)
    exact, world = exact_of(folder), read_json(folder / WORLD)
    assert {key: exact[key] for key in ("beta", "prompts", "completions")} == {
        "beta": 0.5, "prompts": 4, "completions": 300,
    }  # fmt: skip
    assert exact["frontier"] == world["frontier"]
    assert exact["optimum"]["gain_share"] == 1 and exact["reference"]["gap"] == pytest.approx(world["reference"]["gap"])
    for spec in SPECS:
        cells = [cell(folder, what, spec, seed) for seed in what.seeds]
        row = exact["rows"][spec]
        for name in ("gain_share", "expected_reward", "kl", "objective", "gap", "win_rate"):
            assert row[name]["per_seed"] == [each[name] for each in cells]
            assert row[name]["value"] == pytest.approx(np.mean([each[name] for each in cells]))
        assert [point["step"] for point in row["curve"]] == [0, 10, 20, 30]
        last = [each["curve"][3]["kl"] for each in cells]
        assert row["curve"][3]["kl"] == {"value": pytest.approx(np.mean(last)), "per_seed": last}
    assert exact["rows"][MODEL]["ceiling"]["gain_share"]["n"] == 3
    assert exact["rows"][KTO]["limit"] is None and exact["rows"][GOLD]["ceiling"] is None
    assert len(exact["comparisons"]) == 6


def test_the_rest_is_split_where_something_is_known(tmp_path: Path) -> None:
    what = small(specs=(*SPECS, "ipo:beta=0.5", "online_dpo:beta=0.5"))
    exact = exact_of(exact_store(tmp_path, what))
    loss = {spec: row["loss"] for spec, row in exact["rows"].items()}
    parts = {spec: {part["part"]: part["value"] for part in each["parts"]} for spec, each in loss.items()}
    share = {spec: row["gain_share"]["value"] for spec, row in exact["rows"].items()}
    for spec, each in parts.items():
        assert sum(each.values()) == pytest.approx(1 - share[spec]) == pytest.approx(loss[spec]["rest"]["value"])
    assert list(parts[DPO]) == ["own", "data"] and parts[DPO]["own"] == 0
    assert list(parts[GOLD]) == ["own", "training"]  # it reads no pairs: optimisation alone
    assert list(parts[MODEL]) == ["reward", "training"]
    ceiling = exact["rows"][MODEL]["ceiling"]["gain_share"]["value"]
    assert parts[MODEL]["reward"] == pytest.approx(1 - ceiling)
    assert list(parts["online_dpo:beta=0.5"]) == ["reward", "both"]  # its own limit is not known
    assert list(parts["ipo:beta=0.5"]) == ["own", "data"]
    assert parts["ipo:beta=0.5"]["own"] == pytest.approx(1 - exact["rows"]["ipo:beta=0.5"]["limit"]["gain_share"])
    assert list(parts[KTO]) == ["unknown"]
    text = write_markdown(build([{"exact": exact}]))
    assert "not split: its limit is not known" in text and "finite data and optimisation" in text


def test_a_policy_better_than_its_limit_has_a_negative_part_and_that_is_explained(tmp_path: Path) -> None:
    what = small(specs=("ipo:beta=0.5",))
    folder = exact_store(tmp_path, what)
    said = "a negative part: the policy is better than the one that its training was heading for"
    assert said not in write_markdown(build([{"exact": exact_of(folder)}]))
    for seed in what.seeds:
        path = folder / cell_folder(what, "ipo:beta=0.5") / f"seed-{seed}" / CELL
        found = read_json(path)
        found["limit"]["gain_share"] = found["gain_share"] - 0.1
        write_json(path, found)
    summary = {"exact": exact_of(folder)}
    (own, data) = summary["exact"]["rows"]["ipo:beta=0.5"]["loss"]["parts"]
    assert data["value"] == pytest.approx(-0.1) and own["value"] > 0
    text = write_markdown(build([summary]))
    assert said in text and "finite data and optimisation -0.100" in text


def test_holes_are_shown_with_their_reason(tmp_path: Path) -> None:
    what = small(specs=(*SPECS, "simpo", "orpo"), failed=[(KTO, 1), ("orpo", 0), ("orpo", 1), ("orpo", 2)])
    holes = Exact(missing=[(DPO, 2)], not_finite=[("simpo", 0), ("simpo", 1)])
    folder = exact_store(tmp_path, what, holes)
    exact = exact_of(folder)
    rows = exact["rows"]
    assert {spec: row["status"] for spec, row in rows.items()} == {
        DPO: "partial", KTO: "partial", MODEL: "done", GOLD: "done", "simpo": "partial", "orpo": "failed",
    }  # fmt: skip
    assert rows[DPO]["reason"] == "seed 2: its exact figures are not there: run the same command again"
    assert rows[KTO]["reason"] == "seed 1: the loss is NaN at step 12"  # although a file lies there
    assert rows[KTO]["gain_share"]["per_seed"][1] is None
    assert (
        rows["simpo"]["reason"] == "seed 0: its exact figures are not finite; seed 1: its exact figures are not finite"
    )
    assert rows["orpo"]["gain_share"] is rows["orpo"]["loss"] is None
    assert "orpo has no result" in exact["sentence"]
    assert f"{DPO} lacks seed 2" in exact["sentence"] and f"{KTO} lacks seed 1" in exact["sentence"]
    assert "simpo has one seed only (2): not tested against the others" in exact["sentence"]
    assert f"{DPO} and {KTO} have one seed in common and were not tested against each other" in exact["sentence"]
    pairs = {(each["a"], each["b"]): each["seeds"] for each in exact["comparisons"]}
    # Seed 0 alone, which is all that dpo and kto have in common, would claim too much.
    assert pairs == {(DPO, MODEL): [0, 1], (DPO, GOLD): [0, 1], (KTO, MODEL): [0, 2], (KTO, GOLD): [0, 2],
                     (MODEL, GOLD): [0, 1, 2]}  # fmt: skip
    text = write_markdown(build([{"exact": exact}]))
    assert "(2 of 3 seeds)" in text and "| orpo (failed) | – |" in text and "the loss is NaN at step 12" in text
    assert "The interval of two seeds reaches 9.0 standard deviations" in text


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    exact = exact_of(exact_store(tmp_path, small(seeds=(3,))))
    assert all(row["gain_share"]["low"] is None for row in exact["rows"].values())
    assert all(each["p"] is None and not each["significant"] for each in exact["comparisons"])
    assert "(seed 3 alone: what other seeds would do is not known)" in exact["sentence"]
    assert "No difference was tested" in exact["sentence"] and "beat" not in exact["sentence"]
    assert "nothing is known of seeds other than 3" in exact["conditional_on"]
    table = build([{"exact": exact}])
    assert "beats" not in [column.title for column in table.columns]
    assert "not tested" in write_markdown(table)


def test_the_headline_claims_what_the_tests_support(tmp_path: Path) -> None:
    what = small(specs=(DPO, "ipo:beta=0.5", "orpo"))
    folder = exact_store(tmp_path, what)
    shares = {DPO: (0.70, 0.71, 0.72), "ipo:beta=0.5": (0.70, 0.72, 0.71), "orpo": (-0.20, -0.21, -0.19)}
    for (spec, values), seed in itertools.product(shares.items(), what.seeds):
        path = folder / cell_folder(what, spec) / f"seed-{seed}" / CELL
        write_json(path, read_json(path) | {"gain_share": values[seed]})
    sentence = exact_of(folder)["sentence"]
    assert sentence.startswith(
        "Of what the best possible policy gains over the reference at beta = 0.5, dpo:beta=0.5 has the largest share, "
        "0.710 [0.685, 0.735], and orpo the smallest, -0.200 [-0.225, -0.175] (mean of 3 seeds)."
    )
    assert "dpo:beta=0.5 and ipo:beta=0.5 cannot be told apart, p = 1.00; both beat orpo, p < .001" in sentence
    assert "orpo has a share below 0: it is worth less than the reference" in sentence


def test_of_many_specs_the_headline_is_still_one(tmp_path: Path) -> None:
    exact = exact_of(exact_store(tmp_path, small(specs=TWELVE)))
    assert len(exact["sentence"]) < 600
    differ = sum(each["significant"] for each in exact["comparisons"])
    best = max(exact["rows"], key=lambda spec: exact["rows"][spec]["gain_share"]["value"])
    assert f"; {differ} of 66 pairs of specs differ." in exact["sentence"]
    won = sum(each["significant"] and best in (each["a"], each["b"]) for each in exact["comparisons"])
    assert differ > won > 0 and f"{best} beats " in exact["sentence"]


def test_the_table_is_sorted_and_gives_full_numbers(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    assert all((folder / name).stat().st_size > 0 for name in FILES)
    assert read_json(folder / "summary.json") == json.loads(json.dumps(summary))
    with (folder / "exact.csv").open() as file:
        rows = {row["spec"]: row for row in csv.DictReader(file)}
    exact = summary["exact"]["rows"]
    by_share = sorted(SPECS, key=lambda spec: -exact[spec]["gain_share"]["value"])
    assert list(rows) == ["optimum", *by_share, "reference"]
    for spec in SPECS:
        for name in ("gain_share", "kl", "expected_reward", "gap", "win_rate"):
            assert float(rows[spec][name]) == exact[spec][name]["value"]
            assert float(rows[spec][f"{name}_low"]) == exact[spec][name]["low"]
    assert float(rows[MODEL]["lost_to_reward_model"]) == exact[MODEL]["loss"]["parts"][0]["value"]
    assert rows[KTO]["lost_to_training"] == "" and float(rows[GOLD]["limit_gain_share"]) == pytest.approx(1)
    assert float(rows["optimum"]["gap"]) == 0 and float(rows["reference"]["win_rate"]) == pytest.approx(0.5)
    assert (folder / "plots" / "exact_frontier.png").exists() and (folder / "plots" / "exact_share.png").exists()


def test_a_second_report_is_the_same_to_the_byte(reported: tuple[Path, Json]) -> None:
    folder = reported[0]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_report(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "change", [{}, {"exact": None}, {"exact": {"world": "stages/nowhere/world.json", "cell": CELL}}]
)
def test_a_run_without_an_exact_world_has_none_of_it(tmp_path: Path, change: Json) -> None:
    folder = write_store(tmp_path, small(seeds=(0,), run=change))
    assert "exact" not in summarise(folder)


def test_nor_has_its_report(tmp_path: Path) -> None:
    folder = write_store(tmp_path, small(specs=("dpo",), seeds=(0,)))
    write_report(folder)
    assert not list(folder.glob("exact*")) and not list((folder / "plots").glob("exact*"))
    assert "gain share" not in (folder / "report.html").read_text()


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    folder = exact_store(tmp_path, small(seeds=(0,)))
    write_json(folder / WORLD, read_json(folder / WORLD) | {"schema": 2})
    with pytest.raises(InputError, match=r"world\.json has schema 2 where 1 is known.*--fresh"):
        exact_of(folder)


def test_everything_failed_is_reported(tmp_path: Path) -> None:
    summary = write_report(exact_store(tmp_path, small(specs=("dpo",), seeds=(0,), failed=[("dpo", 0)])))
    assert summary["exact"]["sentence"] == "No exact verdict: no spec has a result."
    assert not (tmp_path / "plots" / "exact_frontier.png").exists()
