"""The command line as a person uses it: one run of seconds, and the mistakes that people make."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from alignbench.cli import main
from alignbench.results import read_json

TINY = (
    "reviews:pairs=24:judge_pairs=16:eval_pairs=12:demonstrations_count=160:lessons=16:eval_prompts=12:curve_prompts=4:curve_points=2"
    ":max_new_tokens=12:layers=1:width=16"
)


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `alignbench` in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["alignbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def refused(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a call is refused: exit code 2, on the error output, without a traceback."""
    assert call(*arguments, monkeypatch=monkeypatch) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return " ".join(shown.split())


def test_a_run_from_start_to_table(tmp_path: Path) -> None:
    """In a process of its own, from another folder: the files are there, the table names every row."""
    arguments = ["run", "--objectives", "dpo,kto,ppo", "--benchmark", TINY, "--seeds", "1", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "alignbench.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "reviews"
    for name in ("run.json", "summary.json", "table.md", "table.csv", "table.tex", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert {"frontier.png", "win_rates.png", "training.png", "agreement.png"} <= {
        path.name for path in (folder / "plots").glob("*.png")
    }
    summary = read_json(folder / "summary.json")
    assert [row["spec"] for row in summary["rows"]] == ["dpo", "kto", "ppo"]
    for row in summary["rows"]:
        assert row["status"] == "done", row["spec"]
        for metric in ("win_rate", "win_rate_chosen", "kl", "reward", "proxy_reward", "judge_agreement", "length"):
            assert row[metric]["value"] is not None and row[metric]["unit"], (row["spec"], metric)
        assert row["kl"]["value"] >= 0
        assert row["spec"] in done.stdout
    # The same again is all there; the report can be made without any of the models.
    again = subprocess.run(
        [sys.executable, "-m", "alignbench.cli", "report", str(folder)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert read_json(folder / "summary.json") == summary


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--objectives", "dpoo"], "did you mean 'dpo'"),
        (["run", "--objectives", "dpo:betta=0.1"], "did you mean 'beta'"),
        (["run", "--objectives", "dpo:beta=zero"], "beta"),
        (["run", "--objectives", "dpo:beta=0"], "must be above 0"),
        (["run", "--objectives", "dpo:beta=-1"], "must be above 0"),
        (["run", "--objectives", "dpo:beta=nan"], "finite"),
        (["run", "--objectives", "dpo,dpo"], "twice"),
        (["run", "--objectives", "./no_such_loss.py"], "no_such_loss.py"),
        (["run", "--objectives", "dpo", "--benchmark", "review"], "did you mean 'reviews'"),
        (["run", "--objectives", "dpo", "--benchmark", "reviews:pears=3"], "did you mean 'pairs'"),
        (["run", "--objectives", "dpo", "--judge", "golf"], "did you mean 'gold'"),
        (["run", "--objectives", "dpo", "--budget", "5 minutes"], "seconds=N or tokens=N"),
        (["run", "--objectives", "dpo", "--sft"], "--model"),
        (["run", "--objectives", "dpo", "--data", "nothing.jsonl"], "nothing.jsonl"),
        (["run", "--objectives", "dpo", "--seeds", "0"], "seeds"),
        (["run", "--objectives", "sft:learning_rate=-1"], "learning_rate"),
        (["list", "objectivs"], "list objectives, benchmarks or judges"),
        (["report", "no/such/folder"], "no/such/folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


LINES = [{"prompt": f"Question {i}?", "chosen": f"A good answer {i}.", "rejected": f"Bad {i}."} for i in range(40)]
UNPAIRED = [{"prompt": f"Q{i}?", "completion": f"Answer {i}.", "label": i % 2 == 0} for i in range(40)]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_bad_data_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(data: str, *more: str, objectives: str = "dpo") -> str:
        arguments = ["run", "--objectives", objectives, "--data", data, *more]
        return refused(*arguments, monkeypatch=monkeypatch, capsys=capsys)

    (tmp_path / "empty.jsonl").write_text("")
    assert "empty" in run("empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}\n'.encode("latin-1"))
    assert "UTF-8" in run("latin.jsonl")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(LINES).encode())[:-20])
    assert "cut.jsonl.gz" in run("cut.jsonl.gz")
    (tmp_path / "broken.jsonl").write_text(json.dumps(LINES[0]) + "\n{oops\n")
    assert "line 2" in run("broken.jsonl")
    write(tmp_path / "other.jsonl", [{"question": "a", "answer": "b"}])
    assert "question" in run("other.jsonl")
    write(tmp_path / "same.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    assert "line 1" in run("same.jsonl")
    unpaired = write(tmp_path / "unpaired.jsonl", UNPAIRED)
    assert "needs pairs" in run(unpaired)
    assert "name one, --judge" in run(unpaired, objectives="kto")
    assert "reward" in run(unpaired, "--judge", "lm:somewhere", objectives="ppo")
    pairs = write(tmp_path / "pairs.jsonl", LINES)
    shared = write(tmp_path / "eval.jsonl", LINES[:3])
    assert "Question" in run(pairs, "--eval-data", shared)
    assert "no such folder" in run(pairs, "--model", "./nowhere")
    assert not list(tmp_path.rglob("*.safetensors")), "something was trained or saved"


@pytest.mark.parametrize("kind", ["objectives", "benchmarks", "judges"])
def test_list_names_every_shipped_plugin(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["alignbench", "list", kind])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    names = {
        "objectives": ["dpo", "kto", "ppo", "sft", "preferred_ft", "reward_model", "arXiv:2305.18290"],
        "benchmarks": ["reviews", "files", "pairs"],
        "judges": ["gold", "reward", "lm"],
    }
    assert all(name in shown for name in names[kind])
