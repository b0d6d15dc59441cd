"""Preference data in any format that some command reads, as records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError

if TYPE_CHECKING:
    from ..agree.pairs import LabelledPair
    from ..data import Records
    from ..formats import Skipped
    from ..records import Pair


class Ties(NamedTuple):
    """Labels of people that prefer neither output: single votes, and pairs of which that is the label."""

    votes: int
    pairs: int


class Found(NamedTuple):
    """The records of a source, remarks on how they were read, and the ties that are no part of them."""

    records: Records
    remarks: list[str]
    ties: Ties = Ties(0, 0)


def read_any(source: str, split: str | None = None) -> Found:
    """The records of a source; besides what `read_records` takes, of the files of `alignbench agree`: two outputs with
    labels of people.

    Raises:
        InputError: as `read_records`, and for a split of such a file.
    """
    from ..data import read_records

    try:
        records = read_records(source, split)
    except InputError:
        # One file has no splits: that error is the one to be told.
        if split is not None or not _compared(source):
            raise
        return _read_compared(source)
    # What was skipped is a finding of its own.
    return Found(records, list(records.remarks[bool(records.skipped) :]))


def _compared(source: str) -> bool:
    """Whether a file that is in no format of preference data has the fields of compared outputs."""
    from ..data import read_rows
    from ..judges._recorded import layout_of

    if not Path(source).is_file():
        return False
    return layout_of({name for _, row in read_rows(source) for name in row}) is not None


def _read_compared(source: str) -> Found:
    """Each pair with the output that people prefer as the chosen one; ties, and pairs without a majority, are skipped.

    The votes are those of the annotators who prefer one of the two.
    """
    from ..agree.pairs import read_pairs
    from ..data import Records
    from ..formats import Skipped

    found = read_pairs(source)
    pairs: list[Pair] = []
    skipped: list[Skipped] = list(found.skipped)
    for labelled in found.pairs:
        if labelled.label in ("first", "second"):
            pairs.append(_pair(labelled))
        else:
            skipped.append(Skipped(labelled.line, "label", "a tie" if labelled.label == "tie" else "no majority"))
    if not pairs:
        raise InputError(f"{source} holds no pair of which one output is preferred: there is nothing to learn from it.")
    skipped.sort(key=lambda each: each.line or 0)
    label = "label" if found.own_label else "label of most annotators"
    remarks = [f"Two outputs with labels of people: the one that the {label} names is read as chosen."]
    undecided = sum(vote == "tie" for labelled in found.pairs for vote in labelled.votes)
    if undecided:
        remarks.append(
            f"{undecided} labels of single annotators are ties and no vote, so agreement is that of the others alone: "
            "`alignbench agree` counts them."
        )
    ties = Ties(undecided, sum(labelled.label == "tie" for labelled in found.pairs))
    return Found(Records(tuple(pairs), "pairs", tuple(skipped), source, found.fingerprint), remarks, ties)


def _pair(labelled: LabelledPair) -> Pair:
    from ..records import Pair

    first, second = labelled.comparison.first, labelled.comparison.second
    chosen, rejected = (first, second) if labelled.label == "first" else (second, first)
    votes = tuple(vote == labelled.label for vote in labelled.votes if vote in ("first", "second"))
    return Pair(labelled.comparison.prompt, chosen, rejected, votes, labelled.line)
