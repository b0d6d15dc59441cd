"""Win rates as they would be had every policy written as much as the reference."""

from __future__ import annotations

import numpy as np

from .. import stats
from ..results import Json
from .contests import Contests
from .measures import Floats, blank, generator, matches_of, usable_scores
from .store import CellRecord, Store


def length_controlled(contests: Contests) -> Json:
    """By judge: `win_rate_length_controlled` of each spec, `length_slope`, the shared effect of length, and the seeds.

    One joint fit over all specs that this judge has judged, on the seeds that all of them have.
    """
    return {judge: _of_judge(contests.store, judge) for judge in contests.store.judges}


def _of_judge(store: Store, judge: str) -> Json:
    there = {cell.spec: cell for cell in store.cells if usable_scores(matches_of(cell, judge)) is not None}
    rates: dict[str, Json | None] = {cell.spec: None for cell in store.cells}
    seeds = [seed for seed in store.seeds if all(seed in matches_of(cell, judge) for cell in there.values())]
    nothing: Json = {"win_rate_length_controlled": rates, "length_slope": None, "length_seeds": None}
    if not there:
        return nothing
    data = {spec: _data(cell, judge, seeds) for spec, cell in there.items()}
    known = {spec: found for spec, found in data.items() if found is not None}
    if not known or not seeds:
        reason = "no seed has the verdicts of all specs" if not seeds else "lengths were not measured"
        rates |= {spec: blank(0, len(store.seeds), "share", f"not identified: {reason}") for spec in there}
        return nothing
    scores, lengths = ([found[i].T for found in known.values()] for i in (0, 1))
    fitted = stats.length_controlled(scores, lengths, generator(f"{judge}/length-controlled"))
    for spec, estimate, why, won in zip(known, fitted.rates, fitted.why, scores, strict=True):
        if estimate is None:
            rates[spec] = blank(won.size, len(store.seeds), "share", f"not identified: {why}")
        else:
            rates[spec] = estimate.as_dict() | {"unit": "share", "judge": judge}
    slope = fitted.slope.as_dict() | {"unit": "logits"}
    return {"win_rate_length_controlled": rates, "length_slope": slope, "length_seeds": seeds}


def _data(cell: CellRecord, judge: str, seeds: list[int]) -> tuple[Floats, Floats] | None:
    """Scores and differences in length, `[S, P]` each; None where lengths are not known."""
    matches = matches_of(cell, judge)
    by_seed = {record.seed: record for record in cell.evaluated}
    lengths = [[by_seed[seed].values(name) for seed in seeds] for name in ("length", "reference_length")]
    if any(row is None for rows in lengths for row in rows):
        return None
    ours, theirs = (np.array(rows, dtype=np.float64) for rows in lengths)
    won = usable_scores({seed: matches[seed] for seed in seeds}) if seeds else None
    return None if won is None or won.shape != ours.shape else (won, ours - theirs)
