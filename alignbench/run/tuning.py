"""Tuning: the same grid and the same number of trials for every objective, before anything is compared.

The trials are a run of their own in the folder `tuning`: one seed that the comparison never uses, on prompts that it
never evaluates on. Each objective goes on with the trial that the headline judge prefers; where the world can be
enumerated, with the one of the largest share of what can be gained, which needs neither judge nor prompts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, TrainingError
from ..matches import read_match
from ..plugins import Spec, recreate
from ..results import Json, derive, read_json, write_json
from ..stats import interval
from .config import Config

SEED = 999  # no seed of a comparison: those are 0, 1, ...
FOLDER = "tuning"
FILE = "tuning.json"
NOTHING: Json = {"value": None, "low": None, "high": None}
LIMIT = 0.05  # above this share of unusable answers a win rate is none

RunTrials = Callable[[Config], dict[str, str]]


@dataclass(frozen=True)
class Trial:
    """One point of the grid for one objective; `spec` is what the comparison was asked for, `text` what is trained."""

    spec: str
    text: str
    file: tuple[str, str, str] | None
    point: tuple[tuple[str, str], ...]


def parse_grid(text: str) -> dict[str, list[str]]:
    """`learning_rate=1e-4/1e-3:beta=0.1/0.5` as values by field. Raises `InputError`."""
    grid: dict[str, list[str]] = {}
    for part in text.split(":"):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        items = [value.strip() for value in values.split("/")]
        if not equals or not name or not all(items):
            raise InputError(f"--tune {text!r}: write field=value/value[:field=...], learning_rate=1e-4/1e-3 say.")
        if name in grid or len(set(items)) < len(items):
            raise InputError(f"--tune {text!r}: {name} or one of its values is given twice.")
        grid[name] = items
    if all(len(items) == 1 for items in grid.values()):
        raise InputError(f"--tune {text!r} holds one point: give a field several values, or set it in the spec.")
    return grid


def trials_of(specs: Sequence[Spec], text: str) -> list[Trial]:
    """Every point of the grid for every spec.

    Raises:
        InputError: an objective has no such field (then trials would not be equal), or the spec sets it already.
    """
    grid, found = parse_grid(text), list[Trial]()
    for spec in specs:
        for name in grid:
            if name in spec.overrides or f":{name}=" in spec.text:
                raise InputError(f"--tune: {spec.text} sets {name} itself; leave it out of one of the two.")
        for values in itertools.product(*grid.values()):
            point = tuple(zip(grid, values, strict=True))
            try:
                trial = recreate(":".join([spec.text, *(f"{name}={value}" for name, value in point)]), spec.path)
            except InputError as error:
                raise InputError(f"--tune: the grid is the same for every objective, and {error}") from None
            file = None if trial.path is None else (trial.text, str(trial.path), trial.source)
            found.append(Trial(spec.text, trial.text, file, point))
    return found


def trial_config(config: Config, trials: Sequence[Trial]) -> Config:
    """The run of the trials: the comparison's own, but for its seed, prompts and judge, and without curves."""
    fields = {**dict(config.benchmark_fields), "curve_points": 0}
    distinct = {trial.text: trial for trial in trials}  # a value that is a default makes no trial of another name
    return replace(
        config,
        objectives=tuple(distinct),
        files=tuple(trial.file for trial in distinct.values() if trial.file),
        benchmark_fields=tuple(fields.items()),
        out=str(config.folder / FOLDER),
        stages_in=config.out,
        judges=config.judges[:1],
        against=("reference",),
        temperatures=(),
        best_of=(),
        lm_eval=(),
        seeds=1,
        first_seed=SEED,
        tuning_prompts=config.held_back,
        held_back=0,
        tune="",
    )


def tuned(config: Config, specs: Sequence[Spec], run_trials: RunTrials) -> tuple[Config, dict[str, str]]:
    """Run the trials and choose: the configuration of the comparison, and why trials failed. Noted in `tuning.json`.

    The first of equally good trials is taken, in the order of the grid. A trial that failed or whose judge would not
    answer is no candidate.

    Raises:
        InputError: as `trials_of`.
        TrainingError: the judge could not judge all trials, so that none can be chosen fairly; or no trial of some
            objective has a win rate.
    """
    trials = trials_of(specs, config.tune)
    failed = run_trials(trial_config(config, trials))
    for label, reason in failed.items():
        if label.startswith("judging by"):
            raise TrainingError(f"the trials of the tuning are not all judged, so none is chosen: {reason}")
    measured = {trial.text: _measured(config.folder / FOLDER, trial.text) for trial in trials}
    chosen: dict[str, Trial] = {}
    for trial in trials:
        value, best = measured[trial.text]["value"], chosen.get(trial.spec)
        if value is not None and (best is None or value > measured[best.text]["value"]):
            chosen[trial.spec] = trial
    for spec in specs:
        if spec.text not in chosen:
            reasons = {
                measured[t.text]["reason"] or failed.get(f"{t.text} seed {SEED}") for t in trials if t.spec == spec.text
            }
            raise TrainingError(f"no trial of {spec.text} could be measured ({'; '.join(map(str, reasons))}).")
    write_json(config.folder / FILE, _noted(config, trials, measured, {trial.text for trial in chosen.values()}))
    taken = [chosen[spec.text] for spec in specs]
    chosen_config = replace(
        config, objectives=tuple(t.text for t in taken), files=tuple(t.file for t in taken if t.file)
    )
    return chosen_config, {f"tuning: {label}": reason for label, reason in failed.items()}


def _measured(folder: Path, text: str) -> Json:
    """The win rate of a trial over the reference by the headline judge, or its exact gain share, from its store."""
    run = read_json(folder / "run.json")
    entry = next(cell for cell in run["cells"] if cell["spec"] == text)
    if run["exact"] is not None:
        return _exactly(folder / entry["folder"] / f"seed-{SEED}", run["exact"]["cell"])
    file = f"{entry['folder']}/seed-{SEED}/{entry['samples']['1']}"
    match = read_match(folder / run["judges"][run["headline"]], file, run["reference"][str(SEED)]["1"])
    if match is None:
        return _failed(folder / entry["folder"] / f"seed-{SEED}")
    unusable = sum(verdict.unusable for verdict in match.verdicts) / (2 * len(match.verdicts))
    if unusable > LIMIT:
        return {**NOTHING, "status": "failed", "reason": f"{unusable:.1%} of the judge's answers were unusable"}
    scores = np.array([[verdict.score] for verdict in match.verdicts])
    found = interval(scores, np.random.default_rng(derive(0, f"tuning/{text}")), bounds=(0, 1))
    ends = {"value": found.value, "low": found.low, "high": found.high}
    return {**ends, "prompts": len(match.verdicts), "status": "done", "reason": None}


def _exactly(cell: Path, name: str) -> Json:
    """The gain share of a trial: one number, nothing about it is estimated."""
    if not (cell / name).exists():
        return _failed(cell)
    share = read_json(cell / name)["gain_share"]
    return {"value": share, "low": share, "high": share, "prompts": 0, "status": "done", "reason": None}


def _failed(cell: Path) -> Json:
    why = read_json(cell / "train.json").get("reason") if (cell / "train.json").exists() else None
    return {**NOTHING, "status": "failed", "reason": why or "it was not trained or not judged"}


def _noted(config: Config, trials: Sequence[Trial], measured: Json, chosen: set[str]) -> Json:
    entries: list[dict[str, Any]] = [
        {
            "spec": trial.spec,
            "trial": trial.text,
            "point": dict(trial.point),
            **measured[trial.text],
            "chosen": trial.text in chosen,
        }
        for trial in trials
    ]
    name, argument = config.judges[0]
    return {
        "folder": FOLDER,
        "grid": parse_grid(config.tune),
        "seed": SEED,
        "prompts": max(found.get("prompts", 0) for found in measured.values()),
        "judge": name + (f":{argument}" if argument else ""),
        "measure": "win_rate" if config.held_back else "gain_share",
        "trials": entries,
    }


def at_the_edge(noted: Json) -> list[str]:
    """A sentence for each end of the grid that was chosen: beyond it there may be a better value."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, values in noted["grid"].items():
        if len(values) == 1 or not all(_is_number(value) for value in values):
            continue  # of names and truth values nothing lies beyond
        ordered = sorted(values, key=float)
        for trial in noted["trials"]:
            value = trial["point"][name]
            if trial["chosen"] and value in (ordered[0], ordered[-1]):
                end = "smallest" if value == ordered[0] else "largest"
                found.setdefault((name, value, end), []).append(trial["spec"])
    return [
        f"tuning chose {name}={value}, the {end} of the grid, for {', '.join(specs)}: a wider grid may do better"
        for (name, value, end), specs in found.items()
    ]


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
