"""Pairs with human labels: files in, validated pairs out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data import Row, Skipped, describe_skipped, read_rows
from ..errors import InputError
from ..formats import UnusableError, shown
from ..judges._recorded import LAYOUTS, WINNERS, layout_of, texts_of, winner
from ..records import Comparison, Completion, Outcome, Prompt
from ..results import digest

Vote = Outcome | None  # "first", "second" or "tie"; None where an annotator gave none

MANY = 5  # records that show how an annotator's labels are coded


@dataclass(frozen=True)
class LabelledPair:
    """A pair, what each annotator said of it, and the label that judges are held against.

    `label` is the file's own where it has one, else the annotators' majority; None where there is no majority, because
    as many named one as another. `place` counts the file's records from 0, `line` its lines from 1.
    """

    comparison: Comparison
    votes: tuple[Vote, ...]
    label: Vote
    line: int
    place: int


@dataclass(frozen=True)
class LabelledPairs:
    """The usable pairs of a file. `annotators` are their names, in the order of `votes`; empty with one label a pair.

    `own_label` says that the file has a label beside or without annotators', so that none is made from theirs.
    `numbers [total]` are the records' own `idx`, None where they have none. `remarks` are sentences on what a reader
    of the figures should know about the labels.
    """

    pairs: tuple[LabelledPair, ...]
    annotators: tuple[str, ...]
    own_label: bool
    skipped: tuple[Skipped, ...]
    source: str
    total: int
    numbers: tuple[int, ...] | None
    fingerprint: str
    remarks: tuple[str, ...]


def read_pairs(source: str, limit: int | None = None) -> LabelledPairs:
    """Read pairs with human labels; of the usable ones the first `limit`.

    Known are `prompt`/`output_1`/`output_2`, LLMBar's `input`/`output_1`/`output_2` and PandaLM's
    `instruction`[/`input`]/`response1`/`response2`, each with `label`, `labels` (a list, one an annotator) or
    `annotator1`, `annotator2`, ... A label is 1, 2 or 0 for a tie, as number or text, or "A", "B", "tie". A record that
    is not sound is skipped and listed with its line, its field and the reason.

    Raises:
        InputError: the file is missing, unreadable or in no known format, has no usable record, or codes its labels in
            a way that would be misread.
    """
    rows = read_rows(source)
    layout, fields = _format({name for _, row in rows for name in row}, source)
    pairs: list[LabelledPair] = []
    skipped = []
    for place, (line, row) in enumerate(rows):
        try:
            pairs.append(_pair(row, layout, fields, line, place))
        except UnusableError as error:
            skipped.append(Skipped(line, error.field, error.reason))
    if not pairs:
        raise InputError(f"{source} holds no usable pair: {describe_skipped(skipped, len(rows))}.")
    annotators = _annotators(pairs, fields)
    _check_coding(rows, fields, source)
    _check_annotators(pairs, annotators, source)
    used = tuple(pairs[:limit])
    return LabelledPairs(
        pairs=used,
        annotators=annotators,
        own_label="label" in fields,
        skipped=tuple(skipped),
        source=source,
        total=len(rows),
        numbers=_numbers(rows),
        fingerprint=_fingerprint(used),
        remarks=tuple(_remarks(used)),
    )


def majority(votes: Sequence[Vote]) -> Vote:
    """What most annotators said; None where two answers are equally frequent, or nobody voted."""
    counts = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


def _format(found: set[str], source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of the texts, and those of the labels: `label`, `labels` and every `annotator<number>` there is."""
    layout = layout_of(found)
    annotators = [name for name in found if re.fullmatch(r"annotator_?\d+", name)]
    labels: list[str] = [name for name in ("label", "labels") if name in found]
    labels += sorted(annotators, key=lambda name: int(re.sub(r"\D", "", name)))
    if layout and labels and not ("labels" in labels and annotators):
        return layout, tuple(labels)
    has = f"it has the fields {shown(', '.join(sorted(found)), 160)}"
    if layout and labels:
        raise InputError(f"{source} has both labels and {annotators[0]}, ...: leave one of the two out.")
    if layout:
        raise InputError(f"{source} has no human label: {has}; add label, labels or annotator1, annotator2.")
    known = " or ".join("/".join(names) for names in LAYOUTS)
    raise InputError(f"{source} holds no compared pairs: {has}, and understood are {known}, each with label.")


def _pair(row: dict[str, Any], layout: Sequence[str], fields: Sequence[str], line: int, place: int) -> LabelledPair:
    prompt, first, second = texts_of(row, layout)
    if not (first.strip() or second.strip()):  # one alone is an answer that somebody judged
        raise UnusableError(layout[1], f"empty, and so is {layout[2]}")
    votes: list[Vote] = []
    for name in fields:
        if name == "labels":
            votes += _votes(row.get(name))
        elif name != "label":
            votes.append(None if row.get(name) is None else _label(row[name], name))
    label = _label(row.get("label"), "label", "label" in row) if "label" in fields else majority(votes)
    if "label" not in fields and not any(votes):
        raise UnusableError(fields[0], "no annotator's label")
    comparison = Comparison(Prompt(prompt), Completion(first), Completion(second))
    return LabelledPair(comparison, tuple(votes), label, line, place)


def _votes(value: Any) -> list[Vote]:
    if not isinstance(value, list):
        raise UnusableError("labels", "missing" if value is None else "not a list of labels")
    return [None if vote is None else _label(vote, "labels") for vote in value]


def _label(value: Any, name: str, there: bool = True) -> Outcome:
    if value is None:
        raise UnusableError(name, "null" if there else "missing")
    found = winner(value)
    if found is None:
        raise UnusableError(name, f"{shown(str(value), 30)} is none of {WINNERS}")
    return found


def _annotators(pairs: list[LabelledPair], fields: Sequence[str]) -> tuple[str, ...]:
    """The annotators' names; the votes are filled up to their number where some records have fewer."""
    most = max(len(pair.votes) for pair in pairs)
    for place, pair in enumerate(pairs):
        votes = (*pair.votes, *[None] * (most - len(pair.votes)))
        pairs[place] = LabelledPair(pair.comparison, votes, pair.label, pair.line, pair.place)
    named = [name for name in fields if name not in ("label", "labels")]
    return tuple(named or (f"annotator{number}" for number in range(1, most + 1)))


def _check_coding(rows: Sequence[Row], fields: Sequence[str], source: str) -> None:
    """0 and 1 alone may be places counted from 0, which would be read as ties and wins of the first output."""
    values = [value for _, row in rows for name in fields for value in _flat(row.get(name))]
    kinds = {winner(value) for value in values}
    numeric = {str(value).strip().removesuffix(".0") for value in values}
    if {"0", "1"} <= numeric and "second" not in kinds:
        raise InputError(
            f"{source}: every label is 0 or 1, which reads as a tie or output_1 and never as output_2: write 1 and 2 "
            'for the better output if they count from 0, and "tie" for 0 if these are ties.'
        )


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_annotators(pairs: Sequence[LabelledPair], annotators: Sequence[str], source: str) -> None:
    """One annotator's 0/1 among others' 1/2 would be taken for ties and wins of the first output."""
    for place, name in enumerate(annotators):
        own = [
            pair.votes[place]
            for pair in pairs
            if pair.votes[place] is not None
            and majority([vote for other, vote in enumerate(pair.votes) if other != place]) == "second"
        ]
        everything = {pair.votes[place] for pair in pairs} - {None}
        if len(own) >= MANY and everything == {"first", "tie"}:
            raise InputError(
                f"{source}: {name} says only 1 or 0, also of {len(own)} pairs where the others prefer output_2: write "
                "1 and 2 for the better output and 0 for a tie, the same for every annotator."
            )


def _numbers(rows: Sequence[Row]) -> tuple[int, ...] | None:
    numbers = [row.get("idx") for _, row in rows]
    whole = [number for number in numbers if isinstance(number, int) and not isinstance(number, bool)]
    return tuple(whole) if len(set(whole)) == len(rows) else None


def _fingerprint(pairs: Sequence[LabelledPair]) -> str:
    """A hash of what is compared and how it was labelled, whatever file holds it."""
    return digest([[pair.comparison, pair.votes, pair.label] for pair in pairs])


def _remarks(pairs: Sequence[LabelledPair]) -> list[str]:
    remarks = []
    labels = {pair.label for pair in pairs} - {None}
    if len(labels) == 1:
        remarks.append(
            f"every label is {NAMES[labels.pop()]}: against one value kappa and alpha say nothing; shuffle the outputs."
        )
    seen: dict[Comparison, set[Vote]] = {}
    for pair in pairs:
        seen.setdefault(pair.comparison, set()).add(pair.label)
    if repeated := len(pairs) - len(seen):
        torn = sum(len(votes - {None}) > 1 for votes in seen.values())
        other = f"; pairs among them whose labels differ: {torn}" if torn else ""
        remarks.append(f"records that repeat the texts of another, all of them kept: {repeated}{other}.")
    if same := sum(pair.comparison.first.text == pair.comparison.second.text for pair in pairs):
        remarks.append(f"pairs of two equal outputs, all of them kept: {same}.")
    if undecided := sum(pair.label is None for pair in pairs):
        remarks.append(f"pairs without a majority, which count in no figure against it: {undecided}.")
    return remarks


NAMES: dict[Vote, str] = {"first": "output_1", "second": "output_2", "tie": "a tie"}
