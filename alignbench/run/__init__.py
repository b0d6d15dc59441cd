"""A run: stages, cells, seeds, resuming. It refuses what cannot work before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, TrainingError
from ..models import quiet
from ..results import canonical, read_json, write_json
from .checks import check_models, check_needs
from .config import Config, Event
from .describe import describe, layout
from .doctor import findings
from .jobs import done
from .judging import ANSWERS
from .lock import locked
from .plan import Job, plan
from .pool import run_jobs
from .tuning import trials_of, tuned
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
    layout.cache_clear()
    world = world_of(config)
    check_needs(world)
    if config.tune:
        trials_of(world.specs, config.tune)
    if fresh or (config.tune and not (config.folder / "tuning.json").exists()):
        check_models(world)  # what cannot work is refused before the first trial
    trials_failed: dict[str, str] = {}
    with locked(config.folder):
        if fresh:
            _empty(config.folder)
        _check_identity(world)
        if config.tune:
            # The identity is on disk before anything is trained: an interrupted run is known for what it is.
            write_json(config.folder / "identity.json", world.identity)
            config, trials_failed = tuned(config, world.specs, lambda trials: run(trials, show, begin))
            world_of.cache_clear()  # the models that the trials were held against need not stay in memory
            world = world_of(config)
        jobs = plan(world)
        finished = {job for job in jobs if done(world, job)}
        if len(finished) < len(jobs):
            check_models(world)
        begin(jobs, finished, world.benchmark.remarks())
        write_json(config.folder / "identity.json", world.identity)
        failed = run_jobs(config, jobs, finished, _with_findings(world, show))
        if not world.stage("data").exists():
            first, reason = next(iter(failed.items()))
            raise TrainingError(f"nothing could be trained, the stage {first.label} failed: {reason}")
        write_json(config.folder / "run.json", describe(world, config))
    return trials_failed | {job.label: reason for job, reason in failed.items()}


def _with_findings(world: World, show: Callable[[Event], None]) -> Callable[[Event], None]:
    """`show`, which is also told what there is to look at in the data, when their examination is over."""

    def shown(event: Event) -> None:
        over = event.job == "doctor" and event.fraction >= 1 and world.stage("doctor").exists()
        show(replace(event, remarks=tuple(findings(world))) if over else event)

    return shown


def _empty(folder: Path) -> None:
    """Delete what a run has written, and nothing else; the answers of judges that were paid for stay."""
    written = [path for path in folder.iterdir() if path.name != ".lock" and not path.name.startswith(ANSWERS)]
    if written and not (folder / "identity.json").exists():
        raise InputError(f"--fresh: {folder} holds files that no run wrote; delete it yourself or give --out.")
    for path in written:
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
