"""Pairs of an answer and its corrected form: the answer is rejected, the same with words replaced is chosen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from ..formats import shown
from ..records import Completion
from ..results import Json, digest
from .drawing import Drawing, Drawn, Sampling, Tally, Watcher
from .made import Made, pair
from .sources import Item, Items
from .storing import check_out

HOW = "correction"
# Letters, digits and marks of scripts that write words apart (Latin, Greek, Cyrillic, Armenian). In others a name is
# often written together with what stands beside it, so that nothing tells where it ends.
APART = r"[^\W\u0590-\u1dff\u2000-\U0010ffff]"


@dataclass(frozen=True)
class Rule:
    """`old` becomes `new`."""

    old: str
    new: str

    @classmethod
    def parse(cls, text: str) -> Rule:
        """`OLD=NEW`; the first `=` parts them, and NEW may be empty. Raises `InputError`."""
        old, mark, new = text.partition("=")
        if not mark or not old.strip():
            raise InputError(f"--replace {shown(text)}: write OLD=NEW, as in --replace Llama=Athene.")
        if old == new:
            raise InputError(f"--replace {shown(text)} replaces a text by itself: give another NEW.")
        return cls(old, new)


@dataclass(frozen=True)
class Rules:
    """What is replaced in an answer, all at once: what a rule has written no other rule changes, so that `A=B` and
    `B=A` exchange the two.

    A text is meant literally and as whole words: beside an `old` that begins or ends with a letter or a digit there is
    no other one, so that "Llama" is found in "Llama's" and in "Llama-3" but not in "Llamas". `anywhere` finds it there
    too. Where several rules fit, the longest text counts. `new` is written as it is, whatever the case of what it
    replaces.

    Raises:
        InputError: there is no rule, or two have the same `old`.
    """

    rules: tuple[Rule, ...]
    ignore_case: bool = False
    anywhere: bool = False

    def __post_init__(self) -> None:
        if not self.rules:
            raise InputError("--how correction: say what is replaced by what, --replace OLD=NEW.")
        seen: dict[str, Rule] = {}
        for rule in self.rules:
            other = seen.setdefault(self._name(rule.old), rule)
            if other is not rule:
                raise InputError(f"--replace: {shown(rule.old)} is replaced twice: give it once.")

    def apply(self, text: str) -> tuple[str, Counter[Rule]]:
        """The text with everything replaced, and how often each rule was used."""
        used: Counter[Rule] = Counter()

        def new(found: re.Match[str]) -> str:
            rule = self._found[int(str(found.lastgroup)[1:])]
            used[rule] += 1
            return rule.new

        return self._pattern.sub(new, text), used

    def _name(self, old: str) -> str:
        return old.lower() if self.ignore_case else old

    @cached_property
    def _found(self) -> list[Rule]:
        return sorted(self.rules, key=lambda rule: -len(rule.old))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = [f"(?P<r{i}>{self._one(rule.old)})" for i, rule in enumerate(self._found)]
        return re.compile("|".join(parts), re.IGNORECASE if self.ignore_case else 0)

    def _one(self, old: str) -> str:
        """The pattern of one text, with its boundaries."""
        if self.anywhere:
            return re.escape(old)
        before = rf"(?<!{APART})" if re.match(APART, old[0]) else ""
        after = rf"(?!{APART})" if re.match(APART, old[-1]) else ""
        return before + re.escape(old) + after


def correct(
    items: Items,
    rules: Rules,
    work: Path,
    watcher: Watcher,
    sampling: Sampling | None = None,
    out: Path | None = None,
) -> Made:
    """Pair every answer with its corrected form; with `sampling`, the answers that a model gives to the prompts.

    An answer in which nothing is replaced makes no pair. Sampled answers are kept in the folder `work`.

    Raises:
        InputError: the model cannot be used, or `out` holds something else or cannot be written.
    """
    drawing = None if sampling is None else Drawing(items.items, sampling, work)
    described: Json = {} if sampling is None else sampling.described
    told = drawing.keys if drawing is not None else [[item.prompt, item.answer] for item in items.items]
    key = digest(HOW, rules, told)
    if out is not None:
        check_out(out, key)
    if drawing is not None:
        drawing.fill(watcher)
    records, dropped, used = list[Json](), Counter[str](), Counter[Rule]()
    tally = Tally(sampling.max_new_tokens if sampling is not None else 0)
    for drawn in _answers(items.items, drawing):
        if sampling is not None:
            tally.add(drawn)
        item, answer = drawn.item, drawn.samples[0] if drawn.samples else Completion("")
        corrected, found = rules.apply(answer.text)
        reason = drawn.problem or _reason(answer.text, corrected, found)
        dropped[reason] += bool(reason)
        how: Json = {"how": HOW, "replaced": [{"old": r.old, "new": r.new, "times": n} for r, n in found.items()]}
        if sampling is not None or not answer.ended:
            how |= {"ended": {"chosen": answer.ended, "rejected": answer.ended}}
        how |= {"line": item.line, "key": key, **described}
        if not reason:
            used += found
            records.append(pair(item.prompt, Completion(corrected, answer.ended), answer, how))
    counts = Counter({rule.old: used[rule] for rule in rules.rules})
    return Made(tuple(records), items, +dropped, samples=tally.samples, notes=tally.notes(), replaced=counts)


def _answers(items: Sequence[Item], drawing: Drawing | None) -> Iterator[Drawn]:
    """Each prompt with the one answer to it, the file's or the model's."""
    if drawing is not None:
        for block in range(len(drawing.blocks)):
            yield from drawing.read(block)
        return
    for item in items:
        yield Drawn(item, () if item.answer is None else (item.answer,))


def _reason(answer: str, corrected: str, found: Counter[Rule]) -> str:
    """Why an answer makes no pair, nothing where it makes one."""
    if not answer.strip():
        return "empty answer"
    if not found or corrected == answer:
        return "nothing to replace"
    return "" if corrected.strip() else "nothing left of the answer"
