"""Processes that judge with one file of answers: at the same time, and one after another that was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .asked_judges import QUESTION, items, judge_of, outcomes, right, rows
from .faulty_server import Asked, FaultyServer, Reply, honest, said

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120.0
# Says that it is ready, waits for a line, judges, and prints its verdicts and its costs.
CHILD = """
import json, sys
from pathlib import Path
from tests.asked_judges import QUESTION, items, judge_of, outcomes
judge = judge_of(sys.argv[1], answers=Path(sys.argv[2]), concurrency=int(sys.argv[3]), timeout=60.0)
print("ready", flush=True)
sys.stdin.readline()
verdicts = outcomes(judge.compare(QUESTION, items(int(sys.argv[4]))))
print(json.dumps([verdicts, judge.usage().prompt_tokens, judge.problems()]), flush=True)
"""


def child(server: FaultyServer, answers: Path, concurrency: int, count: int) -> subprocess.Popen[str]:
    arguments = [server.url, str(answers), str(concurrency), str(count)]
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_two_processes_that_ask_the_same_at_once_end_with_one_answer(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def respond(asked: Asked) -> Reply:
        """Each question is held until both have asked it, and each of the two gets another answer."""
        both.wait(PATIENCE)
        return said("AB"[asked.time - 1])

    answers, count = tmp_path / "answers.db", 6
    with FaultyServer(respond) as server:
        processes = [child(server, answers, 1, count) for _ in range(2)]
        try:
            assert [line(process) for process in processes] == ["ready", "ready"]
            for process in processes:
                start(process)
            found = [json.loads(line(process)) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    assert set(server.requests.values()) == {2} and len(server.requests) == 2 * count, "they did meet"
    assert rows(answers) == 2 * count
    assert found[0][0] == found[1][0], "what was stored first counts for both"
    assert [tokens for _, tokens, _ in found] == [2 * count * 50] * 2, "both have paid"
    assert [problems for _, _, problems in found] == [[], []]


def test_a_killed_process_leaves_only_the_rest_to_be_asked(tmp_path: Path) -> None:
    """It is killed when 7 answers are stored and 3 more requests are under way."""
    killed = threading.Event()

    def respond(asked: Asked) -> Reply:
        with lock:
            number[0] += 1
            held = number[0] > 7
        if held:
            killed.wait(PATIENCE)
        return honest(asked)

    lock, number = threading.Lock(), [0]
    answers, count = tmp_path / "answers.db", 10
    with FaultyServer(respond) as server:
        process = child(server, answers, 3, count)
        try:
            assert line(process) == "ready"
            start(process)
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and (rows(answers) if answers.exists() else 0) + server.at_once < 10:
                time.sleep(0.02)
        finally:
            process.kill()
            process.communicate()
        stored, before = rows(answers), len(server.seen)
        assert (stored, before) == (7, 10), "seven were stored, three under way"
        killed.set()
        judge = judge_of(server, answers=answers)
        assert outcomes(judge.compare(QUESTION, items(count))) == right(count)
        assert len(server.seen) == before + 2 * count - stored, "the rest alone was asked"
    assert sorted(server.requests.values()) == [1] * 17 + [2] * 3
    assert (judge.usage().cached, judge.usage().prompt_tokens) == (7, 13 * 50) and judge.problems() == []
    assert rows(answers) == 2 * count
