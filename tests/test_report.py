"""The report as files: what it writes, how it shows holes, what it refuses, several runs side by side."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from alignbench.errors import InputError
from alignbench.report import compare, judging, write_report
from alignbench.report.store import read_store
from alignbench.results import read_json, read_jsonl, write_json, write_jsonl
from tests.synthetic import Synthetic
from tests.synthetic_judging import match_path, write_verdicts
from tests.synthetic_store import as_markdown, printed, rows_of, summarise, without_style, write_store

Json = dict[str, Any]
FILES = ("summary.json", "table.md", "table.csv", "table.tex", "report.html")
PLOTS = ("agreement", "cost", "frontier", "head_to_head", "lengths", "proxy_gold", "training", "win_rates")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """How wide the intervals of agreement are is for test_stats to say."""
    monkeypatch.setattr(judging, "RESAMPLES", 25)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """Three specs, three seeds, gold; one seed failed."""
    folder = write_store(tmp_path_factory.mktemp("store"), Synthetic(failed=[("kto", 1)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 25)
        return folder, write_report(folder)


def test_every_file_is_written_and_the_summary_is_what_is_returned(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    assert all((folder / name).stat().st_size > 0 for name in FILES)
    assert sorted(path.stem for path in (folder / "plots").iterdir()) == sorted(PLOTS)
    assert read_json(folder / "summary.json") == json.loads(json.dumps(summary))
    assert summary["schema"] == 1
    assert [row["spec"] for row in summary["rows"]] == ["dpo", "kto", "ppo"]
    assert summary["data"]["train_pairs"] == 600


def test_the_table_shows_what_the_summary_says(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    row, text = rows_of(summary)["dpo"], (folder / "table.md").read_text()

    def shown(name: str, digits: int, scale: float = 1) -> str:
        value, low, high = (f"{scale * row[name][end]:.{digits}f}" for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    marks = ", ".join([" ".join(row["significant_over"]) or "–", "reference"][: 1 + row["better_than_reference"]])
    cells = [shown("win_rate", 3), marks, shown("win_rate_length_controlled", 3), shown("win_rate_chosen", 3)]
    cells += [shown("reward", 2), shown("kl", 2), shown("judge_agreement", 3)]
    cells += [shown("length", 1), shown("unfinished", 1, 100), f"{row['cost']['seconds']['value']:.1f} s, 32k tok"]
    assert f"| dpo | {' | '.join(cells)} |" in text
    assert "win rate (judge gold) | beats (Holm 5 %) | win rate (at equal length) | win rate (over the chosen)" in text
    assert "reward (gold) | KL (nats) | agreement (judge lm) | length (tokens)" in text


def test_a_second_report_is_the_same_to_the_byte_and_leaves_nothing_old(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(prompts=8, pairs=6, seeds=(0, 1)))
    write_report(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "plots" / "yesterday.png").write_bytes(b"old")
    write_report(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_failed_seed_is_a_hole_with_its_reason(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    row = rows_of(summary)["kto"]
    assert row["status"] == "partial"
    assert row["reason"] == "seed 1: the loss is NaN at step 12"
    assert row["win_rate"]["per_seed"][1] is None
    assert row["win_rate"]["n"] == 2 * 24
    assert row["win_rate"]["value"] == pytest.approx(np.mean([row["win_rate"]["per_seed"][i] for i in (0, 2)]))
    for text in ((folder / "table.md").read_text(), (folder / "report.html").read_text(), printed(summary)):
        assert "2 of 3 seeds" in text
        assert "the loss is NaN at step 12" in text
    with (folder / "table.csv").open() as file:
        assert [record["status"] for record in csv.DictReader(file)] == ["done", "partial", "done", "baseline"]


def test_specs_without_any_result_keep_their_row(tmp_path: Path) -> None:
    what = Synthetic(
        specs=("dpo", "kto", "ppo", "orpo"),
        seeds=(0, 1),
        prompts=6,
        pairs=4,
        failed=[("kto", 0), ("kto", 1)],
        untrained=[("ppo", 0), ("ppo", 1)],
        unevaluated=[("orpo", 0), ("orpo", 1)],
    )
    folder = write_store(tmp_path, what)
    (next((folder / "cells").glob("orpo-*")) / "seed-0" / "failure.log").write_text("Traceback\nOSError: disk full\n")
    summary = summarise(folder)
    rows = rows_of(summary)
    assert {row["status"] for row in summary["rows"]} == {"done", "failed"}
    for spec in ("kto", "ppo", "orpo"):
        assert rows[spec]["win_rate"] is rows[spec]["kl"] is rows[spec]["judge_agreement"] is None
    assert rows["ppo"]["reason"] == "seed 0: not trained; seed 1: not trained"
    assert "not evaluated (OSError: disk full); seed 1: trained but not evaluated" in rows["orpo"]["reason"]
    assert summary["comparisons"] == []
    assert "| kto (failed) | – |" in as_markdown(summary)


def test_a_run_in_which_everything_failed_is_reported(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0,), held_out=False, failed=[("dpo", 0)])
    summary = write_report(write_store(tmp_path, what))
    assert summary["rows"][0]["status"] == "failed"
    assert "the loss is NaN" in without_style(printed(summary))
    assert [path.stem for path in (tmp_path / "plots").iterdir()] == ["training"]


def test_without_gold_the_reward_model_judges_and_labels_measure_agreement(tmp_path: Path) -> None:
    summary = write_report(write_store(tmp_path, Synthetic(gold=False, votes=False, prompts=10, pairs=12)))
    row = summary["rows"][0]
    assert summary["headline"] == row["win_rate"]["judge"] == "reward"
    assert row["reward"] is None
    assert summary["human_human"] is summary["human_gold"] is None
    labels = summary["judges"]["lm"]["held_out"]["against_labels"]["raw"]["value"]
    assert row["judge_agreement"]["value"] == labels
    assert "held-out pairs, the same for all rows" in row["judge_agreement"]["against"]
    held_out = read_store(tmp_path).held_out
    assert held_out is not None
    triples = held_out["verdicts"]["lm"]
    assert labels == pytest.approx(np.mean([t[order] == "first" for t in triples for order in (0, 1)]))
    assert not (tmp_path / "plots" / "proxy_gold.png").exists()
    header = (tmp_path / "table.csv").read_text().splitlines()[0].split(",")
    assert "proxy_reward" in header
    assert "reward" not in header


def test_too_many_unusable_answers_leave_no_headline(tmp_path: Path) -> None:
    what = Synthetic(gold=False, prompts=20, pairs=6, unparsed=0.4)
    summary = summarise(write_store(tmp_path, what))
    for row in summary["rows"]:
        assert row["win_rate"]["value"] is None
        assert "above 5%" in row["win_rate"]["reason"]
        low, high = row["win_rate"]["bounds"]
        assert high - low == pytest.approx(row["win_rate"]["unusable"])
        assert 0.1 < row["win_rate"]["unusable"] < 0.3
    assert summary["comparisons"] == []
    assert "unusable" in as_markdown(summary)
    assert "has no win rate" in without_style(printed(summary))


def test_a_few_unusable_answers_score_a_half_and_are_shown(tmp_path: Path) -> None:
    what = Synthetic(gold=False, prompts=40, pairs=6, seeds=(0,), specs=("dpo",))
    folder = write_store(tmp_path, what)
    triples = read_json(match_path(folder, what, "reward", "dpo", "reference", 0))["verdicts"]
    before = np.mean([t[0] == "first" for t in triples])
    triples[0] = ["refused", "unparsed", None]
    write_verdicts(folder, what, "reward", "dpo", "reference", 0, triples)
    row = summarise(folder)["rows"][0]
    assert abs(row["win_rate"]["value"] - before) == pytest.approx(0.5 / 40)
    assert row["win_rate"]["n"] == 40
    assert row["win_rate"]["unusable"] == pytest.approx(1 / 40)


def test_unequal_consumption_is_refused_and_a_prefix_is_not(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(prompts=4, pairs=2))
    path = next((folder / "cells").glob("ppo-*")) / "seed-2" / "train.json"
    train = read_json(path)
    assert len(read_store(folder).cells[0].seeds[2].train["consumed"]) > len(train["consumed"])
    train["consumed"][7] = "p2-9"
    write_json(path, train)
    with pytest.raises(InputError, match=r"ppo and dpo consumed different prompts with seed 2 \(from position 8 on\)"):
        write_report(folder)


def test_other_evaluation_prompts_are_refused(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(prompts=4, pairs=2))
    path = next((folder / "cells").glob("kto-*")) / "seed-1" / "evaluations" / "e1.json"
    evaluation = read_json(path)
    evaluation["prompts"].reverse()
    write_json(path, evaluation)
    with pytest.raises(InputError, match=r"kto \(seed 1\) and dpo \(seed 0\) were evaluated on different prompts"):
        write_report(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 1 where 2 is known"),
        ({"cells": None}, "no field `cells`"),
        ({"held_out": "stages/nowhere/pairs.json"}, "is missing"),
    ],
)
def test_a_store_that_cannot_be_read_is_refused(tmp_path: Path, change: Json, message: str) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=4, pairs=2))
    run = {key: value for key, value in (read_json(folder / "run.json") | change).items() if value is not None}
    write_json(folder / "run.json", run)
    with pytest.raises(InputError, match=message):
        write_report(folder)


def test_a_cut_off_metrics_file_is_refused(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=4, pairs=2))
    path = next(folder.glob("cells/*/seed-0/metrics.jsonl"))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InputError, match=r"metrics\.jsonl.* is not valid JSON"):
        write_report(folder)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is missing"):
        write_report(tmp_path)


def test_what_was_measured_in_training_on_other_prompts_is_left_out_and_said(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(seeds=(0, 1), prompts=6, pairs=4))
    before = summarise(folder)
    run = read_json(folder / "run.json")
    write_json(folder / "run.json", run | {"prompts": "others"})
    assert summarise(folder)["frontier"] == before["frontier"], "an earlier version did not say which they were"
    for file in folder.rglob("metrics.jsonl"):
        write_jsonl(file, [row | ({"prompts": "those"} if "evaluation" in row else {}) for row in read_jsonl(file)])
    after = summarise(folder)
    for spec, points in after["frontier"].items():
        assert points == [before["frontier"][spec][-1]] and len(before["frontier"][spec]) > 1
    assert [each for each in after["warnings"] if "evaluated on other prompts" in each] and not before["warnings"]
    assert after["rows"][0]["kl"] == before["rows"][0]["kl"]


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    first = write_store(tmp_path / "a", Synthetic(seeds=(0, 1), prompts=6, pairs=4))
    second = write_store(tmp_path / "b", Synthetic(specs=("orpo",), gold=False, seeds=(0, 1), prompts=6, pairs=4))
    both = compare([first, second])
    folder = Path(both["folder"])
    assert folder == tmp_path / "compared-a-b"
    assert {path.name for path in folder.iterdir()} == {"plots", "table.md", "table.csv", "table.tex"}
    assert (folder / "plots" / "frontier.png").stat().st_size > 0
    with (folder / "table.csv").open() as file:
        assert [(r["run"], r["spec"]) for r in csv.DictReader(file)] == [
            ("a", "dpo"), ("a", "kto"), ("a", "ppo"), ("a", "reference"), ("b", "orpo"), ("b", "reference"),
        ]  # fmt: skip
    shown = without_style(printed(both))
    assert "a: differences in win rate (judge gold)" in shown
    assert max(cell_len(line) for line in shown.splitlines()) <= 100
    assert not (first / "summary.json").exists()  # a comparison leaves the runs alone


def test_figures_of_different_judges_say_whose_they_are(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0, 1), prompts=6, pairs=4)
    first, second = write_store(tmp_path / "a", what), write_store(tmp_path / "b", what)
    write_json(second / "run.json", read_json(second / "run.json") | {"headline": "reward", "benchmark": "essays"})
    both = compare([first, second])
    folder = Path(both["folder"])
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["run"], r["headline"], r["agreement_judge"], r["benchmark"]) for r in rows] == [
        ("a", "gold", "lm", "reviews")
    ] * 2 + [("b", "reward", "lm", "essays")] * 2
    head, _, *lines = (folder / "table.md").read_text().splitlines()[:6]
    assert (
        head.startswith("| spec | judged by | win rate (judge of the row's run) |") and "agreement (judge lm)" in head
    )
    assert [line.split(" | ")[1] for line in lines] == ["gold, on reviews"] * 2 + ["reward, on essays"] * 2
    write_json(second / "run.json", read_json(first / "run.json"))
    header = (Path(compare([first, second])["folder"]) / "table.md").read_text().splitlines()[0]
    assert "win rate (judge gold)" in header and "judged by" not in header  # nothing differs


def test_a_partial_row_counts_the_seeds_that_were_evaluated(tmp_path: Path) -> None:
    """Also where its KL is not finite."""
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), prompts=6, pairs=4, failed=[("dpo", 1)]))
    for path in folder.glob("cells/*/seed-*/evaluations/e1.json"):
        evaluation = read_json(path)
        evaluation["values"]["kl"] = None
        write_json(path, evaluation)
    summary = summarise(folder)
    assert summary["rows"][0]["kl"] is None
    assert "| dpo (2 of 3 seeds) |" in as_markdown(summary)


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    folder = write_store(tmp_path / "a", Synthetic(specs=("dpo",), seeds=(0,), prompts=4, pairs=2))
    with pytest.raises(InputError, match="given twice"):
        compare([folder, folder / "."])
