"""Preference data in any format that some command reads, as records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..agree.pairs import LabelledPair
    from ..data import Records
    from ..formats import Skipped
    from ..records import Pair


def read_any(source: str, split: str | None = None) -> tuple[Records, list[str]]:
    """The records of a source, and remarks on how they were read.

    Besides what `read_records` takes, the files of `alignbench agree`: two outputs with labels of people.

    Raises:
        InputError: as `read_records`.
    """
    from ..data import read_records

    try:
        records = read_records(source, split)
    except InputError:
        if not _compared(source):
            raise
        return _read_compared(source)
    # What was skipped is a finding of its own.
    return records, list(records.remarks[bool(records.skipped) :])


def _compared(source: str) -> bool:
    """Whether a file that is in no format of preference data has the fields of compared outputs."""
    from ..data import read_rows
    from ..judges._recorded import layout_of

    if not Path(source).is_file():
        return False
    return layout_of({name for _, row in read_rows(source) for name in row}) is not None


def _read_compared(source: str) -> tuple[Records, list[str]]:
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
        remarks.append(f"{undecided} labels of single annotators are ties and no vote: `alignbench agree` counts them.")
    return Records(tuple(pairs), "pairs", tuple(skipped), source, found.fingerprint), remarks


def _pair(labelled: LabelledPair) -> Pair:
    from ..records import Pair

    first, second = labelled.comparison.first, labelled.comparison.second
    chosen, rejected = (first, second) if labelled.label == "first" else (second, first)
    votes = tuple(vote == labelled.label for vote in labelled.votes if vote in ("first", "second"))
    return Pair(labelled.comparison.prompt, chosen, rejected, votes, labelled.line)
