"""Pretended jobs for `run_jobs`: what each does is a function, and a log says which process did it when."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignbench.run import Config, Event, pool
from alignbench.run.plan import Job
from alignbench.run.pool import run_jobs
from alignbench.run.stages import Report

Act = Callable[[Report], str | None]


class Stage:
    """Runs pretended jobs through `run_jobs`, in this process or in two workers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.acts: dict[str, Act] = {}
        self.events: list[Event] = []
        self.asked_for: list[str | None] = []
        self.show: Callable[[Event], None] = self.events.append
        real = multiprocessing.get_context

        def context(method: str | None = None) -> Any:
            self.asked_for.append(method)
            return real("fork")  # so that a worker knows what this process pretends

        monkeypatch.setattr(multiprocessing, "get_context", context)
        monkeypatch.setattr(pool, "execute", self.execute)

    def execute(self, config: Config, job: Job, report: Report) -> str | None:
        self.log(f"{job.label} begins")
        act = self.acts.get(job.label)
        reason = act(report) if act else None
        self.log(f"{job.label} ends")
        return reason

    def log(self, line: str) -> None:
        with (self.folder / "log").open("a") as file:
            file.write(f"{os.getpid()} {line}\n")

    @property
    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in (self.folder / "log").read_text().splitlines()]

    @property
    def processes(self) -> set[int]:
        return {int(line.partition(" ")[0]) for line in (self.folder / "log").read_text().splitlines()}

    def run(self, jobs: int, todo: list[Job], finished: set[Job] | None = None) -> dict[str, str]:
        (self.folder / "log").touch()
        config = Config(("dpo",), "reviews", str(self.folder), jobs=jobs)
        failed = run_jobs(config, todo, finished or set(), self.show)
        return {job.label: reason for job, reason in failed.items()}


def cell(spec: str, *needs: Job, seed: int = 0, heavy: bool = False) -> Job:
    return Job("cell", seed, spec, needs, heavy)


START = Job("start")
DATA = Job("data", needs=(START,))
CACHE, REWARD = Job("cache", needs=(DATA,)), Job("reward", 0, needs=(DATA,), heavy=True)
DPO, PPO, PPO1 = cell("dpo", DATA, CACHE), cell("ppo", DATA, REWARD, heavy=True), cell("ppo", DATA, REWARD, seed=1)
ALL = [START, DATA, CACHE, REWARD, DPO, PPO, PPO1]


def fail(error: BaseException) -> Act:
    def act(report: Report) -> str | None:
        raise error

    return act
