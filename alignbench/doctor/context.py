"""What a context of so many tokens cuts or leaves out, by the rules of `alignbench.tokens` and no others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..batch import Tokens
from ..encoding import Encoder
from ..errors import InputError
from ..results import Json
from ..tokens import tokenize
from .findings import NAME_MODEL, Finding, Level, joined, of, plural, sentence, unknown
from .view import View

UNBOUNDED = 10**9
"""A context in which nothing is cut."""
BAD_LOST, BAD_CUT = 0.05, 0.25

Rows = tuple[Tokens, ...]


@dataclass(frozen=True)
class Fitted:
    """The sample in tokens: `rows` of whole records by place, and `reasons` why a record has none."""

    rows: dict[int, Rows]
    reasons: dict[int, str]

    def lengths(self) -> dict[int, list[int]]:
        """Tokens of each completion, its end token among them."""
        return {place: [len(row.completion) for row in rows] for place, rows in self.rows.items()}


def fit(view: View, encoder: Encoder) -> Fitted | str:
    """The sample tokenised whole, or why this tokenizer cannot read it."""
    try:
        rows, reasons = _tokenized(view, view.sample, encoder, UNBOUNDED, 0)
    except InputError:
        return _bounded(_refused(view, encoder))
    return Fitted(rows, {place: _bounded(reason) for place, reason in reasons.items()})


def _refused(view: View, encoder: Encoder) -> str:
    """What `tokenize` says where it keeps no record of the sample, with the records' own lines."""
    records: Any = [view.records[place] for place in view.sample]
    try:
        tokenize(records, encoder.tokenizer, UNBOUNDED)
    except InputError as error:
        return str(error)
    return "no record fits this tokenizer"


def _bounded(reason: str) -> str:
    """What `tokenize` says, without a context that nobody has named."""
    return re.sub(rf" (within|and) a context of {UNBOUNDED}( tokens)?", "", reason)


def context_fit(
    view: View, encoder: Encoder, fitted: Fitted, context: int | None, reserve: int
) -> tuple[Finding, Json]:
    """How many records lose tokens in a context of that size, or do not fit it at all.

    `reserve` tokens are kept for a sample, as in a run. "bad" where 5 % of the records lose a part of a completion or
    are left out, or 25 % lose the beginning of their prompt; "look" from the first one on.
    """
    sizes = [len(rows[0].prompt) + max(len(row.completion) for row in rows) for rows in fitted.rows.values()]
    figures: Json = {"context": context, "longest": max(sizes, default=0)}
    if context is None:
        said = f"How long the context is is not known; the longest record has {figures['longest']:,} tokens."
        return unknown("context", said, "Name the context: `alignbench data --context`."), figures
    # Whatever fits with the reserve is kept as it is; only the others are tokenised again.
    long = [
        place
        for place, rows in fitted.rows.items()
        if len(rows[0].prompt) + max(reserve, *(len(row.completion) for row in rows)) > context
    ]
    rows, reasons = _refitted(view, long, encoder, context, reserve)
    gone = {**fitted.reasons, **reasons}
    prompts = [p for p in long if p in rows and rows[p][0].prompt != fitted.rows[p][0].prompt]
    ends = [p for p in long if p in rows and any(_shorter(*both) for both in zip(rows[p], fitted.rows[p], strict=True))]
    n = len(view.sample)
    figures |= {"truncated_prompts": len(prompts), "truncated_completions": len(ends), "left_out": len(gone), "of": n}
    room = f"a context of {context:,} tokens" + (f" with {reserve:,} kept for a sample" if reserve else "")
    if not prompts and not ends and not gone:
        return Finding("context", "fine", sentence(f"every record fits {room}", view.sampled)), figures
    lost = len({*ends, *gone})
    level: Level = "bad" if lost >= BAD_LOST * n or len(prompts) >= BAD_CUT * n else "look"
    parts = [
        f"{of(len(places), n, view.things)} {'loses' if len(places) == 1 else 'lose'} {what}"
        for places, what in ((prompts, "the beginning of the prompt"), (ends, "the end of a completion"))
        if places
    ]
    common = Counter(gone.values()).most_common(1)
    if gone:
        parts.append(f"{of(len(gone), n, view.things)} {'is' if len(gone) == 1 else 'are'} left out ({common[0][0]})")
    places = sorted({*prompts, *ends, *gone})
    advice = "Take a model with a longer context, or shorten or leave out these records: what is cut is not learnt."
    said = sentence(f"in {room} {joined(parts)}", view.sampled)
    return Finding("context", level, said, advice, view.lines(places), len(places)), figures


def _shorter(row: Tokens, whole: Tokens) -> bool:
    return len(row.completion) < len(whole.completion)


def _refitted(
    view: View, places: Sequence[int], encoder: Encoder, context: int, reserve: int
) -> tuple[dict[int, Rows], dict[int, str]]:
    if not places:
        return {}, {}
    try:
        return _tokenized(view, places, encoder, context, reserve)
    except InputError:
        # They were tokenised before, so that this says that none of them fits; why is not said of each.
        return {}, dict.fromkeys(places, f"prompt or completions: they do not fit a context of {context:,}")


def _tokenized(
    view: View, places: Sequence[int], encoder: Encoder, context: int, reserve: int
) -> tuple[dict[int, Rows], dict[int, str]]:
    """Rows of the records that `tokenize` keeps, by place, and its reasons for the others."""
    # Its skipped records are known by their lines alone: for its eyes each stands on the line of its place.
    numbered: Any = [replace(view.records[place], line=place + 1) for place in places]
    data = tokenize(numbered, encoder.tokenizer, context, reserve)
    reasons = {skip.line - 1: f"{skip.field}: {skip.reason}" for skip in data.skipped if skip.line is not None}
    kept = [place for place in places if place not in reasons]
    rows = data.lists or tuple((row,) for row, _ in data.labelled)
    return dict(zip(kept, rows, strict=True)), reasons


def unread(view: View, reason: str) -> Finding:
    """The finding where `fit` says why no record can be tokenised: training would refuse them all."""
    said = sentence(reason.rstrip("."), view.sampled)
    advice = "Take a model whose tokenizer (and chat template) reads these records, or mend what it refuses."
    return Finding("context", "bad", said, advice, view.lines(view.sample), len(view.sample))


def without_tokenizer(check: str) -> Finding:
    return unknown(check, "There is no tokenizer to count with.", NAME_MODEL)


def longest_alike(fitted: Fitted) -> tuple[int, int, int]:
    """The greatest length of a completion, how many different completions have it, and how many there are in all.

    A limit of sampling shows as many of one length. Copies of one text share their length anyway, and count once.
    """
    every = Counter(len(ids) for ids in {row.completion for rows in fitted.rows.values() for row in rows})
    longest = max(every, default=0)
    return longest, every[longest], every.total()


def described(count: int, longest: int) -> str:
    return f"{plural(count, 'different completion')} of the greatest length, {longest:,} tokens"
