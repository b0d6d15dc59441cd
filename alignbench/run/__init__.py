"""A run: stages, cells, seeds, resuming. It refuses what cannot work before anything is trained."""

from __future__ import annotations

import fcntl
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError, TrainingError
from ..models import quiet
from ..plugins import find
from ..results import Json, canonical, read_json, write_json
from .checks import check_models, check_needs
from .config import Config, Event
from .jobs import Job, done, plan
from .pool import run_jobs
from .world import World, world_of

__all__ = ["Config", "Event", "run"]


Begin = Callable[[list[Job], set[Job], list[str]], None]


def run(config: Config, show: Callable[[Event], None], begin: Begin, fresh: bool = False) -> dict[str, str]:
    """Do whatever is not done yet, then leave `run.json` for the report.

    `begin` is told every job, those already finished, and what there is to know about the data. Returns why each
    failed cell failed, by label. `fresh` deletes what an earlier run left in the folder, once all that can be refused
    without training has been.

    Raises:
        InputError: an objective needs what the data do not give, the folder belongs to another configuration, ...
        TrainingError: the starting model or the data could not be made.
    """
    quiet()
    world_of.cache_clear()  # a plug-in may have been edited since another run of this process
    world = world_of(config)
    check_needs(world)
    if fresh:
        check_models(world)
    with _locked(config.folder):
        if fresh:
            _empty(config.folder)
        _check_identity(world)
        jobs = plan(world)
        finished = {job for job in jobs if done(world, job)}
        if len(finished) < len(jobs):
            check_models(world)
        begin(jobs, finished, world.benchmark.remarks())
        # The identity is on disk before anything is trained: an interrupted run is known for what it is.
        write_json(config.folder / "identity.json", world.identity)
        failed = run_jobs(config, jobs, finished, show)
        if not world.stage("data").exists():
            first, reason = next(iter(failed.items()))
            raise TrainingError(f"nothing could be trained, the stage {first.label} failed: {reason}")
        write_json(config.folder / "run.json", describe(world, config))
    return {job.label: reason for job, reason in failed.items()}


def _empty(folder: Path) -> None:
    """Delete what a run has written, and nothing else."""
    if not (folder / "identity.json").exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise InputError(f"--fresh: {folder} holds files that no run wrote; delete it yourself or give --out.")
    for path in folder.iterdir():
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check_identity(world: World) -> None:
    """Refuse a folder whose cells were trained under another configuration."""
    file = world.config.folder / "identity.json"
    if not file.exists():
        if world.config.folder.exists() and any(world.config.folder.glob("*.json")):
            raise InputError(f"{world.config.folder} holds files that no run wrote: choose another folder with --out.")
        return
    # What a run was before there was an option for it.
    old, new = {"adapter": "none", "dtype": "float32", **read_json(file)}, canonical(world.identity)
    different = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if different:
        shown = "; ".join(f"{name}: {old.get(name)!r} there, {new.get(name)!r} now" for name in different[:4])
        raise InputError(
            f"{world.config.folder} holds a run with another configuration ({shown}); "
            f"give another folder with --out, or --fresh to delete it and start anew."
        )


def describe(world: World, config: Config) -> Json:
    """`run.json`: what was run, on what, and where its parts lie."""
    _, evaluation = world.evaluation_keys()
    names = list(world.judges_by_name())
    info = world.data_info
    held_out = world.stage("held_out") / "verdicts.json"
    return {
        "schema": 1,
        "name": config.folder.name,
        "benchmark": config.benchmark,
        "command": config.command,
        "config": {k: v for k, v in asdict(config).items() if k != "out"},
        "identity": world.identity,
        "seeds": list(range(config.seeds)),
        "question": world.benchmark.question,
        "headline": names[0],
        "agreement_judge": _agreement_judge(world),
        "data": {
            **{k: info[k] for k in ("fingerprint", "kind", "train_completions", "truncated", "skipped", "longest")},
            "train_pairs": info["train_records"],
            "judge_pairs": len(world.records("judge")),
            "eval_pairs": len(world.records("eval")),
            "eval_prompts": len(world.eval_prompts),
            **world.benchmark.notes(),
        },
        "models": {"parameters": info["parameters"], "path": "shared" if info["path"]["shared"] else "plain"},
        "versions": _versions(),
        "hardware": {"machine": platform.machine(), "system": platform.system(), "device": config.device,
                     "jobs": config.jobs, "threads": config.threads},
        "warnings": [
            *world.benchmark.remarks(),
            *([] if info["path"]["shared"] else [f"scored plainly: {info['path']['why']}"]),
            *([f"{info['truncated']} of {info['train_records']} training records are cut to the context"]
              if info["truncated"] else []),
        ],
        "held_out": str(held_out.relative_to(config.folder)) if held_out.exists() else None,
        "stages": list(_stage_logs(world)),
        "cells": [
            {
                "spec": spec.text,
                "objective": spec.name,
                "params": spec.params,
                "needs": sorted(spec.plugin.needs),
                "training": asdict(world.training(spec)),
                "folder": str(world.cell(spec).relative_to(config.folder)),
                "evaluation": evaluation,
            }
            for spec in world.specs
        ],
    }  # fmt: skip


def _agreement_judge(world: World) -> str | None:
    """The judge whose agreement with gold or people is reported: one that answers the question if there is one."""
    classes = {label: find("judge", name) for label, (name, _) in world.judges_by_name().items()}
    fallible = [label for label, judge in classes.items() if "gold" not in judge.needs]
    return next((label for label in fallible if classes[label].asks), next(iter(fallible), None))


def _stage_logs(world: World) -> Iterator[Json]:
    for job in plan(world):
        if job.stage != "cell":
            folder = world.stage(job.stage, job.seed if job.seed >= 0 else None)
            # `train.json` of a stage that trains, and `cost.json`: the seconds of every stage as a whole.
            files = [file for name in ("train.json", "cost.json") if (file := folder / name).exists()]
            log: dict[str, Any] = {key: value for file in files for key, value in read_json(file).items()}
            yield {"name": job.label, "folder": folder.name, **log}


def _versions() -> Json:
    import importlib.metadata

    found = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy", "scipy")}
    return {"alignbench": importlib.metadata.version("alignbench"), "python": sys.version.split()[0], **found}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One run at a time writes to a folder; what a killed one left half written is swept up."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is writing to {folder}: wait for it or choose another --out.") from None
        for partial in folder.rglob(".*.partial"):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        yield
