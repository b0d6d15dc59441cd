"""The doctor: what in preference data will hurt, told before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..encoding import Encoder
from ..formats import Skipped
from ..records import Preferences
from ..results import Json
from .context import Fitted, context_fit, fit, unread, without_tokenizer
from .ends import no_end
from .findings import CHECKS, LEVELS, Examination, Finding, Level, worst_first
from .labels import agreement, balance, margins
from .lengths import in_words, length_gap
from .markers import markers
from .near import near_duplicates
from .repeats import Groups, contradictions, duplicates, empty_or_equal, left_out
from .specials import begin_end_tokens
from .view import View
from .words import shortcut

__all__ = ["CHECKS", "LEVELS", "Examination", "Finding", "Level", "examine"]


def examine(
    records: Preferences,
    encoder: Encoder | None = None,
    context: int | None = None,
    reserve: int = 0,
    skipped: Sequence[Skipped] | None = None,
    gold: Sequence[Sequence[float]] | None = None,
) -> Examination:
    """Every check on the records, one finding each; the same records give the same findings.

    Args:
        records: of one kind; a ranking is read as its nested pairs where a check compares two sides.
        encoder: counts the tokens; without one lengths are words, and what is about tokens is unknown.
        context: tokens of the model's context, of which `reserve` are kept for a sample.
        skipped: what the reader left out; None where that is not known.
        gold: for each record the true reward of each of its completions, in the order of `record.completions`.

    Of more than 20,000 records the checks on words, lengths, tokens and near repetitions read a fixed sample, and say
    so; exact repetitions and contradictions are looked for in all.

    Raises:
        InputError: there is no record.
        ValueError: `gold` is not of the records' shape.
    """
    view = View(records)
    if gold is not None and [len(scores) for scores in gold] != [len(record.completions) for record in records]:
        raise ValueError("gold must hold one reward for each completion of each record")
    fitted = fit(view, encoder) if encoder is not None else None
    read = fitted if isinstance(fitted, Fitted) and fitted.rows else None
    gap, lengths = length_gap(view, read.lengths(), "tokens") if read else length_gap(view, in_words(view), "words")
    told, strongest, accuracy = shortcut(view)
    marked, found = markers(view)
    repeated, copies = duplicates(view)
    close, nearly = near_duplicates(view)
    opposed, conflicts = contradictions(view)
    share, counts = balance(view)
    ended, ends = no_end(view, read, encoder is not None and encoder.fixed_length)
    if encoder is None or fitted is None:
        room, sizes = without_tokenizer("context"), None
    elif isinstance(fitted, str):
        room, sizes = unread(view, fitted), None
    else:
        room, sizes = context_fit(view, encoder, fitted, context, reserve)
    figures: Json = {
        "lengths": lengths,
        "words": strongest,
        "shortcut": accuracy,
        "markers": found,
        "margins": margins(view, gold),
        "agreement": agreement(view, gold),
        "balance": counts,
        "context": sizes,
        "ends": ends,
        "groups": {
            "duplicates": _numbered(view, copies),
            "near_duplicates": _numbered(view, nearly),
            "contradictions": _numbered(view, conflicts),
        },
    }
    findings = [
        gap, told, marked, repeated, close, opposed, share, room, begin_end_tokens(view, encoder), ended,
        empty_or_equal(view), left_out(skipped, view.n),
    ]  # fmt: skip
    return Examination(view.kind, view.n, worst_first([_placed(view, finding) for finding in findings]), figures)


def _numbered(view: View, groups: Groups) -> list[list[int]]:
    """Groups of records by their lines."""
    return [[view.number(place) for place in group] for group in groups]


def _placed(view: View, finding: Finding) -> Finding:
    """The finding, saying whether its lines are lines of a file; those that were skipped always are."""
    return finding if finding.check == "skipped" else replace(finding, where=view.where)
