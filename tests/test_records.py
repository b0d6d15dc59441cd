"""The record types: how a judge's two answers are scored, and that records can be compared and be keys."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from alignbench import Completion, LabelledCompletion, Pair, Prompt, Verdict
from alignbench.records import Outcome


@pytest.mark.parametrize(
    ("forward", "swapped", "score", "contradiction", "unusable", "bounds"),
    [
        ("first", "first", 1.0, False, 0, (1.0, 1.0)),
        ("second", "second", 0.0, False, 0, (0.0, 0.0)),
        ("first", "second", 0.5, True, 0, (0.5, 0.5)),
        ("second", "first", 0.5, True, 0, (0.5, 0.5)),
        ("first", "tie", 0.75, False, 0, (0.75, 0.75)),
        ("tie", "second", 0.25, False, 0, (0.25, 0.25)),
        ("tie", "tie", 0.5, False, 0, (0.5, 0.5)),
        ("first", "refused", 0.75, False, 1, (0.5, 1.0)),
        ("unparsed", "second", 0.25, False, 1, (0.0, 0.5)),
        ("tie", "unparsed", 0.5, False, 1, (0.25, 0.75)),
        ("refused", "unparsed", 0.5, False, 2, (0.0, 1.0)),
    ],
)
def test_a_verdict_scores_the_mean_of_both_orders(
    forward: Outcome, swapped: Outcome, score: float, contradiction: bool, unusable: int, bounds: tuple[float, float]
) -> None:
    verdict = Verdict(forward, swapped)
    assert verdict.score == score
    assert verdict.contradiction is contradiction
    assert verdict.unusable == unusable
    assert verdict.bounds == bounds


def test_records_are_values() -> None:
    prompt = Prompt("Hi", messages=(("user", "Hi"),))
    assert Prompt("Hi") != prompt
    assert len({prompt, Prompt("Hi", messages=(("user", "Hi"),)), Prompt("Hi")}) == 2
    pair = Pair(prompt, Completion("a"), Completion("b", ended=False), votes=(True, False), line=3)
    assert pair == Pair(prompt, Completion("a"), Completion("b", ended=False), votes=(True, False), line=3)
    assert hash(LabelledCompletion(prompt, Completion("a"), desirable=True)) is not None
    assert (Completion("a").ended, Pair(prompt, Completion("a"), Completion("b")).votes) == (True, ())
    with pytest.raises(FrozenInstanceError):
        pair.line = 4  # type: ignore[misc]
