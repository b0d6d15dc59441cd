"""Ranked lists that cannot be used: each is one sentence that says where and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench import InputError
from alignbench.data import Skipped, read_records
from tests.preference_files import Row, lines, read
from tests.test_rankings import USER, ranking, says

GOOD: Row = {"prompt": "x", "completions": ["a", "b"], "ranking": [1, 2]}
NO_ORDER = "in no order: give ranking (1 is the best) or scores (the highest is the best)"
NO_RANK = "0 is no rank: it gives the place of each completion, 1 the best"
BAD: dict[str, tuple[Row, str, str]] = {
    "no order": ({**GOOD, "ranking": None}, "completions", NO_ORDER),
    "no order field": ({"prompt": "x", "completions": ["a", "b"]}, "completions", NO_ORDER),
    "no list": ({"prompt": "x", "ranking": [1, 2]}, "completions", "missing"),
    "one text": ({**GOOD, "completions": "a"}, "completions", "not a list of two completions or more"),
    "one completion": ({**GOOD, "completions": ["a"]}, "completions", "not a list of two completions or more"),
    "no prompt": ({**GOOD, "prompt": None}, "prompt", "null"),
    "too few ranks": ({**GOOD, "ranking": [1]}, "ranking", "not a list of 2 numbers, one for each of completions"),
    "one rank": ({**GOOD, "ranking": 1}, "ranking", "not a list of 2 numbers, one for each of completions"),
    "a name for a rank": ({**GOOD, "ranking": ["best", 2]}, "ranking", '"\\"best\\"" is no number'),
    "an order of indices for ranks": ({**GOOD, "ranking": [1, 0]}, "ranking", NO_RANK),
    "null for a rank": ({**GOOD, "ranking": [1, None]}, "ranking", '"null" is no number'),
    "truth for a rank": ({**GOOD, "ranking": [True, False]}, "ranking", '"true" is no number'),
    "no finite score": ({**GOOD, "ranking": None, "scores": [1, float("nan")]}, "scores", '"NaN" is no number'),
    "infinite": ({**GOOD, "ranking": None, "scores": [1, float("inf")]}, "scores", '"Infinity" is no number'),
    "two orders": ({**GOOD, "scores": [2, 1]}, "scores", "given beside ranking: keep one of them"),
    "one without a rank": (
        {"prompt": "x", "completions": [{"text": "a", "rank": 1}, {"text": "b"}]},
        "rank of completions",
        '"null" is no number',
    ),
    "empty completion": ({**GOOD, "completions": ["a", " "]}, "completions[1]", "empty completion"),
    "null completion": ({**GOOD, "completions": ["a", None]}, "completions[1]", 'not text but "null"'),
    "object without text": (
        {**GOOD, "completions": ["a", {"reply": "b"}]},
        "completions[1]",
        "not one of response, answer, text, content",
    ),
    "object with two texts": (
        {**GOOD, "completions": [{"text": "a", "answer": "b"}, "b"]},
        "completions[0]",
        "more than one of response, answer, text, content",
    ),
    "half a surrogate": (
        {**GOOD, "completions": ["a", "\ud800"]},
        "completions[1]",
        "not valid Unicode (half of a surrogate pair)",
    ),
    "another conversation": (
        {"prompt": [USER], "completions": [[says("a")], [says("b"), says("c")]], "ranking": [1, 2]},
        "completions[1]",
        "does not continue the prompt",
    ),
    "the user's turn": (
        {"prompt": [USER], "completions": [[says("a")], [USER]], "ranking": [1, 2]},
        "completions[1]",
        "the last message is not the assistant's",
    ),
    "text and messages": (
        {**GOOD, "completions": ["a", [says("b")]]},
        "completions[1]",
        "its prompt is not that of completions[0]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_list_is_skipped_and_listed(tmp_path: Path, case: str) -> None:
    row, field, reason = BAD[case]
    found = read(tmp_path, GOOD, row, GOOD)
    assert [record.line for record in found.records] == [1, 3]
    assert found.skipped == (Skipped(2, field, reason),)
    assert found.left_out == (), "a completion of a record that is skipped is not counted apart"


def test_scores_too_large_for_a_float_are_still_compared(tmp_path: Path) -> None:
    huge = 10**400
    found = read(tmp_path, {"prompt": "x", "completions": ["b", "a"], "scores": [huge, huge + 1]})
    assert found.records == (ranking("x", "a", "b"),)


def test_lists_in_no_order_are_refused_and_not_read_as_best_first(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"prompt": "x", "completions": ["a", "b"], "rewards": [1, 2]}))
    with pytest.raises(InputError) as caught:
        read_records(str(tmp_path / "a.jsonl"))
    assert str(caught.value) == (
        f"{tmp_path / 'a.jsonl'} holds no usable record: skipped 1 of 1 records: line 1 (completions: {NO_ORDER})."
    )
