"""lm-eval on the reference and on every policy of a run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ..evaluate.capability import check_tasks, evaluate_tasks
from ..models import Policy
from ..plugins import Spec
from ..pretrained import load_config
from ..results import whole_folder, write_json
from .stages import Report, write_cost
from .world import World


def check(world: World) -> None:
    """Refuse tasks that cannot be run. Raises `InputError`."""
    if world.config.lm_eval:
        source = world.config.model
        context = getattr(load_config(source), "max_position_embeddings", None) if source else None
        with tempfile.TemporaryDirectory() as folder:
            check_tasks(world.config.lm_eval, _include(world, Path(folder)), context)


def of_reference(world: World, report: Report) -> None:
    """The result of the reference, and the benchmark's own tasks, which the policies are asked as well."""
    started = time.perf_counter()
    include = _include(world, world.stage("tasks"))
    with whole_folder(world.stage("capability")) as partial:
        write_json(partial / "result.json", _evaluate(world, world.reference.policy, include, report))
        write_cost(partial, started)


def of_cell(world: World, spec: Spec, seed: int, report: Report) -> None:
    """The result of a finished policy, in the folder of its seed."""
    folder = world.cell(spec) / f"seed-{seed}"
    policy = world.trainee(seed, folder / "policy").policy
    include = [tasks] if (tasks := world.stage("tasks")).exists() else []
    write_json(folder / world.capability_name, _evaluate(world, policy, include, report))


def _evaluate(world: World, policy: Policy, include: Sequence[Path], report: Report) -> object:
    return evaluate_tasks(policy, world.config.lm_eval, include, report)


def _include(world: World, folder: Path) -> list[Path]:
    """The folder with the benchmark's own tasks, written into `folder`."""
    own = world.benchmark.lm_eval_tasks(folder)
    return [] if own is None else [own]
