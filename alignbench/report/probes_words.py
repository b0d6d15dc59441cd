"""What the answers to probes support, in words: what changed with which spec, and which specs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..results import Json
from .statements import listed, of_pairs, seeds_said
from .text import brackets, number, p_value, signed

CONDITION = "on this starting model and on this draw of the data"
TITLES = {"logp": "log-prob of the answer", "token": "log-prob of a token", "right": "exactly right"}
ABOVE = ("is above", "are above")


@dataclass(frozen=True)
class Measure:
    """A quantity that plots and sentences follow: `of` is that of `probes.quantity`, or "forgotten"."""

    group: str
    of: str

    @property
    def title(self) -> str:
        """Without the group: `new`, `change in log-prob`, `forgotten`."""
        if self.of == "token":
            return "change in log-prob"
        return self.of.removeprefix("score ")

    @property
    def unit(self) -> str:
        return {"token": "nats per token", "forgotten": "share of those right before"}.get(self.of, "score")

    @property
    def is_score(self) -> bool:
        return self.of.startswith("score ")

    def value(self, row: Json) -> Json | None:
        """What is shown of a spec's row: a score after, a change in log-prob, or the share forgotten."""
        group = (row["groups"] or {}).get(self.group)
        if not group:
            return None
        found: Json | None = group["forgotten"] if self.of == "forgotten" else None
        if self.of == "token":
            found = group["token"]["change"]
        elif self.is_score:
            found = group["scores"][self.title]["after"]
        return found if found and found["value"] is not None else None

    def before(self, reference: Json) -> Json | None:
        """What the reference has: a score; of the other two it is 0 by what they are."""
        found: Json | None = reference[self.group]["scores"][self.title] if self.is_score else {"value": 0.0}
        return found if found and found["value"] is not None else None


def measures(probes: Json) -> list[Measure]:
    """The scores of each group, the change in log-prob, and where answers were right before, how many are forgotten."""
    found = []
    for group, before in probes["reference"].items():
        found += [Measure(group, f"score {name}") for name in before["scores"]]
        found.append(Measure(group, "token"))
        found += [Measure(group, "forgotten")] * (before["answered"] > 0)
    return found


def valued(found: Json | None, digits: int = 3, plus: bool = False) -> str:
    """`0.742 [0.731, 0.753]`."""
    if not found or found["value"] is None:
        return "not known"
    shown = signed(found["value"], digits) if plus else number(found["value"], digits)
    return f"{shown} {brackets(found['low'], found['high'], digits)}".strip()


def words(probes: Json) -> Json:
    """`{"basis", "conditional_on"}`: what the figures are, and what their intervals are over."""
    return {"basis": _basis(probes), "conditional_on": _condition(probes)}


def _basis(probes: Json) -> str:
    said = [
        "change: after less before, on the same probes",
        "log-prob: of the followed answer, in nats",
        "exactly right: the likeliest completion ends and is the answer word for word",
        "forgotten: of the answers exactly right before, those that are wrong after; learned: the other way round",
    ]
    if probes["comparisons"]:
        said.append(
            "specs differ: paired by probe and seed, p after Holm over the pairs of specs, each score and log-prob "
            "of a group by itself"
        )
    return "; ".join(said)


def _condition(probes: Json) -> str:
    seeds = probes["seeds"]
    before = "that of the reference, which is one model, is over the probes alone"
    if len(seeds) == 1:
        return (
            f"Intervals are 95 %, over the probes alone, and conditional on seed {seeds[0]}, {CONDITION}: nothing is "
            f"known of other seeds."
        )
    return (
        f"Intervals are 95 %, over the probes and the training seeds ({', '.join(map(str, seeds))}), and conditional "
        f"{CONDITION}; {before}."
    )


def heading(group: str, before: Json) -> str:
    """`unrelated (40 probes, 38 of them answered exactly right before)`."""
    count, correct = before["probes"], before["answered"]
    if count == 1:
        return f"{group} (1 probe, {'answered' if correct else 'not answered'} exactly right before)"
    return f"{group} ({count} probes, {f'{correct} of them' if correct else 'none'} answered exactly right before)"


def change_lines(probes: Json) -> list[str]:
    """A line a measure: which specs moved it, by their intervals, the largest change first."""
    return [f"{each.group}, {_said(each, probes)}" for each in measures(probes) if each.of != "forgotten"]


def _said(measure: Measure, probes: Json) -> str:
    found = {spec: _change(measure, row) for spec, row in probes["rows"].items()}
    known = {spec: each for spec, each in found.items() if each}
    before = measure.before(probes["reference"])
    head = f"{measure.title}" + (f" ({valued(before)} before)" if measure.is_score else f" ({measure.unit})")
    if not known:
        return f"{head}: no spec has a result"
    moved = {spec: each for spec, each in known.items() if each["low"] is not None and not _holds_zero(each)}
    ups, downs = ([s for s, each in moved.items() if (each["value"] > 0) is up] for up in (True, False))
    parts = []
    for word, specs in (("up with", ups), ("down with", downs)):
        if specs:
            ordered = sorted(specs, key=lambda spec: -abs(known[spec]["value"]))
            parts.append(f"{word} {listed([f'{spec} {valued(known[spec], 3, plus=True)}' for spec in ordered])}")
    if still := [spec for spec in known if spec not in moved]:
        parts.append(f"no clear change with {listed(still)}")
    return f"{head}: {'; '.join(parts)}"


def _change(measure: Measure, row: Json) -> Json | None:
    group = (row["groups"] or {}).get(measure.group)
    if not group:
        return None
    found: Json = (group["scores"][measure.title] if measure.is_score else group[measure.of])["change"]
    return found if found and found["value"] is not None else None


def _holds_zero(found: Json) -> bool:
    return bool(found["low"] <= 0 <= found["high"])


def families(probes: Json) -> Iterator[tuple[str, list[Json]]]:
    """The pairs that answer one question, under its name: `unrelated, exact`."""
    found: dict[tuple[str, str], list[Json]] = {}
    for pair in probes["comparisons"]:
        found.setdefault((pair["group"], pair["of"]), []).append(pair)
    for (group, of), pairs in found.items():
        yield f"{group}, {'log-prob' if of == 'token' else of.removeprefix('score ')}", pairs


def verdict_lines(probes: Json) -> list[str]:
    """A line a question: which specs are above which, and which cannot be told apart."""
    lines = []
    for name, pairs in families(probes):
        specs = _ordered(pairs)
        won = {spec: [other for other in specs if _over(spec, other, pairs)] for spec in specs}
        p = {frozenset((pair["a"], pair["b"])): pair["p_holm"] for pair in pairs}
        lines.append(f"{name}: {'; '.join(f'{each.text}{each.p}' for each in of_pairs(specs, won, p, ABOVE))}")
    return lines


def _ordered(pairs: Sequence[Json]) -> list[str]:
    """The specs of these pairs, the highest first: by the sum of their differences from the others."""
    total: dict[str, float] = {}
    for pair in pairs:
        for spec, sign in ((pair["a"], 1), (pair["b"], -1)):
            total[spec] = total.get(spec, 0.0) + sign * pair["difference"]["value"]
    return sorted(total, key=lambda spec: -total[spec])


def _over(spec: str, other: str, pairs: Sequence[Json]) -> bool:
    return any(
        pair["significant"] and ((pair["a"], pair["b"]) if pair["difference"]["value"] > 0 else (pair["b"], pair["a"]))
        == (spec, other)
        for pair in pairs
    )  # fmt: skip


def difference_lines(probes: Json) -> list[str]:
    """One line for every pair of specs and question; a difference that is not significant is called so."""
    return [
        f"{name}: {pair['a']} - {pair['b']}: {valued(pair['difference'], 3, plus=True)}, p(Holm)"
        f"{p_value(pair['p_holm'])}, {'significant' if pair['significant'] else 'not significant'}"
        + (f" ({seeds_said(pair['seeds'])})" if pair["seeds"] != probes["seeds"] else "")
        for name, pairs in families(probes)
        for pair in pairs
    ]


def note_lines(probes: Json) -> list[str]:
    """What the figures are conditional on, the holes with their reasons, and the specs that were not compared."""
    lines = [probes["conditional_on"]]
    lines += [f"{spec}: {row['reason']}" for spec, row in probes["rows"].items() if row["reason"]]
    there = [spec for spec, row in probes["rows"].items() if row["seeds"]]
    compared = {frozenset((pair["a"], pair["b"])) for pair in probes["comparisons"]}
    left = [pair for pair in combinations(there, 2) if frozenset(pair) not in compared]
    if left:
        said = "; ".join(f"{a} and {b}" for a, b in left)
        lines.append(f"not compared, for want of two seeds in common: {said}")
    return lines + [f"{where}: {why}" for where, why in _not_known(probes)]


def _not_known(probes: Json) -> Iterator[tuple[str, str]]:
    """The metrics without a value, and why."""
    parts = [("reference", group, found) for group, found in probes["reference"].items()]
    for spec, row in probes["rows"].items():
        parts += [(spec, group, found) for group, found in (row["groups"] or {}).items()]
    for who, group, found in parts:
        named = {**found["scores"], **{TITLES[of]: found[of] for of in ("logp", "right")}}
        for name, each in named.items():
            metric = each if each is None or "value" in each else each["after"]
            if metric and metric["value"] is None:
                yield f"{who}, {group}, {name}", metric["reason"]
