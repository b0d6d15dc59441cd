"""The contract of a judge: two completions in, a verdict out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .records import Comparison, Completion, Outcome, Prompt, Verdict

ANSWERS = ("A", "B")


@dataclass(frozen=True)
class JudgeContext:
    """What a run can give a judge: the benchmark's gold reward, and the models trained for judging (or None)."""

    gold: Callable[[Sequence[Prompt], Sequence[Completion]], list[float] | None]
    models: dict[str, Path]
    device: str = "cpu"


class Judge(ABC):
    """Compares completions.

    Class attributes: `summary`, one line for `alignbench list judges`; `needs`, the stages that a run must train for
    it when it is named without an argument (a subset of "gold", "reward", "lm"); `asks`, whether it answers the
    benchmark's question, rather than scoring each completion by itself.
    """

    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    asks: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, argument: str, context: JudgeContext) -> Judge:
        """The judge of a spec `name[:argument]`. Raises `InputError` where the argument is wrong."""

    @abstractmethod
    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        """A verdict for each item, both orders asked."""


def by_score(first: float, second: float) -> Verdict:
    """The verdict of a judge that scores each completion by itself: the order cannot matter."""
    outcome: Outcome = "tie" if first == second else "first" if first > second else "second"
    return Verdict(outcome, outcome, first - second)


def comparison_prompt(question: str, prompt: str, first: str, second: str) -> str:
    """What a language-model judge reads; the next token is its answer, A or B.

    Words stand between spaces, so that a tokenizer of words reads the same as one of bytes.
    """
    a, b = ANSWERS
    return f"{question}\nPrompt : {prompt}\n{a} : {first}\n{b} : {second}\nBetter :"
