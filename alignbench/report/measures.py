"""One quantity with its interval, as `summary.json` holds it; the statistics are those of `alignbench.stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import stats
from ..matches import Match
from ..records import UNUSABLE, Outcome, Verdict
from ..results import Json, derive
from .store import REFERENCE, CellRecord

Floats = NDArray[np.float64]
Answers = tuple[Outcome, Outcome]

UNUSABLE_LIMIT = 0.05  # above it a win rate says more about the judge's silence than about the policy
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def generator(purpose: str) -> np.random.Generator:
    """A stream for one figure alone, so that no figure moves because another was added."""
    return np.random.default_rng(derive(0, f"report/{purpose}"))


def metric(
    values: Floats | None,
    at: Sequence[int],
    seeds: Sequence[int],
    unit: str,
    purpose: str,
    bounds: tuple[float, float] | None = None,
    bootstrap: bool = True,
) -> Json | None:
    """The mean of `values [S, P]`, of the seeds `at`, with its 95 % interval; None where nothing was measured.

    `per_seed` has an entry for each of `seeds`, None where that seed is not there. `bootstrap` is the second interval,
    for comparison. Values that are not finite leave `value` None, with the reason.
    """
    if values is None:
        return None
    if not np.isfinite(values).all():
        reason = f"{int(np.sum(~np.isfinite(values)))} of {values.size} values are not finite"
        return blank(values.size, len(seeds), unit, reason)
    rng = generator(purpose)
    result: Json = stats.interval(values.T, rng, bounds=bounds).as_dict()
    means = {seed: float(row.mean()) for seed, row in zip(at, values, strict=True)}
    result |= {"per_seed": [means.get(seed) for seed in seeds], "unit": unit}
    if bootstrap:
        second = stats.bootstrap_interval(values.T, rng).as_dict()
        result["bootstrap"] = {key: second[key] for key in ("low", "high", "method")}
    return result


def of_cell(
    cell: CellRecord, seeds: Sequence[int], name: str, unit: str, bounds: tuple[float, float] | None = None
) -> Json | None:
    """`metric` of a measured quantity of a row."""
    at = [record.seed for record in cell.evaluated]
    return metric(cell.matrix(name), at, seeds, unit, f"{cell.spec}/{name}", bounds)


def blank(n: int, seeds: int, unit: str, reason: str) -> Json:
    """A metric without a value, and why."""
    empty = dict.fromkeys(("value", "low", "high"))
    return {**empty, "n": n, "per_seed": [None] * seeds, "unit": unit, "method": None, "reason": reason}


def matches_of(cell: CellRecord, judge: str, against: str = REFERENCE) -> dict[int, Match]:
    """A judge's verdicts on a row's samples of temperature 1, by seed; a seed that it has not judged is not there."""
    found = {record.seed: record.matches.get((judge, against)) for record in cell.evaluated}
    return {seed: match for seed, match in found.items() if match is not None}


def aligned(matches: Mapping[int, Match]) -> list[list[Verdict]]:
    """`[S][P]`: the verdicts of each seed, on the prompts that all of them have."""
    places = [range(len(match.verdicts)) if match.positions is None else match.positions for match in matches.values()]
    shared = set(places[0]).intersection(*places[1:]) if places else set()
    return [
        [verdict for place, verdict in zip(where, match.verdicts, strict=True) if place in shared]
        for where, match in zip(places, matches.values(), strict=True)
    ]


def scores(matches: Mapping[int, Match]) -> Floats:
    """`[S, P]`: what each verdict scores."""
    known: dict[Answers, float] = {}
    rows = [[(verdict.forward, verdict.swapped) for verdict in row] for row in aligned(matches)]
    for pair in {pair for row in rows for pair in row}:
        known[pair] = Verdict(*pair).score
    return np.array([[known[pair] for pair in row] for row in rows], dtype=np.float64)


def usable_scores(matches: Mapping[int, Match]) -> Floats | None:
    """`scores`, None where there are none or too many answers are unusable for a rate."""
    kinds = _kinds(matches)
    return scores(matches) if kinds and _unusable(kinds) <= UNUSABLE_LIMIT else None


def rate(
    matches: Mapping[int, Match], seeds: Sequence[int], judge: str, purpose: str, bootstrap: bool = True
) -> Json | None:
    """A win rate with what it hides: contradictions, unusable answers, and the bounds had those all lost or all won.

    Above 5 % of unusable answers `value` is None, with the reason; the bounds stay. None where nothing was compared.
    """
    kinds = _kinds(matches)
    if not kinds:
        return None
    unusable, n = _unusable(kinds), kinds.total()
    shares: Json = {
        "judge": judge,
        "bounds": [sum(Verdict(*pair).bounds[side] * k for pair, k in kinds.items()) / n for side in (0, 1)],
        "contradictions": sum(k for pair, k in kinds.items() if Verdict(*pair).contradiction) / n,
        "unusable": unusable,
    }
    if unusable > UNUSABLE_LIMIT:
        return blank(n, len(seeds), "share", _why_unusable(kinds, judge)) | shares
    result = metric(scores(matches), list(matches), seeds, "share", purpose, (0, 1), bootstrap)
    assert result is not None
    return result | shares


def win_rate(cell: CellRecord, seeds: Sequence[int], judge: str, against: str = REFERENCE) -> Json | None:
    """The `rate` of a row at temperature 1, over the seeds that the judge has judged."""
    return rate(matches_of(cell, judge, against), seeds, judge, f"{cell.spec}/{judge}/{against}")


def _kinds(matches: Mapping[int, Match]) -> Counter[Answers]:
    """How often each pair of answers (forward, swapped) was given."""
    return Counter((verdict.forward, verdict.swapped) for row in aligned(matches) for verdict in row)


def _unusable(kinds: Counter[Answers]) -> float:
    return sum(Verdict(*pair).unusable * k for pair, k in kinds.items()) / (2 * kinds.total())


def _why_unusable(kinds: Counter[Answers], judge: str) -> str:
    shares = {kind: sum(pair.count(kind) * k for pair, k in kinds.items()) for kind in sorted(UNUSABLE)}
    shown = [f"{count / (2 * kinds.total()):.1%} {kind}" for kind, count in shares.items() if count]
    return (
        f"{_unusable(kinds):.1%} of the answers of judge {judge} cannot be used ({', '.join(shown)}), "
        f"above {UNUSABLE_LIMIT:.0%}"
    )


def quantiles(values: Floats | None) -> list[float] | None:
    """The 5, 25, 50, 75 and 95 % quantiles over all prompts and seeds, for the plot of lengths."""
    if values is None or not np.isfinite(values).all():
        return None
    return [float(value) for value in np.quantile(values, QUANTILES)]
