"""The judges of a run, at work on what it has sampled."""

from __future__ import annotations

from ..errors import InputError
from ..plugins import find
from .describe import layout
from .judging import Progress, Roster, context_of, judge_seed, label_of, summed_up
from .judging import complete as answered
from .stages import Report
from .world import World


def complete(world: World, label: str, seed: int) -> bool:
    """Whether a judge has answered every question on what is there of a seed."""
    laid = layout(world)
    return answered(Roster(world.config.folder, laid), laid["judges"][label], seed)


def judge(world: World, label: str, seed: int, report: Report) -> str | None:
    """Ask a judge what is left to ask on a seed; returns why something has stayed unanswered.

    A judge that finds itself unable to go on fails its own job and no other: the policies are trained all the same.
    """
    laid = layout(world)
    name, argument = next(known for known in world.config.judges if label_of(*known) == label)
    models = {need: world.config.folder / path for need, path in laid["judge_models"].items()}
    if world.stages.judge_lessons is None:
        del models["lm"]
    progress = Progress(report)
    context = context_of(world.config, world.benchmark.gold, models, progress)
    roster = Roster(world.config.folder, laid)
    try:
        opened = find("judge", name).open(argument, context)
        unfinished = judge_seed(roster, opened, laid["judges"][label], seed, progress)
    except InputError as error:
        return str(error)
    return summed_up(label, unfinished) if unfinished else None
