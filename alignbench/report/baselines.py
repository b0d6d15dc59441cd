"""What a policy should be held against: the reference itself, and the best of n of its samples by the reward model."""

from __future__ import annotations

import numpy as np

from .. import stats
from ..results import Json
from .contests import Contests, best_of
from .measures import metric, rate
from .store import CHOSEN, REFERENCE, Store

UNITS = {"reward": "benchmark reward", "proxy_reward": "reward-model score", "length": "tokens", "unfinished": "share"}
BOUND = "analytic bound log n - (n - 1) / n (arXiv:2009.01325), not measured"


def baselines(contests: Contests, reference: Json) -> list[Json]:
    """The reference, whose KL is 0, then best-of-n in the order of n, whose KL is the analytic bound, marked so.

    `win_rate` and `win_rate_chosen` are the headline judge's, `judges` has them by every judge. `reference` holds what
    was measured on the reference's own samples.
    """
    own = {name: reference[name] for name in ("reward", "proxy_reward", "length")}
    kl = {"value": 0.0, "bound": False, "unit": "nats per completion", "method": "by definition"}
    unfinished = measured(contests.store, REFERENCE)["unfinished"]
    first = {"spec": REFERENCE, "n": None, "kl": kl, **own, "unfinished": unfinished}
    rows = [first, *(_best_of(contests.store, n) for n in contests.store.best_of)]
    return [row for row in (row | _rates(contests, row["spec"]) for row in rows) if _known(row)]


def _known(row: Json) -> bool:
    """Whether anything is known of it."""
    measured = any(row[name] for name in ("reward", "proxy_reward", "length"))
    return measured or any(rate for found in row["judges"].values() for rate in found.values())


def _best_of(store: Store, n: int) -> Json:
    kl = {"value": stats.best_of_n_kl(n), "bound": True, "unit": "nats per completion", "method": BOUND}
    return {"spec": best_of(n), "n": n, "kl": kl, **measured(store, best_of(n))}


def measured(store: Store, player: str, bootstrap: bool = False) -> Json:
    """The means over its samples, of every seed that it has; None where they lack a quantity."""
    rows = {seed: found for seed in store.seeds if (found := store.rows(player, seed))}
    result: Json = {}
    for name, unit in UNITS.items():
        read = "ended" if name == "unfinished" else name
        values = [[row.get(read) for row in found] for found in rows.values()]
        if not values or any(value is None for row in values for value in row):
            result[name] = None
            continue
        shown = np.array(values, dtype=np.float64)
        bounds = (0.0, 1.0) if name == "unfinished" else None
        shown = 1 - shown if name == "unfinished" else shown
        result[name] = metric(shown, list(rows), store.seeds, unit, f"{player}/{name}", bounds, bootstrap)
    return result


def _rates(contests: Contests, player: str) -> Json:
    seeds = contests.store.seeds
    found = {
        judge: {
            "win_rate" if against == REFERENCE else "win_rate_chosen": rate(
                contests.by_seed(judge, player, against), seeds, judge, f"{player}/{judge}/{against}", bootstrap=False
            )
            for against in (REFERENCE, CHOSEN)
        }
        for judge in contests.store.judges
    }
    headline: Json = found.get(contests.store.run["headline"], {"win_rate": None, "win_rate_chosen": None})
    return {**headline, "judges": found}
