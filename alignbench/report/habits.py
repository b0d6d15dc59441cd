"""What each judge has answered, what it cost, and whether it takes the longer of two completions for the better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from ..judges.length import length
from ..matches import total
from ..records import Verdict
from ..results import Json
from .contests import OPPONENTS, Contests, answers
from .judging import Ratings, held_out_verdicts, judge_quality, label_votes, raw
from .measures import matches_of
from .store import Store

Lengths = dict[tuple[str, int], list[int]]


def judges_of(contests: Contests) -> Json:
    """`judge_quality` and the habits of every judge of the run, the headline first."""
    quality, lengths = judge_quality(contests.store), _lengths(contests.store)
    for judge, found in quality.items():
        found["held_out"]["longer_wins"] = _longer_wins_held_out(contests.store, judge)
        found.update(_habits(contests, judge, lengths))
    return quality


def _habits(contests: Contests, judge: str, lengths: Lengths) -> Json:
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
        "longer_wins": _longer_wins(contests, judge, lengths),
        "answers": answers(played),
        "usage": None if usage is None else asdict(usage),
        "problems": list(dict.fromkeys(problem for match in played for problem in match.problems)),
        "missing": list(_missing(contests, judge)),
    }


def _missing(contests: Contests, judge: str) -> Iterator[str]:
    """What this judge has not compared, of what the run compares and has the files for, or another judge has."""
    store = contests.store
    for player, opponent, t in contests.pairings():
        known = {seed for seed in store.seeds if _to_compare(store, player, opponent, t, seed)}
        known |= {seed for other in store.judges for seed in contests.by_seed(other, player, opponent, t)}
        holes = sorted(known - set(contests.by_seed(judge, player, opponent, t)))
        if holes:
            at = "" if t == 1 else f" at temperature {t:g}"
            yield f"{_named(player)}{at} against {_named(opponent)}, seed {', '.join(map(str, holes))}"
    if store.held_out is not None and judge not in store.held_out["verdicts"]:
        yield "the held-out pairs"


def _to_compare(store: Store, player: str, opponent: str, temperature: float, seed: int) -> bool:
    """Whether every judge of the run is asked for this comparison: a run says what it compares samples with."""
    kind = opponent if opponent in OPPONENTS else "each-other"
    files = store.file(player, seed, temperature), store.file(opponent, seed)
    there = all(file is not None and (store.folder / file).exists() for file in files)
    return there and files[0] != files[1] and kind in store.run.get("config", {}).get("against", (kind,))


def _named(player: str) -> str:
    return f"the {player}" if player in OPPONENTS else player


def _lengths(store: Store) -> Lengths:
    """The characters of every sample of temperature 1, by player and seed."""
    players = [OPPONENTS[0], *(cell.spec for cell in store.cells)]
    files = {(player, seed): store.file(player, seed) for player in players for seed in store.seeds}
    return {
        key: [length(row["completion"]) for row in store.rows(*key)]
        for key, file in files.items()
        if file is not None and (store.folder / file).exists()
    }


def _longer_wins(contests: Contests, judge: str, lengths: Lengths) -> Json | None:
    """The share of its decided verdicts, on rows against the reference, that go to the longer completion.

    Decided: the two orders together favour one side. Lengths are in characters, as those of held-out pairs are; pairs
    of equal length are left out.
    """
    won: list[bool] = []
    longer: list[bool] = []
    prompts: list[int] = []
    seeds: list[int] = []
    for cell in contests.store.cells:
        for seed, match in matches_of(cell, judge).items():
            ours, theirs = (lengths.get((player, seed)) for player in (cell.spec, OPPONENTS[0]))
            if ours is None or theirs is None:
                continue
            for place, (verdict, a, b) in enumerate(zip(match.verdicts, ours, theirs, strict=True)):
                if a != b and verdict.score != 0.5:
                    won.append(verdict.score > 0.5)
                    longer.append(a > b)
                    prompts.append(place)
                    seeds.append(seed)
    return _share(won, longer, prompts, seeds, f"{judge}/longer")


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
    return _share([won for won, _ in unequal], longer, [pair for _, pair in unequal], None, purpose)


def _first(verdict: Verdict) -> bool:
    return verdict.score > 0.5


def _share(
    won: list[bool], longer: list[bool], prompts: list[int], seeds: list[int] | None, purpose: str
) -> Json | None:
    """How often the first of two wins where it is the longer and loses where it is not."""
    if not won:
        return None
    columns = np.array(won, dtype=np.float64), np.array(longer, dtype=np.float64), np.array(prompts)
    return raw(Ratings(*columns, None if seeds is None else np.array(seeds)), purpose) | {"unit": "share"}
