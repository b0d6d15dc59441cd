"""The samples on the page: which seed and prompts, and a judge's two answers in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alignbench.records import Verdict
from alignbench.report.page_samples import examples, read_verdict
from alignbench.report.store import read_store
from tests.synthetic import Synthetic
from tests.synthetic_judging import write_verdicts
from tests.synthetic_store import write_store


@pytest.mark.parametrize(
    ("forward", "swapped", "outcome", "orders", "side"),
    [
        ("first", "first", "won", "in both orders", "won"),
        ("second", "second", "lost", "in both orders", "lost"),
        ("tie", "tie", "tie", "in both orders", "neither"),
        ("refused", "refused", "refused", "in both orders", "neither"),
        ("first", "second", "contradiction", "won when shown first, lost when shown second", "neither"),
        ("second", "first", "contradiction", "lost when shown first, won when shown second", "neither"),
        ("first", "tie", "won and tie", "won when shown first, tie when shown second", "won"),
        ("tie", "second", "lost and tie", "tie when shown first, lost when shown second", "lost"),
        ("unparsed", "second", "unparsed", "unparsed when shown first, lost when shown second", "lost"),
        ("first", "unanswered", "unanswered", "won when shown first, unanswered when shown second", "won"),
        ("refused", "unparsed", "refused", "refused when shown first, unparsed when shown second", "neither"),
    ],
)
def test_two_answers_in_words(forward: Any, swapped: Any, outcome: str, orders: str, side: str) -> None:
    found = read_verdict("lm", Verdict(forward, swapped))
    assert found == {"judge": "lm", "outcome": outcome, "orders": orders, "side": side}


def test_a_judge_that_was_not_asked_says_nothing() -> None:
    assert read_verdict("lm", None)["outcome"] == "not asked"


def test_the_seed_is_the_first_that_the_most_specs_have_finished(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(prompts=6, pairs=2, failed=[("dpo", 0), ("kto", 2), ("ppo", 1)]))
    shown = examples(read_store(folder))
    assert (shown["seed"], shown["specs"], shown["missing"]) == (0, ["kto", "ppo"], ["dpo"])
    folder = write_store(tmp_path / "more", Synthetic(prompts=6, pairs=2, failed=[("dpo", 0), ("dpo", 1)]))
    assert examples(read_store(folder))["seed"] == 2


def test_judges_that_agree_leave_one_group_and_silence_no_distance(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=2)
    folder = write_store(tmp_path, what)
    for judge in what.judges:
        answers: list[list[Any]] = [["first", "first", None]] * 5 + [["second", "second", None]]
        answers[4] = ["refused", "refused", None] if judge == "lm" else answers[4]
        write_verdicts(folder, what, judge, "dpo", "reference", 0, answers)
    (group,) = examples(read_store(folder))["groups"]
    assert group["title"] == "The first prompts"
    assert {prompt["distance"] for prompt in group["prompts"]} == {0.0}
