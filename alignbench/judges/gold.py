"""The benchmark's true reward as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..judge import Judge, JudgeContext, by_score
from ..records import Comparison, Verdict


@dataclass(frozen=True)
class Gold(Judge):
    """Prefers the completion with the higher gold reward; equal rewards are a tie."""

    summary: ClassVar[str] = "the benchmark's true reward, where it has one"
    needs: ClassVar[frozenset[str]] = frozenset({"gold"})

    context: JudgeContext

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Gold:
        if argument:
            raise InputError(f"judge gold takes no argument, but was given {argument!r}: write `gold`.")
        return cls(context)

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        prompts = [item.prompt for item in items]
        first = self.context.gold(prompts, [item.first for item in items])
        second = self.context.gold(prompts, [item.second for item in items])
        if first is None or second is None:
            raise InputError("judge gold: this benchmark has no gold reward; use another judge, `reward` say.")
        return [by_score(a, b) for a, b in zip(first, second, strict=True)]
