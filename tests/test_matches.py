"""Verdicts on disk: found by the two files of samples they are on, whoever asks in whichever order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from alignbench.matches import Match, exchanged, match_file, read_match, total, write_match
from alignbench.records import Usage, Verdict
from alignbench.results import read_json

VERDICTS = [
    Verdict("first", "first", 1.5),
    Verdict("first", "second", -0.5),
    Verdict("tie", "second", 0.0),
    Verdict("unparsed", "refused"),
    Verdict("unanswered", "first"),
]


def test_a_match_comes_back_as_it_was_written(tmp_path: Path) -> None:
    match = Match(VERDICTS, [0, 2, 3, 5, 8], 1.25, Usage(10, 4, 1, 300, 12, 0.5), ("429",))
    write_match(tmp_path, "cells/b.jsonl", "stages/a.jsonl", match)
    assert read_match(tmp_path, "cells/b.jsonl", "stages/a.jsonl") == match
    assert read_match(tmp_path, "cells/b.jsonl", "stages/c.jsonl") is None
    assert match.unanswered == 1


def test_the_other_order_is_the_same_match_seen_from_the_other_side(tmp_path: Path) -> None:
    write_match(tmp_path, "x", "y", Match(VERDICTS))
    found = read_match(tmp_path, "y", "x")
    assert found is not None
    assert [(v.forward, v.swapped, v.margin) for v in found.verdicts] == [
        ("second", "second", -1.5),  # y loses in both orders
        # "x first: x; y first: y" always names what is shown first: so it does for y.
        ("first", "second", 0.5),
        ("first", "tie", 0.0),
        ("refused", "unparsed", None),
        ("second", "unanswered", None),
    ]
    for verdict, other in zip(VERDICTS, found.verdicts, strict=True):
        assert verdict.score + other.score == 1
        assert (verdict.contradiction, verdict.unusable) == (other.contradiction, other.unusable)
        assert exchanged(other) == verdict
        assert other.bounds == pytest.approx([1 - end for end in reversed(verdict.bounds)])


def test_one_file_for_both_orders_and_another_for_other_samples(tmp_path: Path) -> None:
    assert match_file(tmp_path, "x", "y") == match_file(tmp_path, "y", "x") != match_file(tmp_path, "x", "z")
    write_match(tmp_path, "y", "x", Match(VERDICTS))
    assert read_json(match_file(tmp_path, "x", "y"))["first"] == "y"
    assert len(list(tmp_path.iterdir())) == 1


def test_usage_adds_up() -> None:
    one, two = Usage(10, 4, 1, 300, 12, 0.5), Usage(2, 0, 0, 50, 2)
    assert total([one, None, one]) == Usage(20, 8, 2, 600, 24, 1.0)
    assert total([one, two]) == Usage(12, 4, 1, 350, 14, None), "what was asked without a price has no known cost"
    assert total([one, Usage(2, 2)]) == Usage(12, 6, 1, 300, 12, 0.5), "what was answered before costs nothing"
    assert total([two, two]) == Usage(4, 0, 0, 100, 4, None), "an unknown cost is no cost of 0"
    assert total([None, None]) is None and total([]) is None
    assert total([one]) == replace(one)
