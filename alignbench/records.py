"""The record types: plain text, before any tokenizer has seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")

Message = dict[str, str]
"""A chat message, `{"role": ..., "content": ...}`."""


@dataclass(frozen=True)
class Prompt:
    """A prompt `x`.

    `text` is what a person or judge reads. `messages` is set when the data holds chat messages; the model then sees
    them through its tokenizer's chat template instead of `text`.
    """

    text: str
    messages: tuple[tuple[str, str], ...] | None = None  # (role, content), hashable


@dataclass(frozen=True)
class Completion:
    """A completion `y`. `ended` is False when generation was cut off, so that no end token belongs to it."""

    text: str
    ended: bool = True


@dataclass(frozen=True)
class Pair:
    """A preference `(x, y_chosen, y_rejected)`.

    `votes` holds one boolean an annotator, True where that annotator preferred `chosen`; empty when only the final
    label is known. `line` is the record's line in the user's file. `scores` are what a reward model or a judge gave
    chosen and rejected when the pair was made, where the data say so.
    """

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    votes: tuple[bool, ...] = ()
    line: int | None = None
    scores: tuple[float, float] | None = None

    @property
    def completions(self) -> tuple[Completion, ...]:
        return self.chosen, self.rejected


@dataclass(frozen=True)
class LabelledCompletion:
    """An unpaired label `(x, y, desirable?)`."""

    prompt: Prompt
    completion: Completion
    desirable: bool
    line: int | None = None

    @property
    def completions(self) -> tuple[Completion, ...]:
        return (self.completion,)


@dataclass(frozen=True)
class Ranking:
    """A list `(x, y_1, ..., y_K)`, the best completion first, no two equally good; K is two at least.

    Raises:
        ValueError: there are fewer than two completions.
    """

    prompt: Prompt
    completions: tuple[Completion, ...]
    line: int | None = None

    def __post_init__(self) -> None:
        if len(self.completions) < 2:
            raise ValueError(f"a ranking takes two completions or more, not {len(self.completions)}")

    @property
    def ends(self) -> Pair:
        """The best against the worst: what a judge is held against."""
        return self.pairs[0]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The K // 2 pairs of `nested`, what objectives on pairs and on labels learn from."""
        return tuple(Pair(self.prompt, better, worse, line=self.line) for better, worse in nested(self.completions))


def nested(ranked: Sequence[T]) -> tuple[tuple[T, T], ...]:
    """Pairs of a list in order: first against last, second against second to last, and so on.

    Each item is in one pair, so that as many different completions are read as there are in the list; the middle one of
    an odd number, neither good nor bad, is in none.
    """
    return tuple((ranked[i], ranked[-1 - i]) for i in range(len(ranked) // 2))


@dataclass(frozen=True)
class Demonstration:
    """What supervised fine-tuning imitates: `(x, y)`."""

    prompt: Prompt
    completion: Completion


Outcome = Literal["first", "second", "tie", "refused", "unparsed", "unanswered"]
"""An answer of a judge. It may decline to choose ("refused"), say something that names no side ("unparsed"), or never
come, after every retry ("unanswered"): only the last is asked again by the next run."""
UNUSABLE: frozenset[Outcome] = frozenset({"refused", "unparsed", "unanswered"})


@dataclass(frozen=True)
class Comparison:
    """What a judge is asked: which of two completions of one prompt is better."""

    prompt: Prompt
    first: Completion
    second: Completion


@dataclass(frozen=True)
class Verdict:
    """A judge's answers to one `Comparison`, asked in both orders.

    `forward` is the answer with the completions as given and `swapped` the answer with them exchanged, both already
    translated back: "first" always means `Comparison.first`. `margin` is the judge's own preference for `first`
    (log-odds or a difference of scores) where it has one.
    """

    forward: Outcome
    swapped: Outcome
    margin: float | None = None

    @property
    def score(self) -> float:
        """1 where `first` won, 0 where it lost; each order counts half, anything else than a winner scores 1/2."""
        return (_points(self.forward) + _points(self.swapped)) / 2

    @property
    def contradiction(self) -> bool:
        """The two orders name different winners."""
        return {self.forward, self.swapped} == {"first", "second"}

    @property
    def unusable(self) -> int:
        """How many of the two answers were refusals, could not be parsed or never came."""
        return sum(outcome in UNUSABLE for outcome in (self.forward, self.swapped))

    @property
    def unanswered(self) -> int:
        """How many of the two questions have no answer yet."""
        return (self.forward == "unanswered") + (self.swapped == "unanswered")

    @property
    def bounds(self) -> tuple[float, float]:
        """The score if every unusable answer had been a loss, and if it had been a win."""
        low, high = 0.0, 0.0
        for outcome in (self.forward, self.swapped):
            unusable = outcome in UNUSABLE
            low += 0.0 if unusable else _points(outcome) / 2
            high += 0.5 if unusable else _points(outcome) / 2
        return low, high


@dataclass
class Usage:
    """What a judge has cost so far. `questions` were asked of it (two a comparison), `cached` of them were answered
    before; `retries` are requests that had to be repeated; tokens are those of answers that were paid for now."""

    questions: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None  # in the currency of the price; None where no price is known


def _points(outcome: Outcome) -> float:
    return {"first": 1.0, "second": 0.0}.get(outcome, 0.5)


Kind = Literal["pairs", "labels", "rankings"]
"""What preference data are: pairs, single completions with a label, or ranked lists."""
Preferences = Sequence[Pair] | Sequence[LabelledCompletion] | Sequence[Ranking]
