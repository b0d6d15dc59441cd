"""A run in a world that can be enumerated: what each policy is worth, exactly, and where the rest of the gain goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..results import Json, read_json
from .comparisons import enough
from .exact_seeds import OPEN, Ends, adjust, compare, over_seeds
from .store import CellRecord, SeedRecord, Store

SCHEMA = 1  # of `world.json`, and of the file of a cell
# Unit and ends of the scale: no policy has more than the optimum, and a KL is never below 0.
FIGURES: dict[str, tuple[str, Ends]] = {
    "gain_share": ("share of the gain of the optimum", (None, 1.0)),
    "expected_reward": ("benchmark reward", OPEN),
    "kl": ("nats per completion", (0.0, None)),
    "objective": ("benchmark reward", OPEN),
    "gap": ("benchmark reward", (0.0, None)),
    "win_rate": ("share", (0.0, 1.0)),
}
CURVE = ("expected_reward", "kl", "objective", "gain_share")
AT_OPTIMUM = 1 - 1e-6  # a gain share above it is that of the optimum, but for rounding
NOTHING = "its exact figures are not there: run the same command again"
NOT_FINITE = "its exact figures are not finite"

# Where a part of the gain is lost, and what is said of it.
PARTS = {
    "own": "the objective itself",
    "reward": "the reward model",
    "training": "optimisation",
    "data": "finite data and optimisation",
    "both": "the objective and optimisation",
    "unknown": "not split: its limit is not known",
}


@dataclass(frozen=True)
class ExactCell:
    """The exact figures of a spec by seed, and why those of other seeds are not there."""

    cell: CellRecord
    found: Mapping[int, Json]
    holes: Mapping[int, str]

    def figures(self, name: str, of: str | None = None) -> dict[int, float]:
        """A figure of the policies by seed, or `of` their "limit" or "ceiling"; seeds without one are left out."""
        whole = {seed: each if of is None else each.get(of) for seed, each in self.found.items()}
        return {seed: float(each[name]) for seed, each in whole.items() if each and _finite(each.get(name))}


def read_exact(store: Store) -> tuple[Json, list[ExactCell]] | None:
    """The world and its cells; None where the run was in no world that can be enumerated, or has not got so far.

    Raises:
        InputError: a file is of another schema.
    """
    where = store.run.get("exact")
    if not where or not (store.folder / where["world"]).exists():
        return None
    world = _read(store.folder / where["world"])
    return world, [_cell(store, cell, where["cell"]) for cell in store.cells]


def _read(path: Path) -> Json:
    found = read_json(path)
    if found.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {found.get('schema')!r} where {SCHEMA} is known: use the alignbench that wrote it, or "
            f"run again with `--fresh`."
        )
    return found


def _cell(store: Store, cell: CellRecord, name: str) -> ExactCell:
    found: dict[int, Json] = {}
    holes: dict[int, str] = {}
    for record in cell.seeds:
        exact, why = _seed(record, name)
        if exact is None:
            holes[record.seed] = why
        else:
            found[record.seed] = exact
    return ExactCell(cell, found, holes)


def _seed(record: SeedRecord, name: str) -> tuple[Json | None, str]:
    """What a seed has left; a policy whose training failed is none, whatever lies there."""
    path = record.folder / name
    if record.train.get("status") != "done" or not path.exists():
        return None, record.reason or NOTHING
    found = _read(path)
    return (found, "") if all(_finite(found[figure]) for figure in FIGURES) else (None, NOT_FINITE)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def exact_figures(store: Store) -> Json | None:
    """`exact` of `summary.json` but for its words; None where the world cannot be enumerated.

    Nothing is estimated but over seeds: a metric is `{"value", "low", "high", "n", "per_seed", "unit", "method"}`.
    """
    read = read_exact(store)
    if read is None:
        return None
    world, cells = read
    best, reference = world["optimum"], world["reference"]
    return {
        **{name: world[name] for name in ("beta", "prompts", "completions")},
        "optimum": best | {"gap": 0.0, "gain_share": 1.0},
        "reference": reference | {"gap": best["objective"] - reference["objective"], "gain_share": 0.0},
        "frontier": world["frontier"],
        "seeds": store.seeds,
        "rows": {each.cell.spec: _row(each, store.seeds) for each in cells},
        "comparisons": _comparisons(cells, store.seeds),
    }


def _row(each: ExactCell, seeds: Sequence[int]) -> Json:
    ceiling = {name: _metric(each, name, seeds, "ceiling") for name in FIGURES}
    limit: Json = next((found["limit"] for found in each.found.values() if found.get("limit")), {})
    known = all(_finite(limit.get(name)) for name in FIGURES)
    return {
        "status": "failed" if not each.found else "partial" if each.holes else "done",
        "reason": "; ".join(f"seed {seed}: {why}" for seed, why in each.holes.items()) or None,
        "seeds": list(each.found),
        **{name: _metric(each, name, seeds) for name in FIGURES},
        "limit": {name: limit[name] for name in FIGURES} if known else None,
        "ceiling": ceiling if ceiling["gain_share"] else None,
        "loss": _loss(each, seeds) if each.found else None,
        "curve": _curve(each, seeds),
    }


def _metric(each: ExactCell, name: str, seeds: Sequence[int], of: str | None = None) -> Json | None:
    return over_seeds(each.figures(name, of), seeds, *FIGURES[name])


def _loss(each: ExactCell, seeds: Sequence[int]) -> Json:
    """Where 1 - gain share goes: `{"rest": metric, "parts": [{"part", "limit_known", ...metric}, ...]}`.

    On a trained reward model: `1 - share(ceiling)`, what the best policy under that reward model lacks, and
    `share(ceiling) - share`. Else where the limit is known: `1 - share(limit)`, and `share(limit) - share`. Parts add
    up to the rest and can be negative: a policy may be better than what its training was heading for.
    """
    share, ceiling, limit = (each.figures("gain_share", of) for of in (None, "ceiling", "limit"))
    unit = "share of the gain of the optimum"

    def part(name: str, values: Mapping[int, float], ends: Ends = OPEN) -> Json:
        found = over_seeds(values, seeds, unit, ends)
        assert found is not None
        return {"part": name, **found}

    rest = over_seeds({seed: 1 - value for seed, value in share.items()}, seeds, unit, (0.0, None))
    if len(ceiling) == len(share):
        # At another price of the KL than the world's, or without a known limit, more than optimisation is left.
        whole = limit and all(value > AT_OPTIMUM for value in limit.values())
        parts = [
            part("reward", {seed: 1 - value for seed, value in ceiling.items()}, (0.0, None)),
            part("training" if whole else "both", {seed: ceiling[seed] - value for seed, value in share.items()}),
        ]
    elif len(limit) == len(share):
        trained = "training" if "gold" in (each.cell.needs or ()) else "data"
        own = {seed: 1 - value if value < AT_OPTIMUM else 0.0 for seed, value in limit.items()}
        left = (0.0, None) if not any(own.values()) else OPEN  # nothing is better than the optimum
        parts = [part("own", own), part(trained, {seed: 1 - own[seed] - value for seed, value in share.items()}, left)]
    else:
        parts = [part("unknown", {seed: 1 - value for seed, value in share.items()}, (0.0, None))]
    return {"rest": rest, "parts": parts}


def _curve(each: ExactCell, seeds: Sequence[int]) -> list[Json]:
    """The points during training that all seeds have, the mean of each quantity and its values by seed."""
    ways = {seed: found.get("curve") or [] for seed, found in each.found.items()}
    points = []
    for i in range(min((len(way) for way in ways.values()), default=0)):
        rows = {seed: way[i] for seed, way in ways.items()}
        point: Json = {name: float(np.mean([row[name] for row in rows.values()])) for name in ("step", "completions")}
        for name in CURVE:
            values = [row[name] for row in rows.values()]
            mean = float(np.mean(values)) if all(_finite(value) for value in values) else None
            point[name] = {"value": mean, "per_seed": [rows[s][name] if s in rows else None for s in seeds]}
        points.append(point)
    return points


def _comparisons(cells: Sequence[ExactCell], seeds: Sequence[int]) -> list[Json]:
    """Every two specs on the gain share, Holm-adjusted together; one seed left of several makes no pair."""
    shares = {each.cell.spec: each.figures("gain_share") for each in cells}
    pairs = (compare(a, b, shares[a], shares[b], seeds) for a, b in combinations(shares, 2))
    found = [each for each in pairs if each is not None and enough(each["seeds"], seeds)]
    adjust(found)
    return found
