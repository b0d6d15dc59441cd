"""What each judge has answered, what it cost, and whether it takes the longer of two completions for the better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from ..matches import total
from ..records import Verdict
from ..results import Json
from .contests import OPPONENTS, Contests, answers
from .judging import Ratings, held_out_verdicts, judge_quality, label_votes, raw
from .measures import matches_of
from .store import Store


def judges_of(contests: Contests) -> Json:
    """`judge_quality` and the habits of every judge of the run, the headline first."""
    quality = judge_quality(contests.store)
    for judge, found in quality.items():
        found["held_out"]["longer_wins"] = _longer_wins_held_out(contests.store, judge)
        found.update(_habits(contests, judge))
    return quality


def _habits(contests: Contests, judge: str) -> Json:
    """`answers` counts those to everything it was asked, both orders; the shares are of the rows against the reference.

    `usage` is None where nothing is counted; `missing` says what it has not compared.
    """
    played = contests.all_of(judge)
    shown = answers([match for cell in contests.store.cells for match in matches_of(cell, judge).values()])
    asked = sum(shown.values())
    usage = total([match.usage for match in played])
    return {
        **{kind: shown[kind] / asked if asked else None for kind in ("refused", "unparsed", "unanswered")},
        "ties": shown["tie"] / asked if asked else None,
        "longer_wins": _longer_wins(contests, judge),
        "answers": answers(played),
        "usage": None if usage is None else asdict(usage),
        "problems": list(dict.fromkeys(problem for match in played for problem in match.problems)),
        "missing": list(_missing(contests, judge)),
    }


def _missing(contests: Contests, judge: str) -> Iterator[str]:
    """Comparisons at temperature 1 that this judge has not made, of those that any judge has made."""
    store = contests.store
    for cell in store.cells:
        for against in OPPONENTS:
            known = {seed for other in store.judges for seed in matches_of(cell, other, against)}
            if against == OPPONENTS[0]:
                known |= {record.seed for record in cell.evaluated}
            holes = sorted(known - set(matches_of(cell, judge, against)))
            if holes:
                yield f"{cell.spec} against the {against}, seed {', '.join(map(str, holes))}"


def _longer_wins(contests: Contests, judge: str) -> Json | None:
    """The share of its decided verdicts, on rows against the reference, that go to the longer completion.

    Decided: the two orders together favour one side. Pairs of equal length are left out.
    """
    won: list[bool] = []
    longer: list[bool] = []
    prompts: list[int] = []
    for cell in contests.store.cells:
        for record in cell.evaluated:
            match = record.matches.get((judge, OPPONENTS[0]))
            ours, theirs = record.values("length"), record.values("reference_length")
            if match is None or ours is None or theirs is None:
                continue
            for place, (verdict, a, b) in enumerate(zip(match.verdicts, ours, theirs, strict=True)):
                if a != b and verdict.score != 0.5:
                    won.append(verdict.score > 0.5)
                    longer.append(a > b)
                    prompts.append(place)
    return _share(won, longer, prompts, f"{judge}/longer")


def _longer_wins_held_out(store: Store, judge: str) -> Json | None:
    """The same on held-out pairs, whose lengths are in characters."""
    verdicts = held_out_verdicts(store, judge)
    decided = [(verdict, pair) for pair, verdict in enumerate(verdicts) if verdict.score != 0.5]
    return _of_pairs(store, [(_first(v), pair) for v, pair in decided], f"{judge}/held-out/longer")


def labels_longer_wins(store: Store) -> Json | None:
    """How often the labels of held-out pairs go to the longer completion, each annotator's vote by itself."""
    if not (store.held_out or {}).get("votes"):
        return None
    labels, pairs = label_votes(store)
    return _of_pairs(store, list(zip((labels > 0.5).tolist(), pairs.tolist(), strict=True)), "labels/longer")


def _of_pairs(store: Store, chosen_won: list[tuple[bool, int]], purpose: str) -> Json | None:
    lengths = (store.held_out or {}).get("lengths")
    if lengths is None:
        return None
    unequal = [(won, pair) for won, pair in chosen_won if lengths[pair][0] != lengths[pair][1]]
    longer = [lengths[pair][0] > lengths[pair][1] for _, pair in unequal]
    return _share([won for won, _ in unequal], longer, [pair for _, pair in unequal], purpose)


def _first(verdict: Verdict) -> bool:
    return verdict.score > 0.5


def _share(won: list[bool], longer: list[bool], prompts: list[int], purpose: str) -> Json | None:
    """How often the first of two wins where it is the longer and loses where it is not, resampled by prompt."""
    if not won:
        return None
    ratings = Ratings(np.array(won, dtype=np.float64), np.array(longer, dtype=np.float64), np.array(prompts))
    return raw(ratings, purpose) | {"unit": "share"}
