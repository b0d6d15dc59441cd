"""Files and hub ids in, validated records out.

Whatever makes a whole source unreadable is an `InputError` that names the file and the line; whatever is wrong with
one record skips that record, and every skipped record is listed with its line, its field and the reason.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from .errors import InputError
from .formats import Record, Skipped, UnusableError, describe_skipped, parser_for, shown
from .reading import Row, read_rows
from .records import Kind, LabelledCompletion, Pair, Preferences, Prompt, Ranking

__all__ = [
    "Records", "Row", "Skipped", "check_disjoint", "describe_skipped", "distinct_prompts", "read_records", "read_rows",
    "split_by_prompt",
]  # fmt: skip

SplitT = TypeVar("SplitT", bound=str)


@dataclass(frozen=True)
class Records:
    """The valid records of one source; `fingerprint` is a sha256 of their content, whatever file holds it.

    `left_out` lists completions of rankings that are used without them: ties and repeated texts.
    """

    records: tuple[Pair, ...] | tuple[LabelledCompletion, ...] | tuple[Ranking, ...]
    kind: Kind
    skipped: tuple[Skipped, ...]
    source: str
    fingerprint: str
    left_out: tuple[Skipped, ...] = ()

    @property
    def total(self) -> int:
        """Records in the source, skipped ones included."""
        return len(self.records) + len(self.skipped)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out, each as one phrase."""
        said = [describe_skipped(self.skipped, self.total)] if self.skipped else []
        if self.left_out:
            listed = sum(len(r.completions) for r in self.records if isinstance(r, Ranking)) + len(self.left_out)
            said.append(describe_skipped(self.left_out, listed, what="completions of the other records"))
        return tuple(said)


def read_records(source: str, split: str | None = None) -> Records:
    """Read preference data: a file, a data set folder, or a hub id (which needs the network or a filled cache).

    The format is told from the fields: `prompt`/`chosen`/`rejected`, each text or a list of `{role, content}`;
    `chosen`/`rejected` alone, as whole conversations or as transcripts whose prompt goes up to the last
    "\\n\\nAssistant:"; `prompt`/`completion`/`label` (true/false, 1/0, "desirable"/"undesirable"). Where a pair has
    `ended`: {"chosen": false} or a label `ended`: false, that completion was cut off and gets no end token;
    `score_chosen` and `score_rejected` are kept as `Pair.scores`.
    `split` names a split of a folder or a hub data set; by default "train", or the only one.

    Raises:
        InputError: the source is missing, empty, unreadable or in no known format, or none of its records is usable.
    """
    rows = read_rows(source, split)
    left_out: list[Skipped] = []
    parse = parser_for({name for _, row in rows for name in row}, source, left_out.append)
    records: list[Any] = []
    skipped = []
    for line, row in rows:
        try:
            records.append(parse(row, line))
        except UnusableError as error:
            skipped.append(Skipped(line, error.field, error.reason))
    if not records:
        raise InputError(f"{source} holds no usable record: {describe_skipped(skipped, len(rows))}.")
    kinds: dict[type, Kind] = {Pair: "pairs", LabelledCompletion: "labels", Ranking: "rankings"}
    kind = kinds[type(records[0])]
    return Records(tuple(records), kind, tuple(skipped), source, _fingerprint(records), tuple(left_out))


def split_by_prompt(records: Preferences, shares: Mapping[SplitT, float], salt: str) -> dict[SplitT, Preferences]:
    """Deal records out by a hash of the prompt's text; `shares` sum to 1.

    Repeated prompts stay together, and where a record goes does not depend on the others, so that a file which grows
    keeps its splits.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise ValueError(f"the shares {dict(shares)} must not be negative and must sum to 1")
    names, uppers = list(shares), list(accumulate(shares.values()))
    parts: dict[SplitT, list[Any]] = {name: [] for name in names}
    for record in records:
        # A point is below 1, so that it falls below the last bound, and a share of 0 has no room between two bounds.
        point = _point(record.prompt.text, salt) * uppers[-1]
        parts[names[bisect_right(uppers, point)]].append(record)
    return {name: tuple(part) for name, part in parts.items()}


def distinct_prompts(records: Iterable[Record], salt: str) -> tuple[Prompt, ...]:
    """Each prompt once, in the order of a hash of its text: any prefix is a fair sample of them."""
    prompts = dict.fromkeys(record.prompt for record in records)
    return tuple(sorted(prompts, key=lambda prompt: (_point(prompt.text, salt), prompt.text)))


def check_disjoint(train: Records, evaluation: Records) -> None:
    """Raise `InputError`, naming the prompt and both lines, where the two sources share a prompt."""
    lines: dict[str, int | None] = {}
    for record in train.records:
        lines.setdefault(record.prompt.text, record.line)
    for record in evaluation.records:
        text = record.prompt.text
        if text in lines:
            raise InputError(
                f"{evaluation.source} line {record.line} holds the prompt {shown(text)} of {train.source} line "
                f"{lines[text]}: evaluation prompts must not be trained on, remove it from one of the two."
            )


def _point(text: str, salt: str) -> float:
    """A number in [0, 1) fixed by the text: 48 bits are exact in a float."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{text}".encode()).digest()[:6], "big") / 2**48


def _fingerprint(records: Iterable[Record]) -> str:
    hashed = hashlib.sha256()
    for record in records:
        texts = [completion.text for completion in record.completions]
        content: list[Any] = [record.prompt.text, record.prompt.messages]
        content += [texts] if isinstance(record, Ranking) else texts
        content += [record.desirable] if isinstance(record, LabelledCompletion) else []
        content += record.scores or () if isinstance(record, Pair) else ()
        if not all(completion.ended for completion in record.completions):
            content.append([completion.ended for completion in record.completions])
        hashed.update(json.dumps(content).encode() + b"\n")
    return hashed.hexdigest()
