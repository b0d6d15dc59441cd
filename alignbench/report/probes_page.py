"""The part of the page about probes: its tables, its plot, real answers, and what each of its terms means."""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Json
from .page_grids import Grid
from .probes_tables import DIFFERENCES, build
from .probes_words import families, measures, valued
from .tables import Cell, Table
from .text import brackets, p_value, signed

# Title, how to read it; by the name of the plot.
PLOTS = {
    "probes_change": (
        "What changed, and what should not have",
        (
            "A panel for each kind of question and what is measured of its answers. Dashed is the reference, before: "
            "what training was for should lie far from it, and all else on it."
        ),
    ),
}
WORDS = {
    "probe": "A question that is asked of the reference and of every policy, and never trained on.",
    "after, change": (
        "What the answer is worth by the benchmark's own scores, 0 to 1, the likeliest answer of each policy; and how "
        "far that is above the reference's on the same probes."
    ),
    "log-prob": (
        "How much likelier (above 0) or less likely the followed answer has become, in nats: for an answer as a whole, "
        "and for each of its tokens, where every answer counts the same."
    ),
    "exactly right": "The likeliest answer ends and is the followed answer word for word.",
    "forgotten": "Of the answers exactly right before, how many are not any more.",
    "learned": "Of the answers not exactly right before, how many are now.",
    "[low, high]": "A 95 % interval over probes and seeds; with one seed, over the probes alone.",
}


@dataclass(frozen=True)
class ProbesPart:
    """What the template shows; nothing is escaped yet."""

    tables: list[tuple[str, Table]]
    glossary: list[tuple[str, str]]
    differences: Grid | None
    sections: list[tuple[str, list[str]]]
    samples: Json | None


def probes_part(summary: Json, samples: Json | None) -> ProbesPart | None:
    """None for a run that asked nothing."""
    probes = summary.get("probes")
    if not probes:
        return None
    tables = build([summary])
    sections = [each for each in tables[-1][1].sections if each[0] != DIFFERENCES]
    named = [(name.removeprefix("probes: "), table) for name, table in tables]
    return ProbesPart(named, list(WORDS.items()), _differences(probes), sections, samples)


def _differences(probes: Json) -> Grid | None:
    heads = [("question", ""), ("pair", ""), ("difference", "after"), ("p", "after Holm"), ("seeds", ""), ("", "")]
    rows = []
    for name, pairs in families(probes):
        for pair in pairs:
            found = pair["difference"]
            shown = Cell(signed(found["value"], 3), brackets(found["low"], found["high"], 3))
            p = Cell(p_value(pair["p_holm"]).removeprefix(" = ").strip())
            said = Cell("significant" if pair["significant"] else "not significant")
            both = [Cell(name), Cell(f"{pair['a']} − {pair['b']}")]
            rows.append([*both, shown, p, Cell(", ".join(map(str, pair["seeds"]))), said])
    return Grid("Differences between specs, every pair; log-prob in nats per token", heads, rows, 2) if rows else None


def describe(name: str, summary: Json) -> str:
    """What a plot shows, for those who cannot see it."""
    probes = summary["probes"]
    said = []
    for measure in measures(probes):
        before = [f"before {valued(measure.before(probes['reference']))}"] if measure.is_score else []
        found = {spec: measure.value(row) for spec, row in probes["rows"].items()}
        after = [f"{spec} {valued(each)}" for spec, each in found.items() if each]
        said.append(f"{measure.group}, {measure.title}: {', '.join(before + after)}")
    return "; ".join(said)
