"""A partial order of specs in few statements, each with the p-value that it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .text import p_value

MOST = 4  # statements of a kind; what is beyond them is counted
SHORT = 4  # from so many names on a list is counted where it can be
P = Mapping[frozenset[str], float]
Pair = tuple[str, str]
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Statement:
    """What is said, and with what p: `, p = .31`."""

    text: str
    p: str = ""


def of_pairs(
    order: Sequence[str], won: Mapping[str, Sequence[str]], p: P, verbs: tuple[str, str] = ("beats", "beat")
) -> list[Statement]:
    """What is known of the pairs in `p`: `won[a]` are those that `a` beats, `order` is by win rate, the best first.

    Every pair of `p` is in exactly one statement, or counted in the last ones where there would be too many. `verbs`
    say in singular and plural what it is to beat another where that is no contest.
    """
    groups = _groups(order, won)
    left = [pair for pair in combinations(order, 2) if _open(pair, won, p)]
    said: list[Statement] = []
    for subjects, objects in groups[:MOST]:
        alike = _within(subjects, left)
        if len(subjects) > 1 and alike is not None:
            left = [pair for pair in left if pair not in alike]
            said.append(Statement(f"{listed(subjects)} cannot be told apart", at_least(_of(alike, p))))
            who = everyone(len(subjects))
        else:
            who = listed(subjects)
        verb = verbs[len(subjects) > 1]
        pairs = [(a, b) for a in subjects for b in objects]
        said.append(Statement(f"{who} {verb} {listed(objects)}", at_most(_of(pairs, p))))
    more = sum(len(a) * len(b) for a, b in groups[MOST:])
    if more:
        said.append(Statement(f"{more} more pair{'s differ' if more > 1 else ' differs'}"))
    return said + _undecided(order, left, p, mentioned={spec for a, b in groups[:MOST] for spec in (*a, *b)})


def _groups(order: Sequence[str], won: Mapping[str, Sequence[str]]) -> list[tuple[list[str], list[str]]]:
    """Specs that beat the same others, and those others."""
    found: dict[frozenset[str], list[str]] = {}
    for spec in order:
        if won[spec]:
            found.setdefault(frozenset(won[spec]), []).append(spec)
    return [(subjects, [spec for spec in order if spec in beaten]) for beaten, subjects in found.items()]


def _open(pair: Pair, won: Mapping[str, Sequence[str]], p: P) -> bool:
    a, b = pair
    return frozenset(pair) in p and b not in won[a] and a not in won[b]


def _within(specs: Sequence[str], pairs: Sequence[Pair]) -> list[Pair] | None:
    """All pairs of `specs`, which follow the order; None where one of them is not among `pairs`."""
    found = list(combinations(specs, 2))
    return found if all(pair in pairs for pair in found) else None


def _undecided(order: Sequence[str], pairs: Sequence[Pair], p: P, mentioned: set[str]) -> list[Statement]:
    """The pairs that cannot be told apart, each time the statement that says most: on a whole group, or on one spec."""
    said: list[Statement] = []
    left = list(pairs)
    while left:
        if len(said) == MOST:
            count = f"the other {len(left)} pairs" if len(left) > 1 else "one other pair"
            return [*said, Statement(f"{count} cannot be told apart either", at_least(_of(left, p)))]
        group, star = _largest_group(order, left), _largest_star(order, left)
        centre, others = star
        if len(group) * (len(group) - 1) // 2 >= len(others):
            covered = _within(group, left) or []
            text = f"{listed(group)} cannot be told apart"
            if len(group) == len(order) >= SHORT:
                text = f"No two of the {counted(len(group))} specs can be told apart"
        else:
            covered = [pair for pair in left if centre in pair]
            known = set(others) == set(order) - {centre} and set(others) <= mentioned
            either = "either" if len(others) == 2 else "any other"
            text = f"{centre} cannot be told apart from {either if known else listed(others, 'or')}"
        said.append(Statement(text, at_least(_of(covered, p))))
        left = [pair for pair in left if pair not in covered]
    return said


def _largest_group(order: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """The longest run of neighbours in the order no two of which can be told apart."""
    runs = [list(order[i:j]) for i in range(len(order)) for j in range(i + 2, len(order) + 1)]
    whole = [run for run in runs if _within(run, pairs) is not None]
    return max(whole, key=len, default=list(pairs[0]))


def _largest_star(order: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, list[str]]:
    """The spec that is in most pairs, with its others."""
    centre = max(order, key=lambda spec: sum(spec in pair for pair in pairs))
    return centre, [spec for spec in order if (spec, centre) in pairs or (centre, spec) in pairs]


def _of(pairs: Sequence[Pair], p: P) -> list[float]:
    return [p[frozenset(pair)] for pair in pairs]


def at_least(p: Sequence[float]) -> str:
    """The smallest p of those without a difference: `, p = .31` of one, `, p ≥ .12` of several."""
    shown = p_value(min(p))
    return ", p" + (shown if len(p) == 1 else shown.replace(" = ", " ≥ ").replace("≥ 1.00", "= 1.00"))


def at_most(p: Sequence[float]) -> str:
    """The largest p of those that differ."""
    shown = p_value(max(p))
    return ", p" + (shown if len(p) == 1 else shown.replace(" = ", " ≤ "))


def listed(names: Sequence[object], last: str = "and") -> str:
    """`a, b and c`."""
    shown = [str(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def counted(count: int) -> str:
    """`three`, `12`."""
    return _WORDS[count] if count < len(_WORDS) else str(count)


def everyone(count: int) -> str:
    """`both`, `all three`."""
    return "both" if count == 2 else f"all {counted(count)}"


def seeds_said(seeds: Sequence[int]) -> str:
    """`seed 1 only`, `seeds 0 and 2 only`."""
    return f"seed{'s' * (len(seeds) > 1)} {listed(seeds)} only"
