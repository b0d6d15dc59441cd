"""The baseline that prefers the longer completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..judge import Judge, JudgeContext, by_score
from ..records import Comparison, Verdict


def length(text: str) -> int:
    """Characters (Unicode code points) of a text without the white space at its ends.

    Characters are what a reader sees of a length whoever wrote the text; tokens would be those of some tokenizer.
    """
    return len(text.strip())


@dataclass(frozen=True)
class Length(Judge):
    """Prefers the longer completion, in characters; equal lengths are a tie.

    A judge that does not agree with people better than this one may have learned nothing but length.
    """

    summary: ClassVar[str] = "a baseline: the longer completion wins, in characters; equal lengths are a tie"

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Length:
        if argument:
            raise InputError(f"judge length takes no argument, but was given {argument!r}: write `length`.")
        return cls()

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        return [by_score(length(item.first.text), length(item.second.text)) for item in items]
