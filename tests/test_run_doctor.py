"""The doctor in a run: the training data are examined, and what is found is said once and before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignbench.plugins import create_benchmark
from alignbench.results import read_json
from alignbench.run import Config
from alignbench.run.doctor import doctor, findings
from alignbench.run.plan import plan
from alignbench.run.world import World
from tests.test_run import Log, config, go


def own_data(folder: Path, mark: tuple[str, str] = ("certainly", "perhaps"), **options: Any) -> Config:
    """A run on a file in which one word stands in every chosen reply and in no rejected one."""
    file = folder / "prefs.jsonl"
    words = ["red", "blue", "green", "small", "large", "old", "new", "quick"]
    lines = []
    for i in range(240):
        common = f"{words[i % 8]} {words[i // 8 % 8]} {i}"
        row = {"prompt": f"question {i}?", "chosen": f"{mark[0]} {common}", "rejected": f"{mark[1]} {common}"}
        lines.append(json.dumps(row))
    file.write_text("\n".join(lines), encoding="utf-8")
    benchmark = create_benchmark("files").plugin
    fields = {name: getattr(benchmark, name) for name in ("eval_share", "judge_share")}
    return Config(
        objectives=("dpo",),
        benchmark="files",
        benchmark_fields=tuple({**fields, "data": str(file)}.items()),
        out=str(folder / "out"),
        judges=(("reward", ""),),
        seeds=1,
        **options,
    )


def test_a_users_own_data_are_examined_before_there_is_a_model(tmp_path: Path) -> None:
    world = World(own_data(tmp_path))
    first = plan(world)[0]
    assert (first.label, first.needs) == ("doctor", ())
    doctor(world, lambda fraction, text: None)
    told = findings(world)
    shortcut = next(line for line in told if line.startswith("  shortcut: "))
    assert "certainly" in shortcut and "perhaps" in shortcut
    found = read_json(world.stage("doctor") / "doctor.json")
    assert found["records"] == len(world.benchmark.preferences("train", lambda prompts, n, purpose: []))
    assert told[0] == f"The training data ({found['records']} pairs): {len(told) - 1} findings."
    context = next(finding for finding in found["findings"] if finding["check"] == "context")
    assert context["level"] == "unknown", "there is no tokenizer yet"
    duplicates = next(finding for finding in found["findings"] if finding["check"] == "duplicates")
    assert duplicates["level"] == "fine" and not any("duplicates" in line for line in told)


def test_places_are_named_and_cut_short(tmp_path: Path) -> None:
    wanted = own_data(tmp_path)
    file = tmp_path / "prefs.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines + lines), encoding="utf-8")
    world = World(wanted)
    doctor(world, lambda fraction, text: None)
    told = next(line for line in findings(world) if line.startswith("  duplicates: "))
    assert " (lines " in told and " more) " in told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    folder = tmp_path_factory.mktemp("run") / "reviews"
    log, failed = go(config(folder, "dpo", seeds=1))
    assert not failed
    return folder, log


def test_the_models_own_pairs_are_examined_when_they_are_there(finished: tuple[Path, Log]) -> None:
    folder, log = finished
    labels = [event.job for event in log.events if event.fraction >= 1]
    assert labels.index("data") < labels.index("doctor")
    told = [event for event in log.events if event.remarks]
    assert [event.job for event in told] == ["doctor"]
    run = read_json(folder / "run.json")
    found = read_json(folder / run["doctor"])
    assert found["records"] == run["data"]["train_pairs"]
    margins = found["figures"]["margins"]
    assert margins["of"] == "gold reward" and sum(margins["counts"]) == found["records"]
    assert found["figures"]["agreement"]["annotators"] == 2
    assert margins["agree"] > 0 and found["figures"]["agreement"]["with_gold"] > 0.5, "each its own completion's"
    assert found["figures"]["lengths"]["unit"] == "tokens"
    # It reads no file itself: the benchmark says what of its source is left out.
    assert next(each for each in found["findings"] if each["check"] == "skipped")["level"] == "unknown"


def test_a_second_run_says_nothing_twice(finished: tuple[Path, Log]) -> None:
    log, _ = go(config(finished[0], "dpo", seeds=1))
    assert "doctor" not in log.worked and not any(event.remarks for event in log.events)


@pytest.mark.parametrize("sft", [False, True])
def test_a_model_that_is_named_brings_its_tokenizer(finished: tuple[Path, Log], tmp_path: Path, sft: bool) -> None:
    start = World(config(finished[0], "dpo", seeds=1)).stage("start")
    world = World(own_data(tmp_path, ("wonderful", "terrible"), model=str(start), sft=sft))
    doctor(world, lambda fraction, text: None)
    found = read_json(world.stage("doctor") / "doctor.json")
    assert found["figures"]["lengths"]["unit"] == "tokens"
    assert next(f for f in found["findings"] if f["check"] == "context")["level"] != "unknown"
