"""Win rates by sampling temperature: the figure of the DPO paper (arXiv:2305.18290, figure 2)."""

from __future__ import annotations

from ..results import Json
from .contests import OPPONENTS, Contests
from .measures import rate
from .store import REFERENCE


def temperatures(contests: Contests) -> Json:
    """By judge and opponent, the win rate of each player at each temperature; the opponent stays at temperature 1.

    Empty where samples were drawn at temperature 1 alone. The reference at 1 is not compared with itself.
    """
    store = contests.store
    if len(store.temperatures) < 2:
        return {}
    found = {judge: {against: _of(contests, judge, against) for against in OPPONENTS} for judge in store.judges}
    return {judge: each for judge, each in found.items() if any(each.values())}


def _of(contests: Contests, judge: str, against: str) -> Json:
    found: Json = {}
    for player in (*contests.specs, REFERENCE):
        rates = {
            f"{t:g}": rate(
                contests.by_seed(judge, player, against, t),
                contests.store.seeds,
                judge,
                f"{player}/{judge}/{against}" + (f"/T{t:g}" if t != 1 else ""),
                bootstrap=False,
            )
            for t in contests.store.temperatures
        }
        known = {t: each for t, each in rates.items() if each is not None}
        found |= {player: known} if known else {}
    return found
