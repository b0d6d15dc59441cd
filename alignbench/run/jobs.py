"""The jobs of a run: which stage or cell needs which, and what each does in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import cells, stages
from .config import Config
from .stages import Report
from .world import World, world_of


@dataclass(frozen=True)
class Job:
    """A stage (`spec` empty) or a cell. `seed` is -1 where the stage belongs to the whole run."""

    stage: str
    seed: int = -1
    spec: str = ""
    needs: tuple[Job, ...] = ()
    heavy: bool = False

    @property
    def weight(self) -> float:
        """How long it usually takes beside an offline cell; a stage that all wait for leaves the other cores idle."""
        return WEIGHTS.get(self.stage, 1.0) * (2.5 if self.stage == "cell" and self.heavy else 1.0)

    @property
    def label(self) -> str:
        seed = "" if self.seed < 0 else f" seed {self.seed}"
        return (self.spec or self.stage.replace("_", " ")) + seed


WEIGHTS = {"start": 3.0, "data": 2.0, "cache": 0.3, "judge_lm": 2.0, "reference_samples": 0.2, "held_out": 0.1}

ONCE: dict[str, Callable[[World, Report], None]] = {
    "start": stages.start,
    "data": stages.data,
    "cache": stages.cache,
    "judge_reward": stages.judge_reward,
    "judge_lm": stages.judge_lm,
    "held_out": stages.held_out,
}
PER_SEED: dict[str, Callable[[World, int, Report], None]] = {
    "reward": stages.reward,
    "reference_samples": stages.reference_samples,
}


def plan(world: World) -> list[Job]:
    """Every job of the run, each after those it needs; what is on disk already is still listed."""
    config, jobs = world.config, dict[str, Job]()

    def add(stage: str, *needs: str, seed: int = -1, spec: str = "", heavy: bool = False) -> Job:
        known = tuple(jobs[name] for name in needs if name in jobs)
        job = Job(stage, seed, spec, known, heavy)
        jobs[job.label] = job
        return job

    if world.makes_start:
        add("start")
    add("data", "start")
    if _trains_lm_judge(world):
        add("judge_lm", "data", heavy=True)
    if world.benchmark.kind == "pairs":
        add("judge_reward", "data", heavy=True)
    rewarded = any("reward" in spec.plugin.needs for spec in world.specs) and not config.reward_model
    if any("reference" in spec.plugin.needs for spec in world.specs):
        add("cache", "data")
    for seed in range(config.seeds):
        if rewarded:
            add("reward", "data", seed=seed, heavy=True)
        add("reference_samples", "data", "judge reward", seed=seed)
    shared = ("data", "judge reward", "judge lm", "cache")
    add("held_out", "data", "judge reward", "judge lm")
    for seed in range(config.seeds):
        for spec in world.specs:
            reward = (f"reward seed {seed}",) if "reward" in spec.plugin.needs else ()
            samples = f"reference samples seed {seed}"
            add("cell", *shared, samples, *reward, seed=seed, spec=spec.text, heavy="sampling" in spec.plugin.needs)
    return list(jobs.values())


def _trains_lm_judge(world: World) -> bool:
    return world.stages.judge_lessons is not None and ("lm", "") in world.config.judges


def done(world: World, job: Job) -> bool:
    """Whether nothing is left to do for this job."""
    if job.stage == "cell":
        spec = next(spec for spec in world.specs if spec.text == job.spec)
        folder = world.cell(spec) / f"seed-{job.seed}"
        return cells.trained(folder) and cells.evaluated(world, folder)
    return world.stage(job.stage, job.seed if job.stage in PER_SEED else None).exists()


def execute(config: Config, job: Job, report: Report) -> str | None:
    """Do one job in this process; returns why it failed, or None."""
    world = world_of(config)
    torch.set_num_threads(config.threads)
    if job.stage == "cell":
        spec = next(spec for spec in world.specs if spec.text == job.spec)
        return cells.cell(world, spec, job.seed, report)
    if job.stage in ONCE:
        ONCE[job.stage](world, report)
    else:
        PER_SEED[job.stage](world, job.seed, report)
    return None
