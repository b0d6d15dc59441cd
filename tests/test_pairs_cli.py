"""`alignbench pairs` as a command: what goes where, what it says, and the mistakes that people make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alignbench.cli import main
from alignbench.data import read_records

from . import served_model
from .faulty_server import Asked, FaultyServer, Reply
from .making import JUDGE, PROMPTS, by_first_word, models, prompts, write

ANSWERS = [{"prompt": "Who?", "completion": "I am Llama."}, {"prompt": "What?", "completion": "A llama."}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`alignbench pairs` in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["alignbench", "pairs", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_pairs_go_to_standard_output_and_all_else_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: tuple[str, str]
) -> None:
    Path("mine.py").write_text(JUDGE, encoding="utf-8")
    source = prompts(Path("p.jsonl"), [*PROMPTS, PROMPTS[0]])
    command = [source, "--model", folders[0], "--how", "on-policy", "--n", "4", "--max-tokens", "6", "--device", "cpu"]
    assert call(monkeypatch, *command, "--judge", "./mine.py:log") == 0
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert records and all({"prompt", "chosen", "rejected"} < set(record) for record in records)
    for text in (
        "a judge that prints", "./mine.py:log will be asked up to 120 questions, 12 a prompt.",
        "prompts    10 (1 repeated)", "samples    40", f"pairs      {len(records)}, written to standard output",
        "score gap  ", "mean score over the pairs", "samples were cut off after 6 tokens",
    ):  # fmt: skip
        assert text in shown.err
    assert len(records) == 10 or "dropped    " in shown.err
    # A file holds the same, and what is in it is read back.
    assert call(monkeypatch, *command, "--judge", "./mine.py:log", "--out", "new/pairs.jsonl") == 0
    written = capsys.readouterr()
    assert written.out == "" and "written to new/pairs.jsonl" in written.err and "a judge" not in written.err
    assert Path("new/pairs.jsonl").read_bytes() == shown.out.encode()
    assert len(read_records("new/pairs.jsonl").records) == len(records)
    assert sorted(path.name for path in Path("results/pairs").iterdir()) == ["samples", "scores"]
    # Another command does not write over it.
    assert call(monkeypatch, *command, "--judge", "length", "--out", "new/pairs.jsonl") == 2
    assert "holds something else than this command's pairs" in capsys.readouterr().err
    # A reward model of one's own.
    assert call(monkeypatch, *command, "--judge", f"reward:{folders[1]}", "--work", "other", "--limit", "3") == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 3 and "mean reward over the pairs" in shown.err and "question" not in shown.err
    assert Path("other/samples").is_dir()


def test_corrections_from_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(Path("a.jsonl"), [*ANSWERS, {"prompt": "x"}])
    assert call(monkeypatch, source, "--how", "correction", "--replace", "Llama=Athene", "--replace", "A=An") == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["chosen"] for line in shown.out.splitlines()] == ["I am Athene.", "An llama."]
    assert "answers    2 (skipped 1 of 3 records: line 3 (completion: missing" in shown.err
    assert "replaced   Llama 1 times, A 1 times" in shown.err and not Path("results").exists()
    assert call(monkeypatch, source, "--how", "correction", "--replace", "LLAMA=Athene", "--ignore-case") == 0
    assert capsys.readouterr().out.count("Athene") == 4
    assert call(monkeypatch, source, "--how", "correction", "--replace", "nobody=\x1b[31m") == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "dropped    2: 2 nothing to replace" in shown.err
    assert "no pair could be made" in shown.err and "\x1b" not in shown.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--how best", "--how 'best': pairs are made by on-policy or correction."),
        ("--how on-policy", "whose samples? Give --model PATH."),
        ("--how on-policy --model m", "who says which is better? Give --judge"),
        ("--how on-policy --model m --judge length,random", "pairs are made by one judge"),
        ("--how on-policy --model m --judge lenght", "unknown judge 'lenght'"),
        ("--how on-policy --model m --judge length --replace a=b", "--replace is for --how correction: leave it out."),
        ("--how on-policy --model m --judge reward:m --question Which?", "--question: reward:m scores each sample"),
        ("--how on-policy --model m --judge reward:m --judge-questions 9", "--judge-questions: reward:m scores each"),
        ("--how on-policy --model m --judge length --judge-url http://h", "--judge-url: none of the judges asks"),
        ("--how on-policy --model m --judge openai:x --judge-price 1", "--judge-price '1': give the price"),
        ("--how on-policy --model m --judge length --dtype float16", "--dtype 'float16': write float32 or bf16."),
        ("--how on-policy --model ./gone --judge length", "model ./gone: there is no such folder."),
        ("--how correction --replace a=b --judge length", "--judge is for --how on-policy: leave it out."),
        ("--how correction --replace a=b --n 8", "--n is for --how on-policy: leave it out."),
        ("--how correction --replace a=b --max-tokens 9", "--max-tokens is for a model that is sampled: give --model"),
        ("--how correction", "say what is replaced by what, --replace OLD=NEW."),
        ("--how correction --replace ab", "write OLD=NEW, as in --replace Llama=Athene."),
    ],
)
def test_mistakes_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    source = write(Path("a.jsonl"), ANSWERS)
    assert call(monkeypatch, source, *options.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == "" and "Traceback" not in shown.err
    assert not Path("results/pairs/scores").exists()


def test_a_judge_who_prefers_a_place_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: tuple[str, str]
) -> None:
    served_model.answering(tmp_path / "judge")  # it says A to everything
    command = [prompts(Path("p.jsonl"), PROMPTS[:4]), "--model", folders[0], "--how", "on-policy", "--n", "3"]
    assert call(monkeypatch, *command, "--max-tokens", "6", "--judge", "lm:judge") == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "dropped    4: 4 best and worst tied" in shown.err and "no pair could" in shown.err
    assert "12 of 12 comparisons named another winner in the other order" in shown.err


def test_a_reader_who_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """As `| head` does: the pipe has nobody at its other end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        source = write(Path("a.jsonl"), ANSWERS * 1)
        assert call(monkeypatch, source, "--how", "correction", "--replace", "Llama=Athene") == 141
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_command_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: tuple[str, str]
) -> None:
    """SIGKILL in the middle of a server's answers: nothing that it had answered is asked again."""
    source, late = prompts(Path("p.jsonl"), PROMPTS[:9]), threading.Event()

    def respond(asked: Asked) -> Reply:
        if not late.is_set() and len(server.requests) > 8:
            late.set()
            process.send_signal(signal.SIGKILL)
            process.wait()
        return by_first_word(asked)

    with FaultyServer(respond) as server:
        command = [
            source, "--model", folders[0], "--how", "on-policy", "--n", "2", "--max-tokens", "6", "--device", "cpu",
            "--judge", "openai:tiny", "--judge-url", server.url, "--judge-concurrency", "1", "--judge-price", "1/2",
        ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "alignbench.cli", "pairs", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, _ = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL and out == b""
        assert call(monkeypatch, *command) == 0
        shown = capsys.readouterr()
        again = [question for question, times in server.requests.items() if times > 1]
        probe = ["Which number is larger?" in question for question in again]
        assert len(again) <= 2 and sum(probe) == 1, "the one under way, and that which sees whether it answers"
        count = server.requests.total()
        assert call(monkeypatch, *command) == 0
        assert capsys.readouterr().out == shown.out and shown.out.count("\n") >= 3
        assert server.requests.total() == count, "what is complete asks nothing"
    assert "7 of them answered before, 0 retries" in shown.err and ", cost 0.00" in shown.err
