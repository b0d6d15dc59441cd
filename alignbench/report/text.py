"""Text and numbers for people: every output escapes what it was given, because specs and completions are anybody's."""

from __future__ import annotations

import math

from ..visible import plain

_MARKDOWN = {character: "\\" + character for character in "\\`*_[]#|~$!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_LATEX = {character: "\\" + character for character in "{}$&#%_"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "[": "{[}",  # after `\\` a bracket would be read as an optional argument
    "]": "{]}",
}
LOWER = ", lower is better"


def shorten(text: object, width: int) -> str:
    """`plain(text)`, its middle cut out where it is longer than `width`: specs tend to differ at their ends."""
    whole = plain(text)
    head = (width - 1) // 2
    return whole if len(whole) <= width else f"{whole[:head]}…{whole[len(whole) - (width - 1 - head) :]}"


def markdown(text: object) -> str:
    """`plain(text)` that Markdown and the HTML made from it show as it is, inside a table too."""
    return "".join(_MARKDOWN.get(character, character) for character in plain(text))


def latex(text: object) -> str:
    """`plain(text)` that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in plain(text))


def csv_text(text: object) -> str:
    """`plain(text)`, quoted where a spreadsheet would take it for a formula."""
    shown = plain(text)
    return "'" + shown if shown.startswith(("=", "+", "-", "@")) else shown


def number(value: float | None, digits: int) -> str:
    """Fixed point with `digits` decimals, an en dash where there is no value, and never "-0.0"."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}"


def signed(value: float | None, digits: int) -> str:
    shown = number(value, digits)
    return shown if shown.startswith(("-", "–")) else "+" + shown


def brackets(low: float | None, high: float | None, digits: int) -> str:
    """`[low, high]`, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"


def lower(higher_is_better: bool | None) -> str:
    """What is to be said of a metric that is better the lower it is, a perplexity say; None: it is not known."""
    return LOWER if higher_is_better is False else ""


def count(value: float | None) -> str:
    """Large counts as 1.2k, 3.4M."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def p_value(p: float | None) -> str:
    """` = .21`, ` < .001`: to stand after a `p`."""
    if p is None:
        return " = –"
    if p < 0.001:
        return " < .001"
    return " = " + (f"{p:.3f}" if p < 0.1 else f"{p:.2f}").removeprefix("0")
