"""Recorded verdicts as a judge."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ..errors import InputError
from ..formats import shown
from ..judge import Judge, JudgeContext
from ..records import Comparison, Outcome, Verdict
from ._recorded import Recorded, Texts, read_recorded

_OTHER: dict[Outcome, Outcome] = {"first": "second", "second": "first"}


class Replay(Judge):
    """Says again what a file of recorded verdicts says: LLMBar's, PandaLM's, or the `verdicts.jsonl` of an agreement.

    `replay:FILE`, or `replay:FILE::JUDGE` where the file holds the verdicts of several judges. Where the file has the
    texts, a verdict belongs to the comparison with the same prompt and outputs, in either order; texts that come
    several times are taken in the order of the file. A comparison that the file lacks is unanswered, and `problems`
    counts them; where the file knows none of the comparisons it is about other data, and refused. A file without texts
    is matched by number or by place, and has to have one verdict for each comparison (see `align`).

    Where the file holds one order only (`one_order`), the other is unanswered.
    """

    summary: ClassVar[str] = "recorded verdicts, replay:FILE: LLMBar's, PandaLM's or verdicts.jsonl of an agreement"

    def __init__(self, source: str, records: Sequence[Recorded]) -> None:
        self.source, self.records = source, tuple(records)
        self._by_texts: defaultdict[Texts, list[Recorded]] = defaultdict(list)
        for record in records:
            if record.texts is not None:
                self._by_texts[_key(record.texts)].append(record)
        self._places: list[int] | None = None
        self._missing = 0

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Replay:
        if not argument:
            raise InputError("judge replay needs a file of recorded verdicts: write replay:FILE.")
        file, mark, wanted = _parts(argument)
        records = read_recorded(file)
        judges = dict.fromkeys(record.judge for record in records if record.judge is not None)
        if mark and wanted not in judges:
            raise InputError(f"{file} has no verdicts of judge {wanted!r}, but of {_names(judges)}: name one of them.")
        if not mark and len(judges) > 1:
            example = f"replay:{file}::{next(iter(judges))}"
            raise InputError(f"{file} holds the verdicts of {_names(judges)}: name one judge, as in {example}.")
        return cls(file, [record for record in records if not mark or record.judge == wanted])

    @classmethod
    def identity(cls, argument: str, url: str) -> list[object]:
        """What is in the file, however it is named."""
        file, _, wanted = _parts(argument)
        path = Path(file).expanduser()
        return [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else file, wanted]

    @property
    def one_order(self) -> bool:
        """Whether no pair of the file was asked in both orders."""
        return all(record.swapped is None for record in self.records)

    @property
    def has_texts(self) -> bool:
        """Whether verdicts are found by the texts that they are about."""
        return bool(self._by_texts)

    def align(self, total: int, places: Sequence[int], numbers: Sequence[int] | None = None) -> None:
        """Which of the `total` pairs of a file the next comparisons are, for verdicts without texts.

        `places [N]` are places in the file, counted from 0. Where the pairs have numbers of their own, `numbers
        [total]`, and the verdicts too, they must be the same numbers; else the verdicts are in the order of the pairs.

        Raises:
            InputError: there are more or fewer verdicts than pairs, or they have other numbers.
        """
        if self.has_texts:
            return
        if len(self.records) != total:
            raise InputError(
                f"{self.source} holds {len(self.records)} verdicts, and there are {total} pairs: give the verdicts "
                "on these very pairs."
            )
        row = {record.number: place for place, record in enumerate(self.records)}
        if numbers is None or len(row) != total or None in row:
            self._places = list(places)
            return
        if strange := sorted(set(numbers) - row.keys()):
            raise InputError(f"{self.source} has no verdict on the pair of idx {strange[0]}: it is about other pairs.")
        self._places = [row[numbers[place]] for place in places]

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        return self._by_text(items) if self.has_texts else self._by_place(items)

    def problems(self) -> list[str]:
        if not self._missing:
            return []
        return [f"{self.source} holds no verdict on {self._missing} of the comparisons: they stay unanswered."]

    def _by_text(self, items: Sequence[Comparison]) -> list[Verdict]:
        found: list[Verdict | None] = []
        seen: Counter[Texts] = Counter()
        for item in items:
            texts = (item.prompt.text, item.first.text, item.second.text)
            known = self._by_texts.get(key := _key(texts), [])
            found.append(_verdict(known[min(seen[key], len(known) - 1)], texts) if known else None)
            seen[key] += 1
        missing = found.count(None)
        if items and missing == len(items):
            raise InputError(
                f"{self.source} holds no verdict on any of the {len(items)} comparisons, of which the first has the "
                f"prompt {shown(items[0].prompt.text)}: it is about other data."
            )
        self._missing += missing
        return [verdict or Verdict("unanswered", "unanswered") for verdict in found]

    def _by_place(self, items: Sequence[Comparison]) -> list[Verdict]:
        places = list(range(len(self.records))) if self._places is None else self._places
        if len(places) != len(items):
            raise InputError(
                f"{self.source} holds {len(self.records)} verdicts without the texts they are about, which cannot be "
                f"matched with {len(items)} comparisons: give a file with the texts."
            )
        return [_verdict(self.records[place], None) for place in places]


def _key(texts: Texts) -> Texts:
    """The same for both orders of the outputs."""
    prompt, first, second = texts
    return prompt, min(first, second), max(first, second)


def _verdict(record: Recorded, asked: Texts | None) -> Verdict:
    """What was recorded, about the comparison that is asked now: its outputs may be the other way round."""
    swapped = record.swapped or "unanswered"
    if asked is None or asked == record.texts:
        return Verdict(record.forward, swapped, record.margin)
    # What was shown forward then is the swapped order now.
    margin = None if record.margin is None else -record.margin
    return Verdict(_OTHER.get(swapped, swapped), _OTHER.get(record.forward, record.forward), margin)


def _names(judges: dict[str, None]) -> str:
    return shown(", ".join(judges), 120) if judges else "no judge that it names"


def _parts(argument: str) -> tuple[str, str, str]:
    """The file, `::` and the judge of `FILE::JUDGE`; a file of that whole name goes first."""
    if Path(argument).expanduser().exists() or "::" not in argument:
        return argument, "", ""
    return argument.rpartition("::")
