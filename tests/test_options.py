"""The options of the evaluation, and what is refused before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alignbench.cli.options import _threads
from alignbench.results import read_json
from tests.test_cli import TINY, call, refused

RUN = ("run", "--objectives", "dpo,kto", "--benchmark", TINY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--temperatures", "0,warm"), "--temperatures: 'warm' is no number; write --temperatures 0,0.5,1."),
        (("--temperatures", "-1"), "between 0 (the likeliest token) and 10"),
        (("--temperatures", "0.5,0.5"), "names something twice"),
        (("--temperatures", "0,,1"), "holds an empty item"),
        (("--temperatures", "nan"), "'nan' is no number"),
        (("--best-of", "0,4"), "each n is a whole number from 1 on"),
        (("--best-of", "2.5"), "each n is a whole number from 1 on"),
        (("--best-of", "inf"), "each n is a whole number from 1 on"),
        (
            ("--against", "reference,referense"),
            "--against 'reference,referense': name some of reference, chosen, each-other.",
        ),
        (("--against", "chosen"), "the headline win rate is over the reference"),
        (("--judge-price", "2.5"), "give the price of a million tokens read and written, 2.5/10 say"),
        (("--tune", "learning_rate=1e-4"), "holds one point"),
        (("--tune", "gamma=1/2"), "the same for every objective, and dpo has no field 'gamma'"),
        (("--tune", "learning_rate=1e-4/1e-3", "--tune-prompts", "100000"), "more than half of the"),
        (("--judge", "gold,gold"), "is given twice"),
        (("--judge", "golden"), "did you mean 'gold'"),
        (("--judge", "openai"), "which model? Name it, as in openai:gpt-4o"),
        (("--judge", "gold:x"), "takes no argument"),
        (("--judge", "replay:nowhere.jsonl"), "nowhere.jsonl"),
        (("--lm-eval", "reviews_gramar"), "reviews_grammar"),
        (("--tune", "learning_rate=1/2", "--judge", "gold,replay:nowhere.jsonl"), "nowhere.jsonl"),
        (("--tune-prompts", "8"), "says how many prompts --tune chooses on"),
        (("--eval-data", "x.jsonl"), "give --data as well"),
        (("--benchmark", "reviews:device=cuda"), "reviews: device follows --device: give that, and leave device out."),
        (("--judge-url", "http://127.0.0.1:1/v1"), "--judge-url: none of the judges asks a server"),
        (("--judge-price", "1/2"), "--judge-price: none of the judges asks a server"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(
    options: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(*RUN, "--out", "r", *options, monkeypatch=monkeypatch, capsys=capsys)
    assert said in message and message.startswith("alignbench: ") and message.count("alignbench: ") == 1
    assert not list(tmp_path.rglob("train.json")) and not list(tmp_path.rglob("policy")), "nothing was trained"


def test_everything_at_once_from_start_to_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with every option of the evaluation, then another judge: all of it is in the summary."""
    folder = tmp_path / "r"
    options = ["--temperatures", "0,1", "--best-of", "4", "--lm-eval", "reviews_grammar", "--seeds", "1", "--jobs", "1"]
    options += ["--tune", "learning_rate=1e-3/1e-2", "--tune-prompts", "8", "--out", str(folder)]
    assert call(*RUN, *options, monkeypatch=monkeypatch) == 0
    assert call("judge", str(folder), "--judge", "length", monkeypatch=monkeypatch) == 0
    summary = read_json(folder / "summary.json")
    assert [row["spec"].partition(":")[0] for row in summary["rows"]] == ["dpo", "kto"]
    assert all("learning_rate=" in row["spec"] for row in summary["rows"]), "the rows are the chosen trials"
    assert list(summary["judges"]) == ["gold", "reward", "lm", "length"]
    assert set(summary["temperatures"]["length"]["reference"]) >= {row["spec"] for row in summary["rows"]}
    assert [row["spec"] for row in summary["baselines"] if row.get("n")] == ["best-of-4"]
    changes = [row["capability"]["reviews_grammar"]["acc"]["change"] for row in summary["rows"]]
    assert any(changes), "the policies are asked, not the reference again"
    assert len(summary["tuning"]["trials"]) == 4 and summary["verdict"]["sentence"]
    assert (folder / "report.html").stat().st_size > 0
    assert {"head_to_head.png", "temperatures.png", "tuning.png"} <= {p.name for p in (folder / "plots").iterdir()}


def test_judging_a_folder_that_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused("judge", str(tmp_path), "--judge", "length", monkeypatch=monkeypatch, capsys=capsys)
    assert "run.json is missing" in said
    assert sys.argv[0] == "alignbench"


def test_fresh_keeps_the_answers_that_were_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--seeds", "1", "--jobs", "1", "--out", str(tmp_path / "r"), "--judge", "gold")
    assert call(*RUN[:2], "dpo", *RUN[3:], *options, monkeypatch=monkeypatch) == 0
    answers = tmp_path / "r" / "answers.sqlite"
    answers.write_bytes(b"paid for")
    assert call(*RUN[:2], "dpo", *RUN[3:], *options, "--fresh", monkeypatch=monkeypatch) == 0
    assert answers.read_bytes() == b"paid for"


def test_threads_are_those_that_the_user_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for asked, threads in (("3", 3), ("", 4), ("0", 4), ("many", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert _threads(2) == threads
    assert _threads(16) == 1
