"""What exact figures support, in words: the headline, where the rest goes, and what an interval over seeds is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from ..results import Json
from .exact import PARTS
from .exact_seeds import times
from .marks import with_marks
from .statements import SHORT, at_least, counted, listed, of_pairs, seeds_said
from .text import brackets, number, p_value, signed

SHOWN = 3  # decimals of a share
FEW = 4  # specs up to which the headline says what is known of every pair


def order(exact: Json) -> list[str]:
    """The specs by gain share, the best first; those without one last."""
    shares = {spec: (row["gain_share"] or {}).get("value") for spec, row in exact["rows"].items()}
    return sorted(shares, key=lambda spec: (shares[spec] is None, -(shares[spec] or 0.0)))


def valued(found: Json, digits: int = SHOWN) -> str:
    """`0.742 [0.731, 0.753]`."""
    return f"{number(found['value'], digits)} {brackets(found['low'], found['high'], digits)}".strip()


def words(exact: Json) -> Json:
    """`{"sentence", "basis", "conditional_on"}`: the first is what a reader will quote."""
    return {"sentence": _sentence(exact), "basis": _basis(exact), "conditional_on": _condition(exact)}


def _sentence(exact: Json) -> str:
    rows = exact["rows"]
    known = [spec for spec in order(exact) if rows[spec]["gain_share"]]
    if not known:
        return "No exact verdict: no spec has a result."
    best = rows[known[0]]["gain_share"]
    whole = f"what the best possible policy gains over the reference at beta = {exact['beta']:g}"
    if len(known) == 1:
        said = [f"{known[0]} reaches {valued(best)} of {whole}{_of_seeds(exact, known)}."]
    else:
        last = f"{known[-1]} the smallest, {valued(rows[known[-1]]['gain_share'])}"
        said = [f"Of {whole}, {known[0]} has the largest share, {valued(best)}, and {last}{_of_seeds(exact, known)}."]
        said += _differences(exact, known)
    return " ".join([*said, *_below(exact, known), *_holes(exact, known)])


def _of_seeds(exact: Json, known: Sequence[str]) -> str:
    seeds = exact["seeds"]
    if len(seeds) == 1:
        return f" (seed {seeds[0]} alone: what other seeds would do is not known)"
    numbers = sorted({len(exact["rows"][spec]["seeds"]) for spec in known})
    return f" (mean of {' or '.join(map(str, numbers))} seed{'s' * (numbers[-1] > 1)})"


def _differences(exact: Json, known: Sequence[str]) -> list[str]:
    tested = {
        frozenset((each["a"], each["b"])): each["p_holm"] for each in exact["comparisons"] if each["p"] is not None
    }
    if not tested:
        return ["No difference was tested: that takes two seeds of both specs."]
    won = {spec: beaten(exact, spec, known) for spec in known}
    if len(known) > FEW:
        return [_of_the_best(known, won, tested)]
    return ["; ".join(f"{each.text}{each.p}" for each in of_pairs(known, won, tested)) + "."]


def _of_the_best(known: Sequence[str], won: Mapping[str, list[str]], tested: Mapping[frozenset[str], float]) -> str:
    """What holds of the first of many specs, and how many pairs differ: all of them would be no headline."""
    best, count = known[0], sum(len(each) for each in won.values())
    even = [spec for spec in known[1:] if frozenset((best, spec)) in tested and spec not in won[best]]
    p = at_least([tested[frozenset((best, spec))] for spec in even]) if even else ""
    others = listed(even, "or") if len(even) < SHORT else f"{counted(len(even))} of them"
    said = [f"beats {counted(len(won[best]))} of the {counted(len(known) - 1)} others"] if won[best] else []
    said += (
        [f"cannot be told apart from {others if won[best] or len(even) < SHORT else counted(len(even))}{p}"]
        if even
        else []
    )
    said = said or ["was tested against no other"]
    differ = f"{count} of {len(tested)} pairs of specs differ" if count != 1 else f"one of {len(tested)} pairs differs"
    return f"{best} {' and '.join(said)}; {differ}."


def beaten(exact: Json, spec: str, known: Sequence[str]) -> list[str]:
    """The specs that this one beats: its gain share is higher, significantly after Holm."""
    won = set()
    for each in exact["comparisons"]:
        if each["significant"] and spec in (each["a"], each["b"]):
            up = each["difference"]["value"] > 0
            if (each["a"] if up else each["b"]) == spec:
                won.add(each["b"] if up else each["a"])
    return [other for other in known if other in won]


def _below(exact: Json, known: Sequence[str]) -> list[str]:
    """The policies that are worse than doing nothing, where their interval says so too."""
    shares = {spec: exact["rows"][spec]["gain_share"] for spec in known}
    below = [
        spec for spec, share in shares.items() if share["value"] < 0 and (share["high"] is None or share["high"] < 0)
    ]
    if not below:
        return []
    what = "a share below 0: it is worth less than the reference, its KL paid for"
    what = what if len(below) == 1 else "shares below 0: they are worth less than the reference, their KL paid for"
    return [f"{listed(below)} {'has' if len(below) == 1 else 'have'} {what}."]


def _holes(exact: Json, known: Sequence[str]) -> list[str]:
    said = []
    if nothing := [spec for spec in exact["rows"] if spec not in known]:
        said.append(f"{listed(nothing)} {'has' if len(nothing) == 1 else 'have'} no result")
    for spec in known:
        seeds = exact["rows"][spec]["seeds"]
        gone = [seed for seed in exact["seeds"] if seed not in seeds]
        if gone and len(seeds) == 1:
            said.append(f"{spec} has one seed only ({seeds[0]}): not tested against the others")
        elif gone:
            said.append(f"{spec} lacks seed{'s' * (len(gone) > 1)} {listed(gone)}")
    several = [spec for spec in known if len(exact["rows"][spec]["seeds"]) > 1]
    compared = {frozenset((each["a"], each["b"])) for each in exact["comparisons"]}
    for a, b in combinations(several, 2):
        if frozenset((a, b)) not in compared:
            shared = set(exact["rows"][a]["seeds"]) & set(exact["rows"][b]["seeds"])
            how = "one seed in common and were not tested against each other"
            said.append(f"{a} and {b} have {how if shared else 'no seed in common and were not compared'}")
    return ["; ".join(said) + "."] if said else []


def _basis(exact: Json) -> str:
    said = ["gain share: (J - J of the reference) / (J of the optimum - J of the reference), J = E r - beta KL"]
    tested = sum(each["p"] is not None for each in exact["comparisons"])
    if tested:
        how = f"p after Holm over {tested} pairs" if tested > 1 else "its p"
        said.append(f"to beat another: to have the larger share by a paired t test over seeds at 5 % ({how})")
        said.append("not to be told apart is not to be shown equal")
    return "; ".join(said)


def _condition(exact: Json) -> str:
    """What is exact, what is estimated, and how far an interval of few seeds goes."""
    sums = (
        f"Expectations are sums over all {exact['completions']:,} completions of each of {exact['prompts']} prompts: "
    )
    on = "on this world, this starting model and this draw of the data"
    seeds = exact["seeds"]
    if len(seeds) == 1:
        return f"{sums}nothing is estimated, and nothing is known of seeds other than {seeds[0]}; conditional {on}."
    said = f"{sums}nothing is estimated but the mean over seeds ({', '.join(map(str, seeds))}), with 95 % t intervals, "
    said += f"conditional {on}."
    fewest = min((len(row["seeds"]) for row in exact["rows"].values() if len(row["seeds"]) > 1), default=0)
    if fewest == 2:
        said += (
            f" The interval of two seeds reaches {times(2):.1f} standard deviations, 6.4 times the distance of the "
            f"two, to either side: it shows little but that there were two."
        )
    return said


def rest_lines(exact: Json) -> list[str]:
    """Where the rest goes, a line a spec: `ppo: 0.200 = the reward model 0.150 [..] + optimisation 0.050 [..]`."""
    lines = []
    for spec in order(exact):
        loss = exact["rows"][spec]["loss"]
        if loss:
            parts = " + ".join(f"{PARTS[part['part']]} {valued(part)}" for part in loss["parts"])
            rest = valued(loss["rest"])
            alone = loss["parts"][0]["part"] == "unknown"
            lines.append(f"{spec}: {rest} {PARTS['unknown']}" if alone else f"{spec}: {rest} = {parts}")
    if any(part["value"] < 0 for row in exact["rows"].values() if row["loss"] for part in row["loss"]["parts"]):
        lines.append(
            "a negative part: the policy is better than the one that its training was heading for; stopping short of "
            "it made up for some of what the part before it lost"
        )
    return lines


def difference_lines(exact: Json) -> list[str]:
    """One line a pair of specs; a difference that is not significant is called so, one without a test too."""
    lines = []
    for each in exact["comparisons"]:
        found = each["difference"]
        shown = f"{signed(found['value'], SHOWN)} {brackets(found['low'], found['high'], SHOWN)}".strip()
        line = f"{each['a']} - {each['b']}: {shown}, "
        line += "not tested" if each["p"] is None else f"p(Holm){p_value(each['p_holm'])}, "
        line += "" if each["p"] is None else "significant" if each["significant"] else "not significant"
        lines.append(line + (f" ({seeds_said(each['seeds'])})" if each["seeds"] != exact["seeds"] else ""))
    return lines


def marked(exact: Json) -> tuple[dict[str, Json], list[str]]:
    """By spec the marks of the column `beats` and its letter, where letters are used; and the legend of the column."""
    specs = order(exact)
    tested = {spec for each in exact["comparisons"] if each["p"] is not None for spec in (each["a"], each["b"])}
    rows = [{"spec": spec, "significant_over": beaten(exact, spec, specs)} for spec in specs]
    ranking = [{"spec": spec, "tested": spec in tested} for spec in specs]
    found = {row["spec"]: row for row in with_marks({"rows": rows, "verdict": {"ranking": ranking}})}
    lines = ["column beats: the specs that it beats in gain share"] if tested else []
    if tested and any(row["letter"] for row in found.values()):
        lines.append("letters: " + ", ".join(f"{row['letter']} {spec}" for spec, row in found.items()))
    return found, lines


def note_lines(exact: Json) -> list[str]:
    """What the figures are conditional on, and the holes with their reasons."""
    return [
        exact["conditional_on"],
        *(f"{spec}: {row['reason']}" for spec, row in exact["rows"].items() if row["reason"]),
    ]
