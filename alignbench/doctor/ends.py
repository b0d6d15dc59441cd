"""Completions that nobody ended: cut off where they were sampled, or by the look of their last sign."""

from __future__ import annotations

import re
import unicodedata

from ..results import Json
from .context import Fitted, described, longest_alike
from .findings import Finding, Level, of, percent, sentence
from .specials import KNOWN
from .view import View

BAD, LOOK = 0.2, 0.01
USUAL = 0.9
"""The share of completions with a final sign from which those without one look cut off."""
FEWEST = 20
SHORTEST, ALIKE = 16, 0.02
"""From this many tokens on, and this share of all that differ, completions of the greatest length look like a limit."""

# A final sign of some script, an emoji, a fence, the end of a statement in code; not a colon or comma, after which
# something was to come. Some languages close with the quotation mark that opens in others.
_FINAL = re.compile("[.!?;…。．｡！？؟۔।॥։።။។\"'“‘«‹>*_`~～〜|\U0001f300-\U0001faff\u2600-\u27bf\ufe0f]\\Z")
_CLOSING = ("Pe", "Pf")  # categories of Unicode: brackets and quotation marks that close
_MARKER = re.compile("(?:" + "|".join(re.escape(marker) for marker in KNOWN) + r")\Z")


def no_end(view: View, fitted: Fitted | None, fixed_length: bool = False) -> tuple[Finding, Json]:
    """The share of completions without an end token, and of those whose text looks cut off.

    Without an end token are samples that were cut at their limit (`Completion.ended`). A text looks cut off where it
    has no final punctuation while nine of ten others do; completions of which many have one and the same greatest
    length, in tokens, may have met a limit (copies of one text count once; read in a sample of more than 20,000
    records, the rest in all). "look" from 1 % of either on, "bad" from 20 % without an end token.
    """
    if fixed_length:
        return Finding("no_end", "fine", "Completions end by their fixed length: this tokenizer has no end token."), {}
    total = sum(len(record.completions) for record in view.records)
    unended = [i for i, record in enumerate(view.records) for y in record.completions if not y.ended]
    ended = [(i, y.text) for i, record in enumerate(view.records) for y in record.completions if y.ended]
    texts = [(place, text) for place, text in ended if text.strip()]
    open_ = [place for place, text in texts if not final(text)]
    usual = 1 - len(open_) / len(texts) if texts else 0.0
    told = len(texts) >= FEWEST and usual >= USUAL
    cut = open_ if told else []
    longest, alike, read = longest_alike(fitted) if fitted is not None else (0, 0, 0)
    limit = longest >= SHORTEST and alike >= max(5, ALIKE * read)
    figures: Json = {"completions": total, "unended": len(unended), "look_cut_off": len(open_) if told else None}
    clauses = ["every completion gets an end token"]
    if unended:
        clauses = [f"{of(len(unended), total, 'completions')} {'has' if len(unended) == 1 else 'have'} no end token"]
        clauses[0] += _by_side(view) if view.kind != "rankings" else ""
    if cut:
        others = "others" if unended else "completions"
        clauses.append(
            f"{of(len(cut), len(texts), others)} {'looks' if len(cut) == 1 else 'look'} cut off, without punctuation"
        )
    elif len(texts) >= FEWEST and not told:
        clauses.append(f"only {percent(usual)} end with punctuation, so that nothing is told by its lack")
    if limit:
        sampled = f" ({view.sampled})" if view.sampled else ""
        clauses.append(f"{described(alike, longest)}, look like a limit of sampling{sampled}")
    level: Level = "fine"
    if len(unended) >= BAD * total:
        level = "bad"
    elif len(unended) >= LOOK * total or (told and len(cut) >= LOOK * len(texts)) or limit:
        level = "look"
    places = sorted({*unended, *cut, *(_of_length(fitted, longest) if limit and fitted is not None else ())})
    advice = (
        "Sample them again with a higher limit or leave them out: behind a text that was cut, an end token teaches to "
        "stop in mid-sentence, and without one nothing teaches to stop."
    )
    count = len({*unended, *cut})
    if level == "fine":
        return Finding("no_end", level, sentence(*clauses), lines=view.lines(places), count=count), figures
    return Finding("no_end", level, sentence(*clauses), advice, view.lines(places), count), figures


def final(text: str) -> bool:
    """Whether a text ends as texts end: with a closing sign or an end marker."""
    text = text.rstrip()
    closing = unicodedata.category(text[-1]) in _CLOSING if text else False
    return bool(closing or _FINAL.search(text) or _MARKER.search(text))


def _by_side(view: View) -> str:
    sides = view.sides({i: [not y.ended for y in record.completions] for i, record in enumerate(view.records)})
    named = zip(view.names, (sides.first, sides.second), strict=True)
    shares = [f"{percent(sum(side) / len(side))} of {name}" for name, side in named if side]
    return f" ({' and '.join(shares)})"


def _of_length(fitted: Fitted, length: int) -> list[int]:
    return [place for place, rows in fitted.rows.items() if any(len(row.completion) == length for row in rows)]
