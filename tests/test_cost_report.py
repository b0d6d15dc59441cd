"""Costs on disk and in the report: each second and token once, over stages, cells, evaluations and resumed runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alignbench.report import judging, write_report
from alignbench.results import read_json, write_json
from alignbench.run import cells
from alignbench.spent import PHASES
from tests.synthetic import Synthetic
from tests.synthetic_store import rows_of, summarise, write_store
from tests.test_run import config, go

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


# a run


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished run, and how long it took."""
    folder = tmp_path_factory.mktemp("run") / "reviews"
    started = time.perf_counter()
    _, failed = go(config(folder, "dpo,preferred_ft,ppo", seeds=1))
    assert not failed
    return folder, time.perf_counter() - started


def cell(folder: Path, spec: str) -> Path:
    return next(folder.glob(f"cells/{spec}-*/seed-0"))


def test_a_cell_says_what_each_phase_took(ran: tuple[Path, float]) -> None:
    folder, wall = ran
    total = 0.0
    for spec in ("dpo", "preferred_ft", "ppo"):
        cost = read_json(cell(folder, spec) / "train.json")["cost"]
        phases = cost["phases"]
        assert set(phases) == set(PHASES)
        assert phases["train"] + phases["sample"] + phases["score"] == pytest.approx(cost["seconds"], abs=1e-6)
        assert (phases["sample"] > 0) == (spec == "ppo")
        assert (phases["score"] > 0) == (spec != "preferred_ft")
        assert phases["evaluate"] > 0
        assert (cost["reference_forwards"] > 0) == (spec == "ppo"), "offline the reference is looked up"
        assert cost["tokens_trained"] > 0 and (spec != "dpo" or cost["tokens_saved"] > 0)
        total += sum(phases.values())
    for stage in folder.glob("stages/*"):
        seconds = read_json(stage / "cost.json")["seconds"]
        train_json = read_json(stage / "train.json") if (stage / "train.json").exists() else {}
        assert seconds >= train_json.get("cost", {}).get("seconds", 1e-9) > 0
        total += seconds
    assert total < wall
    trained = read_json(next(folder.glob("stages/data-*")) / "info.json")["train_completions"]
    assert read_json(next(folder.glob("stages/cache-*")) / "cost.json")["reference_forwards"] == trained


def judging_of(folder: Path, spec: str) -> float:
    """Seconds of all judges on the samples of a cell, but for those on two cells, from the files of the verdicts."""
    place = cell(folder, spec).relative_to(folder).as_posix()
    total = 0.0
    for path in folder.glob("verdicts/*/*.json"):
        match = read_json(path)
        sides = [match[side] for side in ("first", "second") if match[side].startswith("cells/")]
        total += match["seconds"] if len(sides) == 1 and sides[0].startswith(f"{place}/") else 0.0
    return total


def test_another_judge_and_a_resumed_run_count_nothing_twice(ran: tuple[Path, float]) -> None:
    folder, _ = ran
    base = cell(folder, "dpo")
    first = {path: path.read_bytes() for path in folder.glob("**/*.json")}
    (path,) = base.glob("evaluations/*.json")
    assert read_json(path)["seconds"]["samples"] > 0
    go(config(folder, "dpo,preferred_ft,ppo", seeds=1))
    assert {path: path.read_bytes() for path in folder.glob("**/*.json")} == first
    before = judging_of(folder, "dpo")
    go(config(folder, "dpo,preferred_ft,ppo", seeds=1, judges=(("gold", ""), ("reward", ""), ("length", ""))))
    kept = [p for p in first if p.parent.parent.name == "verdicts" or base in p.parents]
    assert kept and all(p.read_bytes() == first[p] for p in kept), "nothing was drawn, trained or judged again"
    assert judging_of(folder, "dpo") > before > 0
    summary = summarise(folder)
    for row in summary["rows"]:
        record = read_json(cell(folder, row["spec"]) / "train.json")["cost"]["phases"]
        found = {name: each["value"] for name, each in row["cost"]["phases"].items()}
        assert {name: found[name] for name in ("train", "sample", "score")} == {
            name: pytest.approx(record[name]) for name in ("train", "sample", "score")
        }
        names = ["start", "data"] + ["cache"] * (row["spec"] != "preferred_ft") + ["reward"] * (row["spec"] == "ppo")
        stages = [read_json(next(folder.glob(f"stages/{name}-*")) / "cost.json")["seconds"] for name in names]
        assert found["stage"] == pytest.approx(sum(stages))
        drawn = read_json(next(cell(folder, row["spec"]).glob("evaluations/*.json")))["seconds"]["samples"]
        assert found["evaluate"] == pytest.approx(record["evaluate"] + drawn + judging_of(folder, row["spec"]))


# the report


def test_every_point_of_the_curve_is_evaluation(ran: tuple[Path, float], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, points = ran[0], []
    point = cells._curve_point

    def slow(*arguments: Any) -> Json:
        points.append(arguments)
        time.sleep(0.3)
        return point(*arguments)

    monkeypatch.setattr(cells, "_curve_point", slow)
    go(config(folder, "dpo:beta=0.3", seeds=1))
    cost = read_json(cell(folder, "dpo_beta=0.3") / "train.json")["cost"]
    assert len(points) == 3, "at the start, on the way, at the end"
    assert cost["phases"]["evaluate"] >= 3 * 0.3
    assert cost["seconds"] == pytest.approx(sum(cost["phases"].values()) - cost["phases"]["evaluate"])


def test_the_summary_adds_up_the_stages_and_the_evaluations_of_each_row(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo", "preferred_ft", "ppo"), seeds=(0, 1), prompts=4, pairs=3)
    rows = rows_of(summarise(write_store(tmp_path, what)))
    phases = {spec: row["cost"]["phases"] for spec, row in rows.items()}
    assert phases["dpo"]["stage"]["per_seed"] == [20 + 3 + 1.5] * 2
    assert phases["preferred_ft"]["stage"]["per_seed"] == [20 + 3] * 2
    assert phases["ppo"]["stage"]["per_seed"] == [20 + 3 + 1.5 + 6, 20 + 3 + 1.5 + 7]
    assert phases["ppo"]["stage"]["value"] == 20 + 3 + 1.5 + 6.5
    assert phases["ppo"]["evaluate"]["per_seed"] == [14, 14]  # 6 at position 2, samples 2, three judges on two 6
    for row in rows.values():
        assert set(row["cost"]["phases"]) == {"stage", *PHASES}
        parts = [row["cost"]["phases"][name]["value"] for name in ("train", "sample", "score")]
        assert sum(parts) == pytest.approx(row["cost"]["seconds"]["value"])
    assert rows["ppo"]["cost"]["policy_forwards"]["value"] == 3600
    assert [row["cost"]["cached_forwards"] for row in rows.values()] == [2400, None, 2400]


def drawn_costs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Json, Figure]:
    """The summary, and the figure of the plot of costs."""
    figures: dict[str, Figure] = {}
    save = Figure.savefig

    def keep(self: Figure, path: Path, **options: Any) -> None:
        save(self, path, **options)
        figures[path.stem] = self

    monkeypatch.setattr(Figure, "savefig", keep)
    return write_report(folder), figures["cost"]


def test_a_bar_is_a_row_and_its_parts_are_the_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "./a_folder/with_a_long_name/my_own_loss.py:learning_rate=0.00001:gamma=0.25"
    what = Synthetic(specs=("dpo", "ppo", long, "orpo"), seeds=(0,), prompts=4, pairs=3, failed=[("orpo", 0)])
    folder = write_store(tmp_path, what)
    path = next(p for p in folder.glob("cells/*/seed-0/evaluations/e1.json") if "my_own" in str(p))
    evaluation = read_json(path)
    del evaluation["seconds"]
    write_json(path, evaluation)
    summary, drawn = drawn_costs(folder, monkeypatch)
    rows, axes = rows_of(summary), drawn.axes[0]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    for place, spec in enumerate(("dpo", "ppo", long)):
        found = [bar for bar in bars if round(bar.get_y() + bar.get_height() / 2) == place]
        widths = [each["value"] or 0.0 for each in rows[spec]["cost"]["phases"].values()]
        assert [bar.get_width() for bar in found] == pytest.approx(widths)
        assert [bar.get_x() for bar in found] == pytest.approx([sum(widths[:i]) for i in range(5)])
        assert len({bar.get_facecolor() for bar in found}) == 5
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["stage", "train", "sample", "score", "evaluate"]
    shown = [text.get_text() for text in axes.texts]
    assert "no value" in shown and any(text.endswith("without evaluate") for text in shown)
    boxes = [text.get_window_extent() for text in (*axes.texts, *axes.get_yticklabels())] + [legend.get_window_extent()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1 for box in boxes)
    page, table = (folder / "report.html").read_text(), (folder / "table.md").read_text()
    assert "Where the time goes" in page
    line = "dpo: forwards: policy 1.2k, reference 0 (its cache, for all rows: 2.4k); tokens: trained 31k, saved by "
    for text in (page, table):
        assert line + "sharing prompts 9k (22%)" in text


def test_results_of_an_earlier_version_are_holes(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(seeds=(0, 1), prompts=4, pairs=3, recorded=False))
    summary = write_report(folder)
    for row in summary["rows"]:
        assert {each["value"] for each in row["cost"]["phases"].values()} == {None}
        assert row["cost"]["seconds"]["value"] > 20 and row["cost"]["tokens_saved"]["value"] is None
    assert not (folder / "plots" / "cost.png").exists()
    assert "forwards" not in (folder / "table.md").read_text()
    assert "start 18.2 s, judge lm 7.5 s, data" in (folder / "report.html").read_text()


def test_tokens_that_were_sampled_are_shown_once(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("ppo",), seeds=(0,), prompts=4, pairs=3))
    write_report(folder)
    assert read_json(folder / "summary.json")["rows"][0]["cost"]["sampled_tokens"]["value"] == 30_000
    assert "32k tok" in (folder / "table.md").read_text()
