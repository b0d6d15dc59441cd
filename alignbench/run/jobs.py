"""What each job of a run does in a worker, and whether anything is left of it to do."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..plugins import Spec
from . import capability, cells, doctor, exact, judges, probes, samples, stages
from .config import Config
from .plan import Job
from .stages import Report
from .world import World, world_of

ONCE: dict[str, Callable[[World, Report], None]] = {
    "start": stages.start,
    "data": stages.data,
    "cache": stages.cache,
    "judge_reward": stages.judge_reward,
    "judge_lm": stages.judge_lm,
    "held_out": stages.held_out,
    "capability": capability.of_reference,
    "exact": exact.enumerate_world,
    "doctor": doctor.doctor,
    "probes": probes.of_reference,
}
PER_SEED: dict[str, Callable[[World, int, Report], None]] = {
    "reward": stages.reward,
    "exact_reward": exact.reward_ceiling,
    "reference_samples": samples.reference_samples,
    "best_of": samples.best_of,
}


def done(world: World, job: Job) -> bool:
    """Whether nothing is left to do for this job."""
    if job.stage == "cell":
        folder = world.cell(_spec(world, job)) / f"seed-{job.seed}"
        return cells.trained(folder) and cells.evaluated(world, folder)
    if job.stage == "judging":
        there = all(done(world, other) for other in (*job.needs, *job.after))  # else nobody knows what is to be asked
        return there and judges.complete(world, job.spec, job.seed)
    if job.stage == "reference_samples":
        return not samples.missing_samples(world, job.seed)
    if job.stage == "capability" and job.spec:
        return (world.cell(_spec(world, job)) / f"seed-{job.seed}" / world.capability_name).exists()
    return world.stage(job.stage, job.seed if job.stage in PER_SEED else None).exists()


def execute(config: Config, job: Job, report: Report) -> str | None:
    """Do one job in this process; returns why it failed, or None."""
    world = world_of(config)
    torch.set_num_threads(config.threads)
    if job.stage == "cell":
        return cells.cell(world, _spec(world, job), job.seed, report)
    if job.stage == "capability" and job.spec:
        capability.of_cell(world, _spec(world, job), job.seed, report)
        return None
    if job.stage == "judging":
        return judges.judge(world, job.spec, job.seed, report)
    if job.stage in ONCE:
        ONCE[job.stage](world, report)
    else:
        PER_SEED[job.stage](world, job.seed, report)
    return None


def _spec(world: World, job: Job) -> Spec:
    return next(spec for spec in world.specs if spec.text == job.spec)
