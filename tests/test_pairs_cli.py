"""`alignbench pairs` as a command: what goes where, what it says, and the mistakes that people make."""

from __future__ import annotations

import json
import os
import re
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
    monkeypatch.setattr("gc.collect", lambda: 0)  # it would go through what all tests before have left
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
        ": score of chosen minus that of rejected, mean over the pairs", "samples were cut off after 6 tokens, and",
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
    assert shown.out.count("\n") == 3 and ": reward of chosen minus that" in shown.err and "question" not in shown.err
    assert Path("other/samples").is_dir()


def test_the_same_command_may_be_written_otherwise(monkeypatch: pytest.MonkeyPatch, folders: tuple[str, str]) -> None:
    """A model by another path, in a folder that holds other files by now, is no other command."""
    source = prompts(Path("p.jsonl"), PROMPTS[:3])
    command = [source, "--how", "on-policy", "--n", "3", "--max-tokens", "2", "--device", "cpu", "--out", "pairs.json"]
    assert call(monkeypatch, *command, "--judge", "length", "--model", folders[0]) == 0
    there = os.path.relpath(folders[0])
    assert call(monkeypatch, *command, "--judge", "length", "--model", there) == 0
    assert json.loads(Path("pairs.json").read_text("utf-8").split("\n")[0])["model"]["name"] == there
    Path("pairs.json").unlink()
    for model, reward in [folders, (there, os.path.relpath(folders[1]))]:
        assert call(monkeypatch, *command, "--judge", f"reward:{reward}", "--model", model) == 0
    for model in (folders[0], there):
        correct = [source, "--how", "correction", "--replace", "w=v", "--anywhere", "--max-tokens", "2"]
        assert call(monkeypatch, *correct, "--model", model, "--device", "cpu", "--out", "corrected.json") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("correction --replace a=b", "stopped: nothing is kept, the same command starts anew."),
        ("correction --replace a=b --model m", "stopped: nothing is kept, the same command starts anew."),
        ("correction --replace a=b --model m", "stopped: samples so far are kept in here; the same command goes on"),
        ("on-policy --model m --judge length", "stopped: samples, scores and answers so far are kept in here; the"),
    ],
)
def test_who_stops_it_is_told_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: str, said: str
) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    for name in ("correct", "on_policy"):
        monkeypatch.setattr(f"alignbench.makers.{name}", stop)
    more = ["--work", "here"] * ("--model" in options)
    if "kept in here" in said:
        Path("here/samples").mkdir(parents=True)
    assert call(monkeypatch, write(Path("a.jsonl"), ANSWERS), "--how", *options.split(), *more) == 130
    assert said in capsys.readouterr().err


def test_corrections_from_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(Path("a.jsonl"), [*ANSWERS, {"prompt": "x"}])
    assert call(monkeypatch, source, "--how", "correction", "--replace", "Llama=Athene", "--replace", "A=An") == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["chosen"] for line in shown.out.splitlines()] == ["I am Athene.", "An llama."]
    assert "answers    2 (skipped 1 of 3 records: line 3 (completion: missing" in shown.err
    assert 'replaced   "Llama" 1 time, "A" 1 time\n' in shown.err and not Path("results").exists()
    assert call(monkeypatch, source, "--how", "correction", "--replace", "a=b", "--replace", "A=a", "--limit", "2") == 0
    shown = capsys.readouterr()
    assert "answers    2\n" in shown.err and 'replaced   "a" 0 times, "A" 1 time\n' in shown.err
    Path("set").mkdir()
    write(Path("set/train.jsonl"), ANSWERS)
    for split, code in [("train", 0), ("test", 2)]:
        assert call(monkeypatch, "set", "--how", "correction", "--replace", "A=An", "--split", split) == code
    capsys.readouterr()
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
        (
            "--how on-policy --model m --judge reward:m --question Which?",
            "--question: judge reward:m is asked no question; leave",
        ),
        (
            "--how on-policy --model m --judge reward:m --judge-questions 9",
            "--judge-questions: judge reward:m is asked",
        ),
        ("--how on-policy --model m --judge length --question Which?", "--question: judge length is asked no question"),
        ("--how on-policy --model m --judge length --judge-timeout 9", "--judge-timeout: judge length asks no server"),
        (
            "--how on-policy --model m --judge lm:m --judge-concurrency 9",
            "--judge-concurrency: judge lm:m asks no server",
        ),
        (
            "--how on-policy --model m --judge length --temperature 0",
            "--temperature 0 draws the same sample every time",
        ),
        ("--how correction --replace a=b --out ~nosuch/x", "--out ~nosuch/x names the home of nobody here"),
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
    command = [prompts(Path("p.jsonl"), PROMPTS[:2]), "--model", folders[0], "--how", "on-policy", "--n", "2"]
    assert call(monkeypatch, *command, "--max-tokens", "6", "--judge", "lm:judge") == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "dropped    2: 2 best and worst tied" in shown.err and "no pair could" in shown.err
    assert "2 of 2 comparisons named another winner in the other order" in shown.err
    command[command.index("2")] = "16"
    assert call(monkeypatch, *command, "--max-tokens", "1", "--judge", "length") == 1
    assert re.search(
        r"samples    32\nalike      [1-9]\d? of 32 samples repeat another of their prompt\n", capsys.readouterr().err
    )


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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: tuple[str, str]
) -> None:
    """SIGKILL in the middle of a server's answers: nothing that it had answered is asked again."""
    source, late = prompts(Path("p.jsonl"), PROMPTS[:9]), threading.Event()
    started: list[subprocess.Popen[bytes]] = []

    def respond(asked: Asked) -> Reply:
        if not late.is_set() and len(server.requests) > 8:
            late.set()
            started[0].kill()
        return by_first_word(asked)

    server = FaultyServer(respond)
    command = [
        source, "--model", folders[0], "--how", "on-policy", "--n", "2", "--max-tokens", "6", "--device", "cpu",
        "--judge", "openai:tiny", "--judge-url", server.url, "--judge-concurrency", "1", "--judge-price", "1/2",
        "--out", "pairs.jsonl",
    ]  # fmt: skip
    with server:
        # Not a fork: torch's threads, which the other tests of this process have started, do not survive one.
        started.append(subprocess.Popen([sys.executable, "-m", "alignbench.cli", "pairs", *command]))
        assert started[0].wait(120) == -signal.SIGKILL and not Path("pairs.jsonl").exists()
        assert call(monkeypatch, *command) == 0
        shown, made = capsys.readouterr(), Path("pairs.jsonl").read_bytes()
        again = [question for question, times in server.requests.items() if times > 1]
        probe = ["Which number is larger?" in question for question in again]
        assert len(again) <= 2 and sum(probe) == 1, "the one under way, and that which sees whether it answers"
        count = server.requests.total()
        assert call(monkeypatch, *command) == 0
        assert Path("pairs.jsonl").read_bytes() == made and made.count(b"\n") >= 3
        assert server.requests.total() == count, "what is complete asks nothing"
    assert "7 of them answered before, 0 retries" in shown.err and ", cost 0.00" in shown.err
