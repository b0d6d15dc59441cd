"""What the judges of a run compared, each file of verdicts read once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from ..matches import Match, held_out_names, read_match
from ..records import Outcome
from .store import CHOSEN, REFERENCE, Store

OPPONENTS = (REFERENCE, CHOSEN)


def best_of(n: int) -> str:
    """The player that is the best of `n` samples from the reference."""
    return f"best-of-{n}"


class Contests:
    """A judge's matches by player, opponent and temperature, for the seeds that have them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.specs = [cell.spec for cell in store.cells if cell.evaluated]
        self._known: dict[tuple[str, str, str, float], dict[int, Match]] = {
            (judge, cell.spec, against, 1.0): {
                record.seed: record.matches[judge, against]
                for record in cell.evaluated
                if (judge, against) in record.matches
            }
            for cell in store.cells
            for judge in store.judges
            for against in OPPONENTS
        }

    def by_seed(self, judge: str, player: str, opponent: str, temperature: float = 1.0) -> dict[int, Match]:
        """The verdicts on a player against an opponent at temperature 1; "first" is the player."""
        key = (judge, player, opponent, temperature)
        if key not in self._known:
            self._known[key] = self.store.by_seed(judge, player, opponent, temperature)
        return self._known[key]

    def pairings(self) -> Iterator[tuple[str, str, float]]:
        """Player, opponent and temperature of all that can have been compared."""
        baselines = [best_of(n) for n in self.store.best_of]
        for opponent in OPPONENTS:
            for player in (*self.specs, REFERENCE):
                yield from ((player, opponent, t) for t in self.store.temperatures)
            yield from ((player, opponent, 1.0) for player in baselines)
        yield from ((a, b, 1.0) for a, b in combinations(self.specs, 2))

    def all_of(self, judge: str) -> list[Match]:
        """Every match of a judge, that on the held-out pairs among them."""
        found = [match for pairing in self.pairings() for match in self.by_seed(judge, *pairing).values()]
        file, folder = self.store.run.get("held_out"), self.store.folder / self.store.run["judges"][judge]
        held_out = read_match(folder, *held_out_names(file)) if file else None
        return found if held_out is None else [*found, held_out]

    def judged(self, player: str) -> list[tuple[int, Match]]:
        """Every judge's matches of a player with the reference and the chosen, each with its seed."""
        return [
            found
            for judge in self.store.judges
            for who, opponent, t in self.pairings()
            if who == player and opponent in OPPONENTS
            for found in self.by_seed(judge, who, opponent, t).items()
        ]


def answers(matches: list[Match]) -> dict[Outcome, int]:
    """How often each answer was given, over both orders."""
    counts: dict[Outcome, int] = dict.fromkeys(("first", "second", "tie", "refused", "unparsed", "unanswered"), 0)
    for match in matches:
        for verdict in match.verdicts:
            counts[verdict.forward] += 1
            counts[verdict.swapped] += 1
    return counts
