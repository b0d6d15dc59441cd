"""Plots of preference data: marks stand where the figures are, and hold whatever texts and numbers there may be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from alignbench.report.data_plots import overview, write_data_plots
from tests.examined import FOUND, LABELS, changed, crowded, word
from tests.html_page import squeezed
from tests.test_report_exact_looks import inside

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("figures", "drawn"),
    [
        ({"margins": None, "agreement": None}, ["lengths", "words"]),
        ({"lengths": None, "words": [], "shortcut": None}, ["margins", "agreement"]),
        ({"words": [], "margins": None, "agreement": None, "lengths": None}, ["words"]),
        ({"shortcut": None, "margins": None}, ["lengths", "words", "agreement"]),
    ],
)
def test_only_what_is_known_is_drawn(tmp_path: Path, figures: Json, drawn: list[str]) -> None:
    found = changed(**figures)
    paths = write_data_plots(found, tmp_path)
    assert paths == [tmp_path / f"data_{name}.png" for name in drawn]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths if path)


def test_nothing_known_is_nothing_drawn(tmp_path: Path) -> None:
    empty = changed(lengths=None, words=[], shortcut=None, margins=None, agreement=None)
    for found in (None, empty, empty | {"figures": {}}):
        assert write_data_plots(found, tmp_path) == []
    assert overview(empty, tmp_path / "all.png") is None
    assert not list(tmp_path.iterdir())


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        found.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def test_marks_stand_where_the_figures_are(tmp_path: Path, figures: list[Figure]) -> None:
    write_data_plots(FOUND, tmp_path)
    lengths, words, margins, agreement = figures
    steps = [patch for patch in lengths.axes[0].patches if isinstance(patch, StepPatch) and not patch.get_fill()]
    assert [np.asarray(step.get_data()[0]).tolist() for step in steps] == [[5, 20, 3], [9, 15, 4]]
    assert all(np.asarray(step.get_data()[1]).tolist() == [-0.5, 9.5, 19.5, 29.5] for step in steps)
    means = [float(np.asarray(line.get_xdata())[0]) for line in lengths.axes[0].lines]
    assert means == [14.25, 12.5]
    accuracy, bars = words.axes
    assert [float(np.asarray(line.get_xdata())[0]) for line in accuracy.lines] == [0.7, 0.55, 0.5]
    (ends,) = [c.get_segments()[0][:, 0].tolist() for c in accuracy.collections]  # type: ignore[attr-defined]
    assert ends == [0.65, 0.76]
    assert [bar.get_width() for bar in bars.patches if isinstance(bar, Rectangle)] == [1.5, 0.75, -1.25]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["sorry", "help", "kill"]
    assert [text.get_text() for text in bars.texts] == ["30 / 4", "30 / 4", "2 / 31"]
    drawn = [bar for bar in margins.axes[0].patches if isinstance(bar, Rectangle)]
    assert {(bar.get_x(), bar.get_height(), bool(bar.get_hatch())) for bar in drawn} == {
        (-2, 1, True), (-1, 2, True), (0, 30, False), (1, 7, False),
    }  # fmt: skip
    dots = [line for line in agreement.axes[0].lines if line.get_marker() == "o"]
    chance = [line for line in agreement.axes[0].lines if line.get_marker() != "o"]
    assert [float(np.asarray(line.get_xdata())[0]) for line in dots] == [0.75, 0.62, 0.81, 0.5]
    assert [float(np.asarray(line.get_xdata())[0]) for line in chance] == [0.5, 0.5, 0.0]


def test_bins_that_grow_are_shown_by_their_area(tmp_path: Path, figures: list[Figure]) -> None:
    """From 8 to 32 are two doublings, from 1 to 2 is one."""
    edges = {"edges": [1, 2, 8, 32], "chosen": [10, 20, 30], "rejected": [0, 2, 4]}
    write_data_plots(changed(lengths=FOUND["figures"]["lengths"] | edges), tmp_path)
    axes = figures[0].axes[0]
    steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    assert [np.asarray(step.get_data()[0]).tolist() for step in steps[::2]] == [[10, 10, 15], [0, 1, 2]]
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "completions per doubling"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "3", "10", "30"]


def test_a_side_without_pairs_is_in_no_legend(tmp_path: Path, figures: list[Figure]) -> None:
    write_data_plots(changed(margins=FOUND["figures"]["margins"] | {"counts": [0, 0, 3, 1]}), tmp_path)
    assert figures[2].axes[0].get_legend_handles_labels()[1] == ["chosen scores higher"]


def test_ties_are_not_called_higher(tmp_path: Path, figures: list[Figure]) -> None:
    write_data_plots(changed(margins=FOUND["figures"]["margins"] | {"tied": 0.01}), tmp_path)
    assert figures[2].axes[0].get_legend_handles_labels()[1] == [
        "chosen scores at least as high", "rejected scores higher",
    ]  # fmt: skip


def test_labels_are_called_by_their_names(tmp_path: Path, figures: list[Figure]) -> None:
    lengths = FOUND["figures"]["lengths"] | LABELS
    write_data_plots(changed(lengths=lengths, margins=None, agreement=None) | {"kind": "labels"}, tmp_path)
    names = figures[0].axes[0].get_legend_handles_labels()[1]
    assert names == ["desirable, mean 14.2", "undesirable, mean 12.5"]
    assert "Desirable is the longer in 56.2 % of the couples" in squeezed(figures[0].get_supxlabel())
    assert figures[1].axes[1].get_xlabel() == "weight (undesirable left, desirable right)"


def test_plots_hold_what_there_may_be(tmp_path: Path, figures: list[Figure]) -> None:
    write_data_plots(crowded(), tmp_path)
    for found in (crowded(), FOUND, changed(words=[word("a", 0.01)], margins=None, agreement=None, lengths=None)):
        overview(found, tmp_path / "all.png")
    assert len(figures) == 4 + 3
    for drawn in figures:
        inside(drawn)
        shown = [text.get_text() for axes in drawn.axes for text in (*axes.get_yticklabels(), *axes.texts)]
        for axes in drawn.axes:  # what is written beside a mark is within its axes
            for text in axes.texts:
                box, room = text.get_window_extent(), axes.get_window_extent()
                assert room.x0 - 1 <= box.x0 and box.x1 <= room.x1 + 1
        assert not re.search(r"[\x00-\x1f\u202e]", "".join([*shown, *(axes.get_xlabel() for axes in drawn.axes)]))
    assert [len(drawn.axes) for drawn in figures] == [1, 2, 1, 1, 5, 5, 2]
    assert figures[0].axes[0].get_xscale() == "log"
    assert figures[5].axes[2].get_xscale() == "linear"
