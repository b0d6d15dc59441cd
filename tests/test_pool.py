"""Jobs in the order of their needs, here and side by side; what fails, what goes on, and what a dead worker costs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from alignbench.errors import InputError, TrainingError
from alignbench.run import Config, Event, pool, run
from alignbench.run.plan import Job
from alignbench.run.stages import Report

from .pretended_jobs import ALL, CACHE, DATA, DPO, PPO, PPO1, REWARD, START, Stage, cell, fail

# Newer Pythons warn of the fork by which these tests give their pretended jobs to the workers.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

BOTH = pytest.mark.parametrize("jobs", [1, 2])


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError("this hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children(), "no worker is left behind"


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


# --- the order ---


@BOTH
def test_every_job_begins_after_all_it_needs(stage: Stage, jobs: int) -> None:
    for job in ALL:
        stage.acts[job.label] = lambda report: time.sleep(0.02)
    assert stage.run(jobs, ALL) == {}
    for job in ALL:
        begins = stage.lines.index(f"{job.label} begins")
        assert all(stage.lines.index(f"{need.label} ends") < begins for need in job.needs)
    assert sorted(stage.lines) == sorted(f"{job.label} {what}" for job in ALL for what in ("begins", "ends"))
    done = [event for event in stage.events if event.fraction == 1]
    assert sorted(event.job for event in done) == sorted(job.label for job in ALL)
    assert {event.text for event in done} == {"done"}


@BOTH
def test_what_is_finished_is_not_done_again(stage: Stage, jobs: int) -> None:
    assert stage.run(jobs, ALL, {START, DATA, CACHE, PPO1}) == {}
    assert {line.removesuffix(" begins") for line in stage.lines if line.endswith("begins")} == {
        "reward seed 0", "dpo seed 0", "ppo seed 0"
    }  # fmt: skip
    assert stage.run(jobs, ALL, set(ALL)) == {}


def test_two_jobs_run_side_by_side_in_processes_that_are_spawned(stage: Stage) -> None:
    def meet(report: Report) -> str | None:
        (stage.folder / str(os.getpid())).touch()
        while len(list(stage.folder.glob("[0-9]*"))) < 2:
            time.sleep(0.01)
        return None

    one, other = Job("one"), Job("other")
    stage.acts = {"one": meet, "other": meet}
    assert stage.run(2, [one, other]) == {}
    assert len(stage.processes) == 2 and os.getpid() not in stage.processes
    assert stage.asked_for == ["spawn"]


@pytest.mark.parametrize(("jobs", "todo"), [(1, ALL), (2, [DATA])])
def test_nothing_is_started_for_one_job_at_a_time(stage: Stage, jobs: int, todo: list[Job]) -> None:
    assert stage.run(jobs, todo, {START} if jobs == 2 else set()) == {}
    assert stage.processes == {os.getpid()} and not stage.asked_for


def test_stages_come_first_and_long_jobs_before_short_ones() -> None:
    jobs = [cell("a"), cell("b", seed=1, heavy=True), cell("b", heavy=True), Job("cache"), Job("reward", 1, heavy=True)]
    in_order = [jobs[4], jobs[3], jobs[2], jobs[1], jobs[0]]
    assert pool._ready(jobs, set(), {}, 9) == in_order
    assert pool._ready(jobs, set(), {}, 2) == in_order[:2]
    waits, blocked = PPO, DPO
    assert pool._ready([REWARD, blocked, waits], {START, DATA}, {CACHE: "why"}, 9) == [REWARD, blocked]


# --- failures ---


@BOTH
def test_a_failed_stage_fails_what_needs_it_and_the_rest_goes_on(stage: Stage, jobs: int) -> None:
    stage.acts["reward seed 0"] = fail(ValueError("no pairs"))
    assert stage.run(jobs, ALL) == {
        "reward seed 0": "ValueError: no pairs",
        "ppo seed 0": "reward seed 0 failed: ValueError: no pairs",
        "ppo seed 1": "reward seed 0 failed: ValueError: no pairs",
    }
    assert "dpo seed 0 ends" in stage.lines and not any(line.startswith("ppo") for line in stage.lines)
    ends = {event.job: event.text for event in stage.events if event.fraction == 1}
    assert ends["ppo seed 1"] == ends["reward seed 0"] == "failed" and ends["dpo seed 0"] == "done"
    log = (stage.folder / "stages" / "reward_seed_0.failure.log").read_text()
    assert "Traceback" in log and log.endswith("ValueError: no pairs\n")


@BOTH
def test_a_reason_goes_down_the_whole_line(stage: Stage, jobs: int) -> None:
    stage.acts["start"] = fail(TrainingError("step 3: the loss is nan."))
    found = stage.run(jobs, ALL)
    assert set(found) == {job.label for job in ALL}
    assert found["start"] == "step 3: the loss is nan."
    assert found["dpo seed 0"] == "data failed: start failed: step 3: the loss is nan."
    assert stage.lines == ["start begins"]


@BOTH
def test_a_failed_cell_fails_alone(stage: Stage, jobs: int) -> None:
    stage.acts["dpo seed 0"] = lambda report: "step 1: the loss is nan."
    assert stage.run(jobs, ALL) == {"dpo seed 0": "step 1: the loss is nan."}
    assert "ppo seed 1 ends" in stage.lines


@BOTH
def test_bad_input_ends_everything(stage: Stage, jobs: int) -> None:
    stage.acts["data"] = fail(InputError("line 3 is no JSON."))
    with pytest.raises(InputError, match=r"^line 3 is no JSON\.$"):
        stage.run(jobs, ALL)
    assert stage.lines == ["start begins", "start ends", "data begins"]


class PeculiarError(Exception):
    """Cannot be pickled: what goes to its constructor is not what it keeps."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


@BOTH
def test_an_exception_that_no_process_can_pass_on_is_a_reason_as_well(stage: Stage, jobs: int) -> None:
    stage.acts["cache"] = fail(PeculiarError("this", "that"))
    assert stage.run(jobs, ALL) == {
        "cache": "PeculiarError: this and that",
        "dpo seed 0": "cache failed: PeculiarError: this and that",
    }


def test_a_run_whose_data_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(config: Config, job: Job, report: Report) -> str | None:
        raise TrainingError(f"step 7: no luck with {job.label}.")

    monkeypatch.setattr(pool, "execute", execute)
    config = Config(("dpo",), "reviews", str(tmp_path / "run"), judges=(("gold", ""),), seeds=1)
    with pytest.raises(TrainingError, match=r"the stage start failed: step 7: no luck with start\."):
        run(config, lambda event: None, lambda *_: None)
    assert not (tmp_path / "run" / "run.json").exists()


# --- workers that die, and Ctrl-C ---

DIED = "a worker process died, most likely for lack of memory; finished cells are kept: run the same command again"


@pytest.mark.parametrize("die", [lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_a_worker_that_dies_ends_the_run_with_a_sentence(stage: Stage, die: Callable[[], None]) -> None:
    def sleep(report: Report) -> str | None:
        for _ in range(600):
            report(0.5, "still at it")
            time.sleep(0.1)
        return None

    stage.acts["cache"] = lambda report: die()
    stage.acts["reward seed 0"] = sleep
    started = time.monotonic()
    with pytest.raises(InputError, match=DIED):
        stage.run(2, ALL)
    assert time.monotonic() - started < 20, "the other worker is not waited for"
    assert "data ends" in stage.lines and "reward seed 0 ends" not in stage.lines


def test_a_worker_that_dies_between_two_jobs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = ProcessPoolExecutor.submit

    def broken(self: ProcessPoolExecutor, *args: Any) -> Any:
        if args[-1] == DATA:
            raise BrokenProcessPool("A child process terminated abruptly, the process pool is not usable anymore")
        return submit(self, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", broken)
    with pytest.raises(InputError, match=DIED):
        stage.run(2, ALL)


@BOTH
def test_an_interrupt_stops_at_once(stage: Stage, jobs: int) -> None:
    def work(report: Report) -> str | None:
        for step in range(600):
            report(step / 600, f"step {step}")
            time.sleep(0.1)
        return None

    def interrupted(event: Event) -> None:
        if event.text.startswith("step"):
            raise KeyboardInterrupt

    stage.acts = {"cache": work, "reward seed 0": work}
    stage.show = interrupted
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stage.run(jobs, ALL)
    assert time.monotonic() - started < 20
    assert "data ends" in stage.lines and not any(line.startswith(("dpo", "ppo")) for line in stage.lines)


# --- progress ---


@BOTH
def test_progress_is_shown_in_moderation_and_never_after_the_end(stage: Stage, jobs: int) -> None:
    def chatty(report: Report) -> str | None:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            report(0.5, "half")
        return None

    for job in (CACHE, REWARD, DPO):
        stage.acts[job.label] = chatty
    assert stage.run(jobs, ALL) == {}
    for job in ALL:
        events = [event for event in stage.events if event.job == job.label]
        assert events[-1] == Event(job.label, 1.0, "done") and [e.fraction for e in events].count(1.0) == 1
        assert len(events) <= 8
    assert Event("cache", 0.5, "half") in stage.events


def test_what_a_job_says_after_its_end_is_not_shown(stage: Stage) -> None:
    def late(report: Report) -> str | None:
        threading.Timer(0.3, report, (0.9, "late")).start()  # as one that waited in the queue
        return None

    def longer(report: Report) -> str | None:
        time.sleep(1)
        report(0.9, "in time")
        time.sleep(0.3)
        return None

    stage.acts = {"late": late, "longer": longer}
    assert stage.run(2, [Job("late"), Job("longer")]) == {}
    assert [event.text for event in stage.events] == ["done", "in time", "done"]
