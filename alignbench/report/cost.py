"""What a row cost: seconds by phase, forwards and tokens; nothing of it is an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..results import Json
from .contests import Contests
from .store import CellRecord, SeedRecord, Store
from .text import count

PHASES = ("stage", "train", "sample", "score", "evaluate")
UNITS = {
    "seconds": "s",
    "steps": "optimizer steps",
    "completions": "completions",
    "tokens": "tokens",
    "sampled_tokens": "tokens",
    "policy_forwards": "sequences",
    "reference_forwards": "sequences",
    "tokens_trained": "tokens",
    "tokens_saved": "tokens",
    "peak_memory_mb": "MB",
}


def cost(contests: Contests, cell: CellRecord) -> Json:
    """What a row cost, the mean over the seeds that finished; what an earlier version did not record is None.

    `seconds` are those of training. `phases` add to them the evaluation, on the way and at the end, with all judges'
    verdicts against the reference and the chosen (those of two rows on each other are no single row's), and the
    stages that the row needs: the starting model, the data, the reference's cache and the seed's reward model, where
    it reads those. Rows that share a stage have it counted in full each. `cached_forwards`: the sequences that the
    reference read for the cache, once for all rows.
    """
    store = contests.store
    training = {record.seed: record.train.get("cost", {}) for record in cell.evaluated}
    result: Json = {
        name: _mean(store, {seed: found.get(name) for seed, found in training.items()}, unit)
        for name, unit in UNITS.items()
    }
    judging = dict.fromkeys(training, 0.0)
    for seed, match in contests.judged(cell.spec):
        if seed in judging:  # its samples may have been judged although what was measured on them is gone
            judging[seed] += match.seconds
    phases = {record.seed: _phases(store, cell, record, judging[record.seed]) for record in cell.evaluated}
    result["phases"] = {
        name: _mean(store, {seed: found[name] for seed, found in phases.items()}, "s") for name in PHASES
    }
    cache: Json = next((stage for stage in store.run.get("stages", []) if stage["name"] == "cache"), {})
    result["cached_forwards"] = cache.get("reference_forwards") if "reference" in (cell.needs or ()) else None
    return result


def _mean(store: Store, found: Mapping[int, float | None], unit: str) -> Json:
    values = [value for value in found.values() if value is not None]
    mean = float(np.mean(values)) if values else None
    return {"value": mean, "per_seed": [found.get(seed) for seed in store.seeds], "unit": f"{unit} per seed"}


def _phases(store: Store, cell: CellRecord, record: SeedRecord, judging: float) -> dict[str, float | None]:
    found: Json = record.train.get("cost", {}).get("phases", {})
    seconds: Json = (record.evaluation or {}).get("seconds", {})
    evaluation = [found.get("evaluate"), seconds.get("samples"), judging]
    return {
        "stage": _sum([stage.get("seconds") for stage in _stages(store, cell, record.seed)]),
        **{name: found.get(name) for name in ("train", "sample", "score")},
        "evaluate": _sum(evaluation),
    }


def _stages(store: Store, cell: CellRecord, seed: int) -> list[Json]:
    """The stages that a cell was trained with, as `run.json` lists them; not those of the judges."""
    if cell.needs is None:
        return []
    asked = {"reference": "cache", "reward": f"reward seed {seed}"}
    names = {"start", "data", *(stage for need, stage in asked.items() if need in cell.needs)}
    return [stage for stage in store.run.get("stages", []) if stage["name"] in names]


def _sum(parts: Sequence[float | None]) -> float | None:
    """None where a part is not known, or there is none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def cost_lines(summary: Json) -> list[str]:
    """One line a row: sequences and tokens that were read, and what sharing prompts has saved."""
    lines = []
    for row in summary["rows"]:
        found = row["cost"]
        policy, reference, trained, saved = (
            found[name]["value"] for name in ("policy_forwards", "reference_forwards", "tokens_trained", "tokens_saved")
        )
        if None in (policy, reference, trained, saved):
            continue
        cached = found["cached_forwards"]
        cache = f" (its cache, for all rows: {count(cached)})" if cached is not None else ""
        share = f" ({saved / (trained + saved):.0%})" if saved else ""
        lines.append(
            f"{row['spec']}: forwards: policy {count(policy)}, reference {count(reference)}{cache}; "
            f"tokens: trained {count(trained)}, saved by sharing prompts {count(saved)}{share}"
        )
    return lines
