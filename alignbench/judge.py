"""The contract of a judge: two completions in, a verdict out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args

from .errors import InputError
from .records import Comparison, Completion, Outcome, Prompt, Verdict
from .records import Usage as Usage  # noqa: PLC0414

ANSWERS = ("A", "B")


def _silent(fraction: float, text: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class JudgeContext:
    """What a run can give a judge: the benchmark's gold reward, and the models trained for judging (or None).

    For judges behind a server: `url` is where it is, empty for the service's own; `answers` the SQLite file that keeps
    every answer, None to keep them in memory; `timeout` the seconds that one request may take, `concurrency` how many
    run at once, `price` what a million tokens cost, (read, written), None where nobody said. `report(fraction, text)`
    hears how far a comparison has come.
    """

    gold: Callable[[Sequence[Prompt], Sequence[Completion]], list[float] | None]
    models: dict[str, Path]
    device: str = "cpu"
    url: str = ""
    answers: Path | None = None
    timeout: float = 60.0
    concurrency: int = 8
    price: tuple[float, float] | None = None
    report: Callable[[float, str], None] = _silent


class Judge(ABC):
    """Compares completions.

    Class attributes: `summary`, one line for `alignbench list judges`; `needs`, the stages that a run must train for
    it when it is named without an argument (a subset of "gold", "reward", "lm"); `asks`, whether it answers the
    benchmark's question, rather than scoring each completion by itself; `remote`, whether it asks a server, so that a
    question may stay unanswered and cost money.
    """

    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    asks: ClassVar[bool] = False
    remote: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def open(cls, argument: str, context: JudgeContext) -> Judge:
        """The judge of a spec `name[:argument]`. Raises `InputError` where the argument is wrong."""

    @abstractmethod
    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        """A verdict for each item, both orders asked."""

    @classmethod
    def identity(cls, argument: str, url: str) -> list[object]:
        """What its verdicts depend on besides its code, the content of its argument and the question: verdicts are kept
        under a key of all of these. By default the server's URL where it asks one. Raises `InputError`."""
        return [url] if cls.remote else []

    def check(self) -> None:
        """Find out, before anything is trained, whether the judge can be asked at all. Raises `InputError`."""
        return

    def usage(self) -> Usage | None:
        """What its answers have cost since it was opened, None where nothing is counted."""
        return None

    def problems(self) -> list[str]:
        """Why questions of the last `compare` stayed unanswered: a clause for each kind of reason, with its count."""
        return []


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


def checked(verdicts: object, count: int, judge: Judge) -> list[Verdict]:
    """What a judge has returned, held to the contract. Raises `InputError` where it does not keep it."""
    name = type(judge).__name__
    if not isinstance(verdicts, list) or len(verdicts) != count or not all(isinstance(v, Verdict) for v in verdicts):
        raise InputError(f"judge {name} must return a list of one Verdict for each of the {count} comparisons.")
    strange = {answer for v in verdicts for answer in (v.forward, v.swapped)} - set(get_args(Outcome))
    if strange:
        raise InputError(
            f"judge {name} answered {min(map(str, strange))!r}: give one of {', '.join(get_args(Outcome))}."
        )
    return verdicts
