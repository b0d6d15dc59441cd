"""Answers to probes that the page shows, before and after: chosen by two rules, stated on the page, not by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..results import Json
from .measures import generator
from .probes import groups_of, quantity, read_probes, right
from .statements import counted
from .store import Store

MOST, DRAWN = 2, 3  # probes of a group: of each spec those that changed most, and some by chance
LARGEST = (
    f"Of each spec at most {counted(MOST)}: those whose scores changed most, in sum; of equals, the larger change in "
    f"the log-prob of a token, then the earlier probe."
)
CHANCE = "Drawn from the others by a fixed seed, the same for all specs."
Rows = Mapping[str, Sequence[Json]]  # by spec, of one seed


def examples(store: Store) -> Json | None:
    """`{"seed", "missing", "groups": [{"group", "sets": [{"title", "rule", "rows"}]}]}`, or None without answers.

    The seed is the first of those that the most specs have. `missing` names the specs that do not have it.
    """
    read = read_probes(store)
    if read is None or not any(each.found for each in read[1]):
        return None
    rows, cells = read
    seed = max(store.seeds, key=lambda s: (sum(s in each.found for each in cells), -store.seeds.index(s)))
    found = {each.cell.spec: each.found[seed] for each in cells if seed in each.found}
    return {
        "seed": seed,
        "missing": [each.cell.spec for each in cells if seed not in each.found],
        "groups": [
            {"group": group, "sets": _sets(group, rows, places, found)} for group, places in groups_of(rows).items()
        ],
    }


def _sets(group: str, rows: Sequence[Json], places: Sequence[int], found: Rows) -> list[Json]:
    most = {spec: _most_changed(rows, places, after) for spec, after in found.items()}
    largest = [(spec, place) for spec, chosen in most.items() for place in chosen]
    left = [place for place in places if all(place not in chosen for chosen in most.values())]
    rng = generator(f"probes/examples/{group}")
    drawn = sorted(rng.choice(len(left), min(DRAWN, len(left)), replace=False).tolist()) if left else []
    by_chance = [(spec, left[each]) for each in drawn for spec in found]
    sets = [("the largest changes", LARGEST, largest), ("by chance", CHANCE, by_chance)]
    return [
        {"title": title, "rule": rule, "rows": [_shown(rows, places, place, spec, found) for spec, place in chosen]}
        for title, rule, chosen in sets
        if chosen
    ]


def _most_changed(rows: Sequence[Json], places: Sequence[int], after: Sequence[Json]) -> list[int]:
    """The probes that changed at all, those that changed most first."""
    changes = {place: distance(rows[place], after[place]) for place in places}
    moved = [place for place in places if changes[place] > (0.0, 0.0)]
    return sorted(moved, key=lambda place: (*(-each for each in changes[place]), place))[:MOST]


def distance(before: Json, after: Json) -> tuple[float, float]:
    """How far an answer moved: sum of |change| over its scores, and |change| in log-prob for each token; what is not
    finite counts as 0."""
    quantities = [[f"score {name}" for name in before["scores"]], ["token"]]
    scores, logp = (math.fsum(abs(_change(before, after, of) or 0.0) for of in each) for each in quantities)
    return scores, logp


def _change(before: Json, after: Json, of: str) -> float | None:
    found = quantity(after, of) - quantity(before, of)
    return found if math.isfinite(found) else None


def _shown(rows: Sequence[Json], places: Sequence[int], place: int, spec: str, found: Rows) -> Json:
    """A probe with the answers of the reference and of a spec, and what these are worth."""
    before, after = rows[place], found[spec][place]
    was, now = right(before), right(after)
    return {
        "spec": spec,
        "number": places.index(place) + 1,
        "of": len(places),
        "prompt": before["prompt"],
        "answer": before["answer"],
        "before": _answer(before),
        "after": _answer(after),
        "scores": [
            {"name": name, "before": value, "after": after["scores"][name]} for name, value in before["scores"].items()
        ],
        "logp": {"before": before["logp"], "after": after["logp"]},
        "verdict": "forgotten" if was and not now else "learned" if now and not was else "",
    }


def _answer(row: Json) -> Json:
    return {"text": row["completion"], "ended": row["ended"], "right": right(row)}
