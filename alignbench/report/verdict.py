"""The headline in words: what the comparisons support and nothing beyond it. This is what a reader will quote.

"beats" is a difference in the headline win rate that is significant after Holm over all pairs, and against the
reference a rate other than one half that is so over all specs. That a pair "cannot be told apart" says that these
prompts and seeds do not show a difference, never that there is none. The relation need be no ranking: of three specs
the outer two may differ and the middle one from neither, so every statement names its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from ..results import Json
from .statements import SHORT, at_least, at_most, counted, everyone, listed, of_pairs
from .text import brackets, number


def verdict(summary: Json, over: Mapping[str, Json]) -> Json:
    """`{"sentence", "comparison", "reference", "holes", "basis", "ranking", "judge", "metric"}`.

    `sentence` is the three parts after it together: which specs differ, which differ from the reference, and what is
    missing. `ranking` has the rows by win rate with those that each `beats`, and whether it was `tested` at all. `over`
    is `over_reference`.
    """
    known = {row["spec"]: row["win_rate"]["value"] for row in summary["rows"] if has_rate(row)}
    order = sorted(known, key=lambda spec: -known[spec])
    won = {spec: [other for other in order if _beats(summary["comparisons"], spec, other)] for spec in order}
    parts = {
        "comparison": _compared(summary, order, won) if len(order) > 1 else _alone(summary, order, over),
        "reference": _against_reference(order, over) if len(order) > 1 else "",
        "holes": _holes(summary),
    }
    return {
        "sentence": " ".join(part for part in parts.values() if part),
        **parts,
        "basis": _basis(summary, over) if over else "",
        "ranking": [
            {
                "spec": spec,
                "win_rate": known[spec],
                "beats": won[spec],
                "tested": spec in over,
                "better_than_reference": spec in over and over[spec]["better"],
            }
            for spec in order
        ],
        "judge": summary["headline"],
        "metric": "win_rate",
    }


def has_rate(row: Json) -> bool:
    return bool(row["win_rate"]) and row["win_rate"]["value"] is not None


def _seeds(summary: Json, row: Json) -> list[int]:
    """The seeds of a row that have a headline win rate."""
    per_seed = zip(summary["seeds"], row["win_rate"]["per_seed"], strict=True)
    return [seed for seed, value in per_seed if value is not None]


def _basis(summary: Json, over: Mapping[str, Json]) -> str:
    """What the tests are: two families, of the pairs and of the specs against the reference."""
    pairs, specs = len(summary["comparisons"]), len(over)
    said = [f"by judge {summary['headline']}, at 5 %"]
    if pairs:
        how = f"p after Holm over {pairs} pairs" if pairs > 1 else "p of the paired test"
        said.append(
            f"to beat another: to have the higher win rate over the reference on the same prompts and seeds ({how})"
        )
    how = "p of the paired test, which decides; the interval beside it is 95 %"
    how = f"p after Holm over {specs} specs, apart from the pairs" if specs > 1 else how
    said.append(f"to beat the reference, or to lose to it: to have a win rate above or below one half ({how})")
    return "; ".join([*said, "not to be told apart is not to be shown equal"])


def _beats(compared: Sequence[Json], a: str, b: str) -> bool:
    for each in compared:
        if {each["a"], each["b"]} == {a, b} and each["significant"]:
            return bool((each["difference"]["value"] > 0) == (each["a"] == a))
    return False


def _compared(summary: Json, order: list[str], won: dict[str, list[str]]) -> str:
    """The statements about pairs; the first one also says on how much they rest."""
    compared = summary["comparisons"]
    if not compared:
        if not any(shared for _, _, shared in _untested(summary)):
            return f"{listed(order)} were not compared: they have no seed in common."
        who = "they have" if len(order) == 2 else "no two of them have more than"
        return f"{listed(order)} were not tested against each other: {who} one seed in common."
    p = {frozenset((each["a"], each["b"])): each["p_holm"] for each in compared}
    first, *others = of_pairs(order, won, p)
    where = _size([each["prompts"] for each in compared], [each["seeds"] for each in compared])
    return f"{first.text} {where}{first.p}" + "".join(f"; {each.text}{each.p}" for each in others) + "."


def _untested(summary: Json) -> list[tuple[Json, Json, set[int]]]:
    """The pairs of rows with a win rate that were not tested, and the seeds that both have."""
    known = {frozenset((each["a"], each["b"])) for each in summary["comparisons"]}
    there = combinations([row for row in summary["rows"] if has_rate(row)], 2)
    apart = [(a, b) for a, b in there if frozenset((a["spec"], b["spec"])) not in known]
    return [(a, b, set(_seeds(summary, a)) & set(_seeds(summary, b))) for a, b in apart]


def _size(prompts: Sequence[int], seeds: Sequence[Sequence[int]]) -> str:
    """`at n = 768 (256 prompts x 3 seeds)`."""
    counts = [len(each) for each in seeds]
    n = _range([p * s for p, s in zip(prompts, counts, strict=True)])
    if len({tuple(each) for each in seeds}) == 1 and counts[0] == 1:
        return f"at n = {n} ({_range(prompts)} prompts, conditional on seed {seeds[0][0]})"
    plural = "" if max(counts) == 1 else "s"
    return f"at n = {n} ({_range(prompts)} prompts x {_range(counts)} seed{plural})"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _alone(summary: Json, order: list[str], over: Mapping[str, Json]) -> str:
    """One spec against the reference, or why there is nothing to say."""
    if not order:
        return f"No verdict: {_why_nothing(summary)}."
    row = next(row for row in summary["rows"] if row["spec"] == order[0])
    rate, seeds = row["win_rate"], _seeds(summary, row)
    where, rested = _size([rate["n"] // len(seeds)], [seeds]), ""
    verb = "was not tested against"
    if tested := over.get(row["spec"]):
        verb = "beats" if tested["better"] else "loses to" if tested["worse"] else "cannot be told apart from"
        rested = at_most([tested["p_holm"]])
    shown = f"{number(rate['value'], 3)} {brackets(rate['low'], rate['high'], 3)}".strip()
    return f"{row['spec']} {verb} the reference {where}{rested}: win rate {shown}."


def _why_nothing(summary: Json) -> str:
    reasons = [(row["win_rate"] or {}).get("reason") for row in summary["rows"]]
    known = dict.fromkeys(reason for reason in reasons if reason)
    if known:
        return "; ".join(known)
    if all(row["status"] == "failed" for row in summary["rows"]):
        return "no spec has a result"
    return f"judge {summary['headline']} has compared no spec with the reference"


def _against_reference(ranked: list[str], over: Mapping[str, Json]) -> str:
    """Which rows differ from the reference, each group with the p-value that it rests on."""
    order = [spec for spec in ranked if spec in over]
    whole = len(order) == len(ranked)  # else "all" would take in those that were not tested
    better = [spec for spec in order if over[spec]["better"]]
    worse = [spec for spec in order if over[spec]["worse"]]
    even = [spec for spec in order if spec not in (*better, *worse)]
    p = {name: [over[spec]["p_holm"] for spec in specs] for name, specs in (("b", better), ("w", worse), ("e", even))}
    if whole and len(even) == len(order):
        return f"{'Neither' if len(order) == 2 else 'None'} can be told apart from the reference{at_least(p['e'])}."
    for specs, verb, name in ((better, "beat", "b"), (worse, "lose to", "w")):
        if whole and len(specs) == len(order):
            return f"{everyone(len(order)).capitalize()} {verb} the reference{at_most(p[name])}."
    it = "it" if better else "the reference"
    beat = "beats" if len(better) == 1 else "beat"
    said = [f"{listed(better)} {beat} the reference{at_most(p['b'])}"] if better else []
    if even:
        others = listed(even) if len(even) < SHORT or not whole else f"the other {counted(len(even))}"
        said.append(f"{others} cannot be told apart from {it}{at_least(p['e'])}")
    it = "it" if said else "the reference"
    said += [f"{listed(worse)} {'loses' if len(worse) == 1 else 'lose'} to {it}{at_most(p['w'])}"] if worse else []
    return "; ".join(said) + "." if said else ""


def _holes(summary: Json) -> str:
    """What the verdict does not cover."""
    said = []
    nothing = [row["spec"] for row in summary["rows"] if row["status"] == "failed"]
    if nothing:
        said.append(f"{listed(nothing)} {'has' if len(nothing) == 1 else 'have'} no result")
    there = [row for row in summary["rows"] if has_rate(row)]
    for row in summary["rows"]:
        if row["status"] != "failed" and not has_rate(row):
            reason = (row["win_rate"] or {}).get("reason") or f"judge {summary['headline']} has not judged it"
            said.append(f"{row['spec']} has no win rate ({reason})")
        elif has_rate(row):
            said += _missing_seeds(summary, row, alone=len(there) == 1)
    if summary["comparisons"]:
        for a, b, shared in _untested(summary):
            if min(len(_seeds(summary, row)) for row in (a, b)) == 1 and len(summary["seeds"]) > 1:
                continue  # said of the one that has one seed
            how = "no seed in common and were not compared"
            how = "one seed in common and were not tested against each other" if shared else how
            said.append(f"{a['spec']} and {b['spec']} have {how}")
    if not said or not there:
        return ""  # the first part says that there is nothing
    return "; ".join(said) + "."


def _missing_seeds(summary: Json, row: Json, alone: bool) -> list[str]:
    """The seeds that a row lacks; with one left of several it was not tested, as that one says nothing of others."""
    seeds = _seeds(summary, row)
    gone = [seed for seed in summary["seeds"] if seed not in seeds]
    if gone and len(seeds) == 1:
        whom = "the reference" if alone else "the others or the reference"
        return [f"{row['spec']} has one seed only ({seeds[0]}): not tested against {whom}"]
    return [f"{row['spec']} lacks seed{'s' * (len(gone) > 1)} {listed(gone)}"] if gone else []
