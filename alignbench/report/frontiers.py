"""Reward against KL along training: the curves, and what can be said of two of them where their KLs overlap."""

from __future__ import annotations

import math

import numpy as np

from .. import stats
from ..results import Json
from ..stats.frontier import common_kl
from .measures import Floats, generator
from .store import CellRecord, SeedRecord, Store

UNITS = {
    "kl": "nats per completion",
    "reward": "benchmark reward",
    "proxy_reward": "reward-model score",
    "length": "tokens",
}
NO_COMMON = "no common KL was measured"


def curve(store: Store, cell: CellRecord) -> list[Json]:
    """The way of a spec through training, checkpoint by checkpoint, then its full evaluation, marked `final`.

    A checkpoint is averaged over all evaluated seeds or left out: a mean over changing seeds would draw a move that
    no policy made.
    """
    by_seed = {record.seed: record.curve for record in cell.evaluated}
    length = min(len(rows) for rows in by_seed.values())
    points = [_point(store, {seed: rows[i] for seed, rows in by_seed.items()}) for i in range(length)]
    last = {record.seed: _full(record) for record in cell.evaluated}
    return [*points, _point(store, last) | {"final": True}]


def _full(record: SeedRecord) -> Json:
    """The full evaluation of a cell as a row of its curve."""
    values = {name: record.values(name) for name in UNITS}
    means = {name: None if row is None else float(np.mean(np.array(row, float))) for name, row in values.items()}
    cost = record.train["cost"]
    evaluation = means | {"n": len(record.values("kl") or [])}
    return {"step": cost["steps"], "completions": cost["completions"], "evaluation": evaluation}


def _point(store: Store, rows: dict[int, Json]) -> Json:
    """One point of a curve: the mean over seeds of each quantity, None where a seed lacks it."""
    point: Json = {name: float(np.mean([row[name] for row in rows.values()])) for name in ("step", "completions")}
    point |= {"n": min(row["evaluation"]["n"] for row in rows.values()), "final": False}
    for name, unit in UNITS.items():
        found = {seed: row["evaluation"].get(name) for seed, row in rows.items()}
        whole = all(value is not None and np.isfinite(value) for value in found.values())
        mean = float(np.mean(list(found.values()))) if whole else None
        point[name] = {"value": mean, "per_seed": [found.get(seed) for seed in store.seeds], "unit": unit}
    return point


def reward_name(frontier: Json) -> str | None:
    """Gold where every curve has it, else the judge's reward model's score where every curve has that."""
    for name in ("reward", "proxy_reward"):
        if frontier and all(point[name]["value"] is not None for points in frontier.values() for point in points):
            return name
    return None


def areas(store: Store, frontier: Json, compared: list[Json]) -> None:
    """Add `frontier_area` to each comparison: the mean difference in reward over the KLs that both have measured.

    Its `kl` is that range, its `seeds` those that it rests on. Where there is none, `frontier_reason` says why.
    """
    name = reward_name(frontier)
    for each in compared:
        each |= {"frontier_area": None, "frontier_reason": None}
        a, b = specs = (each["a"], each["b"])
        paths, seeds = ({}, []) if name is None else _paths(store, {spec: frontier[spec] for spec in specs}, name)
        if name is None or not paths:
            continue
        kl = common_kl(*(path[0] for path in paths.values()))
        area = stats.frontier_area(paths[a], paths[b], generator(f"{'/'.join(specs)}/area"))
        if area is None or kl is None:
            each["frontier_reason"] = NO_COMMON
        else:
            shown = {"unit": UNITS[name], "reward": name, "kl": list(kl), "seeds": seeds}
            each["frontier_area"] = area.as_dict() | shown


def reward_at_kl(store: Store, frontier: Json) -> Json | None:
    """`{"at", "range", "reward", "seeds", "reason", "specs": {spec: metric}}`: the reward of every spec at one KL.

    The KL `at` is the largest that every seed of all of them has reached, rounded down to two digits where that stays
    in the `range` that they all have measured. Without such a range `at` is None and `reason` says so. None with fewer
    than two specs or without seeds that all have.
    """
    name = reward_name(frontier)
    paths, seeds = ({}, []) if name is None or len(frontier) < 2 else _paths(store, frontier, name)
    if name is None or not paths:
        return None
    kl = common_kl(*(path[0] for path in paths.values()))
    result: Json = {"at": None, "range": None, "reward": name, "seeds": seeds, "reason": NO_COMMON, "specs": {}}
    if kl is None:
        return result
    low, high = kl
    at = rounded if (rounded := _rounded_down(high)) >= low else high
    for spec, path in paths.items():
        found = stats.reward_at_kl(*path, at, generator(f"{spec}/reward at KL"))
        assert found is not None  # `at` lies in what every seed of all of them has measured
        result["specs"][spec] = {**found.as_dict(), "unit": UNITS[name]}
    return result | {"at": at, "range": [low, high], "reason": None}


def _paths(store: Store, frontier: Json, name: str) -> tuple[dict[str, tuple[Floats, Floats]], list[int]]:
    """KL and reward, `[S, C]` each, of every spec at its checkpoints, and the seeds, which all of them have.

    Step 0 is the reference and left out: what lies between it and the first trained policy nobody has measured. The
    full evaluation is on other prompts and left out too. Nothing where a spec has no checkpoint, or no seed all.
    """
    ways = {
        spec: [point for point in points if point["step"] > 0 and not point["final"]]
        for spec, points in frontier.items()
    }
    known = [
        i
        for i in range(len(store.seeds))
        if all(_finite(point[x]["per_seed"][i]) for way in ways.values() for point in way for x in ("kl", name))
    ]
    if not known or not all(ways.values()):
        return {}, []

    def rows(way: list[Json], quantity: str) -> Floats:
        return np.array([[point[quantity]["per_seed"][i] for point in way] for i in known], dtype=np.float64)

    return {spec: (rows(way, "kl"), rows(way, name)) for spec, way in ways.items()}, [store.seeds[i] for i in known]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rounded_down(value: float) -> float:
    """To two significant digits."""
    if value <= 0 or not math.isfinite(value):
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / step + 1e-9) * step
