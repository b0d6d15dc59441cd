"""Compared outputs with labels of people, read as preference data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignbench.cli.sources import read_any
from alignbench.records import Pair
from alignbench.report.data_plots import _agreement
from tests.preference_files import Row
from tests.test_data_cli import SOUND, call, file, read

COMPARED: list[Row] = [
    {"instruction": "a", "input": "", "response1": "one", "response2": "two", "annotator1": 1, "annotator2": 1,
     "annotator3": 2},
    {"instruction": "b", "input": "c", "response1": "one", "response2": "two", "annotator1": 2, "annotator2": 0,
     "annotator3": 2},
    {"instruction": "d", "input": "", "response1": "one", "response2": "two", "annotator1": 0, "annotator2": 0,
     "annotator3": 1},
    {"instruction": "e", "input": "", "response1": "one", "response2": "two", "annotator1": 0, "annotator2": 2,
     "annotator3": 1},
]  # fmt: skip


def test_compared_outputs_are_read_as_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The majority's output is the chosen one; a tie and a pair without a majority are skipped, by line."""
    path = file(tmp_path, COMPARED)
    records, remarks, ties = read_any(str(path))
    pairs = [pair for pair in records.records if isinstance(pair, Pair)]
    assert [(p.prompt.text, p.chosen.text, p.rejected.text, p.votes, p.line) for p in pairs] == [
        ("a", "one", "two", (True, True, False), 1),
        ("b\n\nc", "two", "one", (True, True), 2),
    ]
    assert [tuple(each) for each in records.skipped] == [(3, "label", "a tie"), (4, "label", "no majority")]
    assert len(remarks) == 2 and remarks[1].startswith("4 labels of single annotators are ties and no vote")
    shown = read(monkeypatch, capsys, path)
    agreement = shown["figures"]["agreement"]
    assert agreement["pairs"] == 2 and shown["remarks"] == remarks
    assert agreement["ties"] == ties._asdict() == {"votes": 4, "pairs": 1}
    drawn = _agreement(shown["figures"])
    assert drawn is not None and "Ties are left out (4 votes, 1 pair)." in drawn.caption
    assert call(monkeypatch, path, "--split", "test") == 2
    assert "is one file and has no split 'test'" in capsys.readouterr().err
    assert call(monkeypatch, path, columns=200) == 0
    assert remarks[0] in capsys.readouterr().out


def test_real_compared_outputs(data_folder: Path) -> None:
    """LLMBar has one label a pair; of PandaLM 105 pairs are ties for most annotators."""
    natural, *_ = read_any(str(data_folder / "llmbar" / "natural.json"))
    assert (len(natural.records), natural.skipped) == (100, ())
    rows = json.loads((data_folder / "llmbar" / "natural.json").read_text())
    assert [pair.chosen.text for pair in natural.records if isinstance(pair, Pair)] == [
        row[f"output_{row['label']}"] for row in rows
    ]
    pandalm, *_ = read_any(str(data_folder / "pandalm" / "testset-v1.json"))
    votes = [pair.votes for pair in pandalm.records if isinstance(pair, Pair)]
    assert (len(votes), len(pandalm.skipped)) == (894, 105)
    assert all(sum(each) * 2 > len(each) >= 2 for each in votes)


def test_what_pairs_writes_beside_the_texts_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row | {"score_chosen": 2.0, "score_rejected": 1, "ended": {"chosen": True, "rejected": False}} for row in SOUND
    ]
    shown = read(monkeypatch, capsys, file(tmp_path, rows))
    ended = next(finding for finding in shown["findings"] if finding["check"] == "no_end")
    assert ended["level"] != "fine" and ended["count"] == len(SOUND)
    assert shown["figures"]["margins"]["agree"] == 1.0 and sum(shown["figures"]["margins"]["counts"]) == len(SOUND)


def test_completions_that_a_list_leaves_out_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"p{i}", "completions": ["a", "b", "c"], "ranking": [1, 2, 2]} for i in range(2)]
    path = file(tmp_path, [*rows, {"prompt": "p3", "completions": ["a"], "ranking": [1]}])
    assert call(monkeypatch, path, columns=200) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{path}: 2 rankings; ") and "skipped 2 of 6 completions of the other records" in shown
    assert "skipped 1 of 3 records" not in shown  # a finding of its own
