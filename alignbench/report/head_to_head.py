"""Every two specs and the reference against each other, judged on the same prompts."""

from __future__ import annotations

import numpy as np

from .. import stats
from ..results import Json
from .contests import Contests
from .measures import aligned, generator, rate, usable_scores
from .store import REFERENCE

Matrix = list[list[Json | None]]


def head_to_head(contests: Contests) -> Json:
    """By judge: `players`, `win_rate[i][j]` of player i over player j, and Bradley-Terry `strengths`.

    A judge that has not compared any two specs has no entry.
    """
    found = {judge: _of_judge(contests, judge) for judge in contests.store.judges}
    return {judge: each for judge, each in found.items() if each is not None}


def _of_judge(contests: Contests, judge: str) -> Json | None:
    players = [*contests.specs, REFERENCE]
    rates: Matrix = [[None] * len(players) for _ in players]
    for i, a in enumerate(players):
        for j, b in enumerate(players[i + 1 :], start=i + 1):
            found = rate(
                contests.by_seed(judge, a, b), contests.store.seeds, judge, f"{judge}/{a}/{b}/head to head", False
            )
            rates[i][j], rates[j][i] = found, _turned(found)
    own = [rates[i][j] for i in range(len(players) - 1) for j in range(i)]  # of specs, the reference is the last
    if not any(own):
        return None
    return {"players": players, "win_rate": rates} | _strengths(contests, judge, players)


def _turned(found: Json | None) -> Json | None:
    """The rate of the opponent: what one wins the other loses."""
    if found is None:
        return None
    turned = {key: None if found[key] is None else 1 - found[key] for key in ("value",)}
    turned |= {a: None if found[b] is None else 1 - found[b] for a, b in (("low", "high"), ("high", "low"))}
    per_seed = [None if value is None else 1 - value for value in found["per_seed"]]
    return found | turned | {"per_seed": per_seed, "bounds": [1 - found["bounds"][1], 1 - found["bounds"][0]]}


def _strengths(contests: Contests, judge: str, players: list[str]) -> Json:
    """Bradley-Terry strengths over the matches, on the seeds and prompts that all of them have."""
    games = [(i, j) for i in range(len(players)) for j in range(i + 1, len(players))]
    found = {(i, j): contests.by_seed(judge, players[i], players[j]) for i, j in games}
    used = {game: matches for game, matches in found.items() if aligned(matches) and usable_scores(matches) is not None}
    seeds = [seed for seed in contests.store.seeds if all(seed in matches for matches in used.values())]
    met = {player for game in used for player in game}
    none: Json = {"strengths": [None] * len(players)}
    if len(met) < len(players) or not _connected(len(players), list(used)):
        return none | {"strengths_reason": "some players were not compared with the others"}
    if not seeds:
        return none | {"strengths_reason": "no seed has all comparisons"}
    rows = [usable_scores({seed: matches[seed] for seed in seeds}) for matches in used.values()]
    if any(row is None for row in rows):
        return none | {"strengths_reason": "too many answers cannot be used"}
    played = np.stack([row.T for row in rows if row is not None])
    rng = generator(f"{judge}/strengths")
    strengths = stats.bradley_terry(len(players), list(used), played, rng)
    return {"strengths": [each.as_dict() | {"unit": "logits"} for each in strengths], "strengths_seeds": seeds}


def _connected(players: int, games: list[tuple[int, int]]) -> bool:
    """Whether every player can be reached from the first: strengths of two islands have no common scale."""
    reached, before = {0}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {player for game in games if reached & set(game) for player in game}
    return len(reached) == players
