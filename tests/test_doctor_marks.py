"""Single marks that tell chosen from rejected."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alignbench.doctor import view
from alignbench.doctor.bags import holds
from alignbench.doctor.markers import markers as separate
from alignbench.doctor.markers import marks
from alignbench.records import Completion, Prompt
from tests.doctor_records import labels, pairs, planted

markers_module = import_module("alignbench.doctor.markers")  # the package has a function of that name


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("I'm sorry, ", "", 'The phrase "i\'m sorry"'), ("Yes, Tom, ", "", 'The opening "yes tom"'),
        ("", "\n\n", "A trailing space"), ("", "\n\nSo", "An empty line"), ("", "\nSo", "A line break"),
        ("", "\n- one", "A bullet"), ("", "\n2. one", "A numbered list"), ("# So\n", "", 'The opening "so"'),
        ("", "\n## So\n", "A header"), ("", "\n```\nx\n```", "A code fence"), ("", " **now**", "Bold"),
        ("", " 🙂", "An emoji"), ("", " As an AI model", 'The phrase "as an ai"'), (" ", "", "A leading space"),
        ("\n", "", "A leading line break"), ("", " https://a.b/c", "A link"), ("", " Yes", 'The word "yes"'),
        ("", " 7", "A number"), ("", ":", 'The ending ":"'),
    ],
)  # fmt: skip
def test_a_planted_mark_is_named(before: str, after: str, named: str) -> None:
    made = [replace(pair, chosen=Completion(before + pair.chosen.text + after)) for pair in pairs(60)]
    finding, found_ = separate(view.View(made))
    assert finding.level == "bad" and finding.said.startswith(f"{named} marks chosen: right in 100.0 %"), finding.said
    assert finding.lines == tuple(pair.line for pair in made) and found_[0]["accuracy"] == 1.0


def test_marks_of_a_text() -> None:
    given = "Sure, I’ll list:\n\n1. **One**\n2. Two 😀"
    expected = {
        "begins sure", "begins sure i'll", "begins sure i'll list", "begins sure i'll list 1", "word sure", "word i'll",
        "word list", "word 1", "word one", "word 2", "word two", "ends ", "format an empty line", "format a line break",
        "format a numbered list", "format bold", "format a number", "format an emoji",
    }  # fmt: skip
    assert set(marks(given)) == expected
    assert "ends ." in set(marks("So.  ")) and "format a trailing space" in set(marks("So.  "))


def test_a_mark_by_hand() -> None:
    """Of 30 prompts 22 have "zebra" on the chosen side alone, 4 on the rejected side alone, 4 on both."""
    base = pairs(30, seed=4)
    made = []
    for i, pair in enumerate(base):
        chosen = pair.chosen.text + (" zebra" if i < 22 or i >= 26 else " lion")
        rejected = pair.rejected.text + (" zebra" if i >= 22 else " lion")
        made.append(replace(pair, chosen=Completion(chosen), rejected=Completion(rejected)))
    # 22 of 26: p = 2 * (C(26,22) + C(26,23) + ...) / 2^26 = .00053, not below .01 / marks tried.
    assert separate(view.View(made))[0].level == "fine"
    doubled = [*made, *(replace(pair, prompt=Prompt(pair.prompt.text + " again")) for pair in made)]
    finding, found_ = separate(view.View(doubled))
    assert {mark["marker"] for mark in found_} >= {'the word "zebra"'} and finding.level == "bad"
    zebra = next(mark for mark in found_ if "zebra" in mark["marker"])
    assert (zebra["chosen"], zebra["rejected"]) == (52, 16)
    assert (zebra["accuracy"], zebra["decides"]) == (pytest.approx(44 / 52), pytest.approx(52 / 60))
    again = [*made, *made]  # the same prompts vote once
    assert separate(view.View(again))[0].level == "fine"


def test_single_marks_are_looked_up_in_matrices_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """By row each look reads the whole matrix: half a minute for 8,000 pairs with one long answer."""
    formats: list[str] = []

    def watched(counts: Any, column: int) -> NDArray[np.bool_]:
        formats.append(counts.format)
        return holds(counts, column)

    monkeypatch.setattr(markers_module, "holds", watched)
    assert separate(view.View(planted(pairs(60), "zebra")))[0].level == "bad"
    assert set(formats) == {"csc"}


def test_marks_of_labels_that_are_tried() -> None:
    """Those that ten first completions of a prompt and label have, and ten have not."""
    few = labels(pairs(60))
    held = [set(marks(label.completion.text)) for label in few]
    by_hand = sum(10 <= sum(name in each for each in held) <= len(held) - 10 for name in set().union(*held))
    said = separate(view.View(few))[0].said
    assert said == f"No single mark tells the sides apart ({by_hand} marks tried)."
    again = [replace(label, completion=Completion("Word.")) for label in few]
    assert separate(view.View([*few, *again]))[0].said == said
