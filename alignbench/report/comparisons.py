"""Which rows differ: every two of them on the headline win rate, and each from the reference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np

from .. import stats
from ..results import Json
from .measures import Floats, generator, matches_of, scores
from .store import CellRecord, Store

ALPHA = 0.05
SEEDS_FOR_SHAPE = 5  # from so many seeds on, figures of the distribution over seeds are given


def comparisons(store: Store, judges: Json) -> list[Json]:
    """All pairs of rows on the headline win rate, on the seeds that both have, Holm-adjusted together.

    In a run of several seeds a pair that shares only one is left out: its test would know nothing of the variance
    between seeds, and so claim more than those of whole pairs.
    """
    found = [result for a, b in combinations(_usable(store, judges), 2) if (result := _compare(store, a, b))]
    for result in found:
        # The size that Holm's procedure asks of the pair with the smallest p: it leaves no pair with less.
        first, second = result.pop("scores")
        result["needed"] = stats.needed(first, second, level=ALPHA / len(found)).as_dict()
    for result, adjusted in zip(found, stats.holm([result["p"] for result in found]), strict=True):
        result["p_holm"] = float(adjusted)
        result["significant"] = bool(adjusted < ALPHA)
    return found


def _usable(store: Store, judges: Json) -> list[CellRecord]:
    """The rows with a headline win rate."""
    rates = judges.get(store.run["headline"], {}).get("win_rate", {})
    return [cell for cell in store.cells if (rates.get(cell.spec) or {}).get("value") is not None]


def enough(seeds: Collection[int], of_run: Sequence[int]) -> bool:
    """Whether these seeds can carry a claim: two of them, or the one of a run that has no other."""
    return len(seeds) >= min(2, len(of_run))


def _compare(store: Store, a: CellRecord, b: CellRecord) -> Json | None:
    judge = store.run["headline"]
    both = [matches_of(cell, judge) for cell in (a, b)]
    shared = [seed for seed in store.seeds if all(seed in found for found in both)]
    if not enough(shared, store.seeds):
        return None
    first, second = (scores({seed: found[seed] for seed in shared}) for found in both)
    name = f"{a.spec}/{b.spec}/{judge}"
    difference = stats.paired_difference(first.T, second.T, generator(name))
    shown = difference.as_dict()
    return {
        "a": a.spec,
        "b": b.spec,
        "metric": "win_rate",
        "judge": judge,
        "difference": {key: shown[key] for key in ("value", "low", "high", "n", "method")} | {"unit": "share"},
        "p": difference.p_headline,
        "p_sign_flip": difference.p_value,
        "p_t": difference.p_value_t,
        "mcnemar": stats.mcnemar(first[0], second[0]) if len(shared) == 1 else None,
        "probability_of_improvement": _improvement(first, second),
        "scores": (first.T, second.T),
        "prompts": first.shape[1],
        "seeds": shared,
    }


def _improvement(first: Floats, second: Floats) -> Json | None:
    """The chance that a seed of the first has the higher win rate than a seed of the second, from five seeds on."""
    if len(first) < SEEDS_FOR_SHAPE:
        return None
    found = stats.probability_of_improvement(first.mean(axis=1), second.mean(axis=1))
    return found.as_dict() | {"unit": "share"}


def interquartile_mean(rate: Json | None, name: str) -> Json | None:
    """The mean of the middle half of the seeds' win rates, from five seeds on."""
    known = [value for value in (rate or {}).get("per_seed", []) if value is not None]
    if len(known) < SEEDS_FOR_SHAPE:
        return None
    rng = generator(f"{name}/interquartile")
    return stats.interquartile_mean(known, rng, bounds=(0, 1)).as_dict() | {"unit": "share"}


def over_reference(store: Store, judges: Json) -> dict[str, Json]:
    """Which rows' headline win rates differ from 1/2: `better` or `worse` by the test that decides about pairs.

    Of several rows a claim would be wrong more often than once in twenty, so their tests are Holm-adjusted too, in a
    family of their own. A row that has too few seeds for a claim (see `comparisons`) has no entry.
    """
    judge = store.run["headline"]
    found: dict[str, Json] = {}
    for cell in _usable(store, judges):
        matches = matches_of(cell, judge)
        if not enough(matches, store.seeds):
            continue
        won = scores(matches).T
        tested = stats.paired_difference(won, np.full_like(won, 0.5), generator(f"{cell.spec}/{judge}/half"))
        found[cell.spec] = {"p": tested.p_headline, "difference": tested.value}
    for result, adjusted in zip(found.values(), stats.holm([each["p"] for each in found.values()]), strict=True):
        gain, clear = result.pop("difference"), bool(adjusted < ALPHA)
        result |= {"p_holm": float(adjusted), "better": clear and gain > 0, "worse": clear and gain < 0}
    return found
