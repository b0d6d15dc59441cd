"""The page's section on the data that was trained on: what an examination found, and its plots with their words."""

from __future__ import annotations

from dataclasses import dataclass

from ..doctor.findings import named, placed, plural
from ..results import Json
from ..visible import plain
from .data_words import advised, counted, couples, side_names, sized
from .text import number

LINES = 10  # of the data that a finding names on the page

# Title, how to read it; by the name of the plot.
PLOTS = {
    "data_lengths": (
        "Lengths of the data",
        "Where the two sides differ in length, an objective can learn the length instead of what is better.",
    ),
    "data_words": (
        "Words that tell the sides apart",
        "What a bag of words knows of the preference is a shortcut that a policy learns as well, and first.",
    ),
    "data_margins": (
        "Margins of the data",
        "By how much the chosen completion is the better one; below zero the label says the opposite.",
    ),
    "data_agreement": (
        "Agreement of the annotators",
        "No judge and no reward model can be expected to agree with these labels more than people do.",
    ),
}


@dataclass(frozen=True)
class Row:
    """A finding as the page shows it; its level is a class of the style sheet too: a colour, beside the word."""

    check: str
    level: str
    said: str
    advice: str
    where: str


@dataclass(frozen=True)
class DataPart:
    """What the template shows; nothing is escaped yet."""

    caption: str
    rows: list[Row]


def data_part(summary: Json) -> DataPart | None:
    """None for a run whose data were not examined: an earlier version did not."""
    found = summary.get("doctor")
    if not found:
        return None
    rows = [
        Row(named(each["check"]), each["level"], each["said"], advised(each), placed(each, LINES))
        for each in found["findings"]
    ]
    return DataPart(f"The {sized(found)} that were trained on: {counted(found)}", rows)


def describe(name: str, summary: Json) -> str:
    """What a plot shows, for those who cannot see it."""
    figures = summary["doctor"]["figures"]
    said = {"data_lengths": _lengths, "data_words": _words, "data_margins": _margins, "data_agreement": _agreement}
    return said[name](figures)


def _share(value: float | None) -> str:
    return "not known" if value is None else f"{number(100 * value, 1)} %"


def _lengths(figures: Json) -> str:
    found = figures["lengths"]
    first, second = side_names(figures)
    means = f"{first} {number(found['mean_chosen'], 1)} {found['unit']}, {second} {number(found['mean_rejected'], 1)}"
    longer = found.get("longer_chosen")
    told = "" if longer is None else f"; {first} is longer in {_share(longer)} of the {couples(figures)}"
    return f"mean length: {means}{told}"


def _words(figures: Json) -> str:
    words, shortcut = figures["words"] or [], figures["shortcut"]
    said = []
    if shortcut:
        alone = shortcut.get("baseline")
        said.append(f"held-out accuracy {number(shortcut['accuracy'], 3)}, by length alone {number(alone, 3)}")
    first, second = side_names(figures)
    for name, sign in ((first, 1), (second, -1)):
        ordered = sorted((w for w in words if sign * w["weight"] > 0), key=lambda w: -abs(w["weight"]))
        if ordered:
            said.append(f"words of {name}: {', '.join(plain(w['word']) for w in ordered)}")
    return "; ".join(said)


def _margins(figures: Json) -> str:
    found = figures["margins"]
    return (
        f"the {found['of']} of chosen is higher in {_share(found['agree'])} of {plural(sum(found['counts']), 'pair')}"
    )


def _agreement(figures: Json) -> str:
    found = figures["agreement"]
    said = [
        f"annotators with each other {number(found['pairwise'], 3)}",
        f"all of one mind {_share(found['unanimous'])}",
    ]
    if found["with_gold"] is not None:
        said.append(f"with gold {number(found['with_gold'], 3)}")
    return ", ".join([*said, f"Krippendorff's alpha {number(found['alpha'], 3)}"])
