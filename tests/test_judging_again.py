"""Further judges on a finished run, from what lies in its folder alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alignbench.errors import InputError
from alignbench.matches import read_match
from alignbench.results import read_json, write_json
from alignbench.run.again import Server, judge_again
from alignbench.run.judging import HELD_OUT
from tests.test_judging import EXTRAS, SPECS, roster
from tests.test_run import Log, config, go


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again") / "reviews"
    _, failed = go(config(folder, SPECS, **EXTRAS))
    assert not failed
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "reviews"))


def again(folder: Path, *judges: tuple[str, str]) -> tuple[Log, list[str]]:
    log = Log()
    problems = judge_again(folder, judges, Server(), "cpu", "alignbench judge", log.events.append, log.begin)
    return log, problems


def test_further_judges_need_nothing_but_the_folder(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (copied / "cells").rglob("*") if path.is_file()}
    for weights in copied.rglob("*.safetensors"):
        weights.unlink()  # nothing can be trained or sampled any more
    log, problems = again(copied, ("length", ""), ("gold", ""))
    assert not problems and {job.label for job in log.reused} == {
        "judging by gold of held-out pairs", "judging by gold seed 0", "judging by gold seed 1",
    }  # fmt: skip
    run = read_json(copied / "run.json")
    assert list(run["judges"]) == ["gold", "reward", "length"] and list(run["asked_later"]) == ["length"]
    found = roster(copied)
    for seed in (HELD_OUT, 0, 1):
        for pairing in found.pairings(seed):
            assert read_match(copied / run["judges"]["length"], *pairing) is not None
    assert {path: path.stat().st_mtime_ns for path in before if path.exists()} == {
        path: time for path, time in before.items() if path.suffix != ".safetensors"
    }
    log, _ = again(copied, ("length", ""))
    assert log.reused == set(log.jobs), "a second call asks nothing"


def test_the_same_run_keeps_judges_that_were_asked_later(copied: Path) -> None:
    again(copied, ("length", ""))
    log, failed = go(config(copied, SPECS, **EXTRAS))
    assert not failed and not log.worked
    run = read_json(copied / "run.json")
    assert list(run["judges"]) == ["gold", "reward", "length"] and run["headline"] == "gold"


def test_the_run_s_own_judge_is_not_replaced(copied: Path) -> None:
    run = read_json(copied / "run.json")
    write_json(copied / "run.json", {**run, "judges": {**run["judges"], "gold": "verdicts/gold-of-another-server"}})
    with pytest.raises(InputError, match="the run was judged by gold with another server"):
        again(copied, ("gold", ""))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (("lm", ""), "this run has trained no model for it; name one, lm:PATH"),
        (("gold", "x"), "takes no argument"),
        (("lm", "nowhere"), "nowhere"),
    ],
)
def test_a_judge_that_cannot_judge_is_refused(copied: Path, judge: tuple[str, str], said: str) -> None:
    before = (copied / "run.json").read_bytes()
    with pytest.raises(InputError, match=said):
        again(copied, ("length", ""), judge)
    assert (copied / "run.json").read_bytes() == before


def test_only_finished_runs_of_this_version_are_judged(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is missing"):
        again(tmp_path / "nowhere", ("length", ""))
    write_json(copied / "run.json", {**read_json(copied / "run.json"), "schema": 1})
    with pytest.raises(InputError, match="another version"):
        again(copied, ("length", ""))
