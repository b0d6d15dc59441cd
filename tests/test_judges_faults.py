"""The judge behind a server that fails: nothing is lost, nothing counted twice, and what is missing is said."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.records import Verdict

from .asked_judges import KEY, QUESTION, item, items, judge_of, outcomes, right, rows
from .faulty_server import Asked, FaultyServer, Reply, failed, honest


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


# --- faults that pass ---


def passing(fault: Reply, times: int = 2) -> Callable[[Asked], Reply]:
    """The fault for the first so many requests of each question."""
    return lambda asked: fault if asked.time <= times else honest(asked)


FAULTS = {
    "500": failed(500, "oh"),
    "429": failed(429, "slow down", {"Retry-After": "0.05"}),
    "429 in ms": failed(429, "slow down", {"retry-after-ms": "20"}),
    "429 without": failed(429, "slow down"),
    "503": failed(503, "loading"),
    "cut": Reply(body=b'{"choices": [{"message": {"content": "A"}}]}', how="cut"),
    "empty": Reply(),
    "malformed": Reply(body=b'{"choices": [{"message"'),
    "HTML": Reply(body=b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    "no choices": Reply(body=b'{"choices": []}'),
    "wrong types": Reply(body=b'{"choices": [{"message": 7}], "usage": "much"}'),
    "brackets": Reply(body=b"[" * 100_000),
    "error as success": Reply(body=b'{"error": {"message": "upstream failed", "code": 502}}'),
    "flood": Reply(how="flood"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_loses_nothing(name: str, tmp_path: Path) -> None:
    with FaultyServer(passing(FAULTS[name])) as server:
        judge = judge_of(server, answers=tmp_path / "answers.db")
        assert outcomes(judge.compare(QUESTION, items(3))) == right(3)
    assert set(server.requests.values()) == {3} and set(server.answered.values()) <= {1, 3}
    assert judge.usage().retries == 12 and judge.problems() == []
    assert rows(tmp_path / "answers.db") == 6


@pytest.mark.parametrize("how", ["silence", "drip"])
def test_an_answer_that_takes_for_ever_is_given_up(how: Any) -> None:
    with FaultyServer(passing(Reply(how=how), times=1)) as server:
        judge = judge_of(server, timeout=1.0)
        assert outcomes(judge.compare(QUESTION, items(2))) == right(2)
        assert set(server.requests.values()) == {2} and judge.usage().retries == 4
        server.respond = lambda asked: Reply(how=how)
        judge = judge_of(server, timeout=0.5, attempts=2, in_a_row=2)
        assert outcomes(judge.compare(QUESTION, [item("a", "c")])) == [("unanswered", "unanswered")]
    assert judge.problems()[0].endswith("gave no whole answer within 0.5 s.")


def test_retry_after_is_honoured_and_bounded() -> None:
    first: dict[str, float] = {}

    def respond(asked: Asked) -> Reply:
        wait = time.monotonic() - first.setdefault("start", time.monotonic())
        return failed(429, headers={"Retry-After": "1"}) if wait < 0.9 else honest(asked)

    with FaultyServer(respond) as server:
        judge = judge_of(server, concurrency=1)  # which would be back after 0.01 s, and 0.05 s at most, on its own
        assert outcomes(judge.compare(QUESTION, items(1))) == right(1)
        assert len(server.seen) == 3, "it came back once, when it was told to"
        server.respond = lambda asked: failed(429, headers={"Retry-After": "86400"})
        assert outcomes(judge.compare(QUESTION, [item("a", "c")])) == [("unanswered", "unanswered")]
        assert len(server.seen) == 4, "nobody waits for a day"


# --- faults that stay ---


def test_a_question_that_always_fails_is_unanswered_and_asked_again_by_the_next_run(tmp_path: Path) -> None:
    def respond(asked: Asked) -> Reply:
        return failed(500, "oh") if "poison" in asked.question else honest(asked)

    asked = [*items(2), item("poison good", "bad"), *items(4)[2:]]
    with FaultyServer(respond) as server:
        judge = judge_of(server, answers=tmp_path / "answers.db", attempts=3)
        found = outcomes(judge.compare(QUESTION, asked))
        assert found == [*right(2), ("unanswered", "unanswered"), *right(4)[2:]]
        assert sorted(server.requests.values()) == [1] * 8 + [3, 3]
        assert judge.problems() == [
            f"judge openai:tiny: 2 questions stayed unanswered: the server at {server.url} failed (500)."
        ]
        server.respond = honest
        judge = judge_of(server, answers=tmp_path / "answers.db")
        assert outcomes(judge.compare(QUESTION, asked)) == [*right(2), ("first", "first"), *right(4)[2:]]
        assert sorted(server.requests.values()) == [1] * 8 + [4, 4], "only what had no answer was asked"
        assert (judge.usage().cached, judge.usage().prompt_tokens) == (8, 100)


def test_a_server_that_always_fails_is_not_hammered() -> None:
    healthy = threading.Event()

    def respond(asked: Asked) -> Reply:
        return honest(asked) if healthy.is_set() or len(server.seen) <= 4 else failed(500)

    with FaultyServer(respond) as server:
        judge = judge_of(server, attempts=2, in_a_row=5, concurrency=2)
        verdicts = judge.compare(QUESTION, items(40))
        assert sum(verdict.unanswered for verdict in verdicts) == 76
        assert len(server.seen) <= 4 + 2 * (5 + 2)
        problems = judge.problems()
        counts = [int(problem.split(": ")[1].split()[0]) for problem in problems]
        assert sum(counts) == 76, "every question is accounted for"
        assert "stayed unasked" in problems[0] and "stayed unanswered" in problems[1]
        before = len(server.seen)
        judge.compare(QUESTION, items(40))
        assert len(server.seen) == before + 1, "the next comparison begins with a single try"
        healthy.set()
        assert outcomes(judge.compare(QUESTION, items(40))) == right(40), "and goes on where that one is answered"


def test_a_server_that_takes_questions_and_answers_none_is_given_up() -> None:
    with FaultyServer(lambda asked: Reply(how="silence")) as server:
        judge = judge_of(server, timeout=0.2, attempts=2, patience=0.3)
        assert sum(verdict.unanswered for verdict in judge.compare(QUESTION, items(20))) == 40
        assert len(server.seen) == 4, "two questions, twice each, one after the other"
    assert "38 questions stayed unasked" in judge.problems()[0]


def test_a_server_that_is_gone_is_given_up_after_the_patience() -> None:
    with FaultyServer() as server:
        judge = judge_of(server, patience=0.3)
        assert outcomes(judge.compare(QUESTION, items(2))) == right(2)
    verdicts = judge.compare(QUESTION, items(30))
    assert sum(verdict.unanswered for verdict in verdicts) == 56, "what was answered before is still known"
    problems = judge.problems()
    assert "stayed unasked" in problems[0] and "stayed unanswered" in problems[1]
    assert all("cannot be reached" in problem for problem in problems)
    assert sum(int(problem.split(": ")[1].split()[0]) for problem in problems) == 56


def test_a_server_that_comes_back_within_the_patience_answers_everything() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waiting = threading.Event()

    def report(fraction: float, text: str) -> None:
        if "waiting: the server cannot be reached" in text:
            waiting.set()

    verdicts: list[Verdict] = []
    judge = judge_of(f"http://127.0.0.1:{port}/v1", report=report)
    thread = threading.Thread(target=lambda: verdicts.extend(judge.compare(QUESTION, items(5))), daemon=True)
    thread.start()
    assert waiting.wait(30), "the progress says what is waited for"
    with FaultyServer(port=port) as server:
        thread.join(60)
        assert outcomes(verdicts) == right(5) and set(server.requests.values()) == {1}
    assert judge.problems() == [] and judge.usage().retries >= 1


def test_a_key_that_is_revoked_in_mid_run_ends_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def respond(asked: Asked) -> Reply:
        return honest(asked) if len(server.seen) <= 5 else failed(401, f"Incorrect API key provided: {KEY}")

    with FaultyServer(respond) as server:
        judge = judge_of(server, concurrency=1, in_a_row=3)
        verdicts = judge.compare(QUESTION, items(50))
        assert sum(verdict.unanswered for verdict in verdicts) == 95 and len(server.seen) == 8
    assert all("refuses the key in OPENAI_API_KEY (401)." in problem for problem in judge.problems())


def test_a_full_disk_ends_the_comparison_in_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with FaultyServer() as server, pytest.raises(InputError, match="cannot be written"):
        judge_of(server, answers=blocked / "answers.db").compare(QUESTION, items(20))
    assert sum(server.requests.values()) <= 1 + 4, "no more is asked when answers cannot be kept"
