"""The baseline that tosses a coin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..judge import Judge, JudgeContext
from ..records import Comparison, Outcome, Verdict


@dataclass(frozen=True)
class Random(Judge):
    """Tosses a fair coin for each question in each order.

    The coin is a hash of the question, the prompt and the two texts in the order in which they are shown: the two
    orders of a comparison are independent coins, so that it contradicts itself on half of the pairs, and the same
    question always gets the same answer, in this process or another.
    """

    summary: ClassVar[str] = "a baseline: a coin for each order, the same whenever the same is asked"

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Random:
        if argument:
            raise InputError(f"judge random takes no argument, but was given {argument!r}: write `random`.")
        return cls()

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        return [_verdict(question, item.prompt.text, item.first.text, item.second.text) for item in items]


def _verdict(question: str, prompt: str, first: str, second: str) -> Verdict:
    forward: Outcome = "first" if _heads(question, prompt, first, second) else "second"
    swapped: Outcome = "second" if _heads(question, prompt, second, first) else "first"
    return Verdict(forward, swapped)


def _heads(*shown: str) -> bool:
    """A fair bit that is fixed by the texts; JSON keeps apart where one ends and the next begins."""
    return hashlib.sha256(json.dumps(shown).encode()).digest()[0] % 2 == 0
