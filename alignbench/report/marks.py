"""Marks of significance: whom each row beats, by name where there is room for it, else by letter."""

from __future__ import annotations

from ..results import Json

ROOM = 14  # characters of the column up to which names are written out
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def with_marks(summary: Json) -> list[Json]:
    """The rows, each with `marks`: those that it beats, "" where there are none, None where it was not tested.

    Where letters are used `letter` is the row's own.
    """
    compared = {row["spec"] for row in summary["verdict"]["ranking"] if row["tested"]}
    names = _names(summary)
    lettered = names != {spec: spec for spec in names}
    return [
        row
        | {
            "marks": ", ".join(names[spec] for spec in row["significant_over"]) if row["spec"] in compared else None,
            "letter": names[row["spec"]] if lettered else None,
        }
        for row in summary["rows"]
    ]


def _names(summary: Json) -> dict[str, str]:
    """What each spec is called in the column: its name where every cell then fits, else a letter."""
    specs = [row["spec"] for row in summary["rows"]]
    widest = max((len(", ".join(row["significant_over"])) for row in summary["rows"]), default=0)
    if widest <= ROOM:
        return {spec: spec for spec in specs}
    return {spec: _letter(position) for position, spec in enumerate(specs)}


def _letter(position: int) -> str:
    """a to z, then a1, b1, ..."""
    turn, place = divmod(position, len(LETTERS))
    return LETTERS[place] + (str(turn) if turn else "")


def mark_lines(summary: Json) -> list[str]:
    """The legend of the column."""
    tested = sum(row["tested"] for row in summary["verdict"]["ranking"])
    if not tested:
        return []
    names = _names(summary)
    over = "one half (Holm 5 % over the specs)" if tested > 1 else "one half (5 %)"
    lines = [f"column beats: the specs that it beats; reference: its win rate is significantly above {over}"]
    if any(name != spec for spec, name in names.items()):
        lines.append("letters: " + ", ".join(f"{name} {spec}" for spec, name in names.items()))
    return lines
