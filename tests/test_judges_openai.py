"""The judge behind a server: what it asks, what it makes of answers, and what is wrong from the start."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.judge import JudgeContext
from alignbench.judges._reading import log_odds
from alignbench.judges.openai import SERVICE, OpenAI, address
from alignbench.records import Verdict

from .asked_judges import KEY, QUESTION, item, items, judge_of, outcomes, right
from .faulty_server import Asked, FaultyServer, Reply, failed, honest, likely, said


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


# --- a sound server ---


def test_both_orders_are_asked_once_and_translated_back(tmp_path: Path) -> None:
    heard: list[float] = []
    with FaultyServer() as server:
        judge = judge_of(server, price=(2.0, 10.0), report=lambda fraction, text: heard.append(fraction))
        asked = [*items(6), item("both", "dull"), items(1)[0]]  # the last one stands there twice
        verdicts = judge.compare(QUESTION, asked)
    assert outcomes(verdicts) == [*right(6), ("tie", "tie"), ("first", "first")]
    assert set(server.requests.values()) == {1} and len(server.requests) == 14, "duplicates are asked once"
    assert server.most_at_once <= 4, "the concurrency"
    usage = judge.usage()
    assert (usage.questions, usage.cached, usage.retries) == (16, 2, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (14 * 50, 14 * 2)
    assert usage.cost == pytest.approx((700 * 2 + 28 * 10) / 1e6)
    assert judge.problems() == [] and heard[-1] == 1 and heard == sorted(heard)
    assert judge_of("http://h/v1").usage().cost is None


def test_a_judge_with_a_position_bias_contradicts_itself() -> None:
    with FaultyServer(lambda asked: said("A")) as server:
        (verdict,) = judge_of(server).compare(QUESTION, items(1))
    assert verdict.contradiction and verdict.score == 0.5 and verdict.margin is None


def test_concurrency_is_used() -> None:
    together = threading.Barrier(3, timeout=30)

    def respond(asked: Asked) -> Reply:
        if len(server.requests) > 1:  # the first is asked alone
            together.wait()
        return honest(asked)

    with FaultyServer(respond) as server:
        verdicts = judge_of(server, concurrency=3).compare(QUESTION, items(5))
    # nine more questions, always three at the server: the barrier would break otherwise
    assert outcomes(verdicts) == right(5) and server.most_at_once == 3


@pytest.mark.parametrize(
    ("probabilities", "outcome", "odds"),
    [
        ({"A": 0.4, " A": 0.25, "B": 0.3, "(B": 0.05}, "first", math.log(0.65 / 0.35)),
        ({"A": 0.35, "B": 0.3, " B": 0.1}, "second", math.log(0.35 / 0.4)),  # though A is what was said
        ({"A": 0.4, "B": 0.4}, "tie", 0.0),
        ({"A": 0.9, "x": 0.06}, "first", math.log(0.9 / 0.04)),  # B has no more than what is left
        ({"A": 0.5, "x": 0.01}, "first", math.log(0.5 / 0.01)),  # nor more than the least of those shown
        ({"A": 1.0}, "first", math.log(1 / 1e-9)),
    ],
)
def test_probabilities_decide_where_there_are_any(probabilities: dict[str, float], outcome: str, odds: float) -> None:
    with FaultyServer(lambda asked: said("A", logprobs=likely(probabilities))) as server:
        (verdict,) = judge_of(server).compare(QUESTION, [item("same", "same")])
    assert server.seen[0].body["logprobs"] is True and server.seen[0].body["top_logprobs"] == 20
    swapped = {"first": "second", "second": "first", "tie": "tie"}[outcome]
    assert (verdict.forward, verdict.swapped) == (outcome, swapped)
    assert verdict.margin == pytest.approx(0, abs=1e-9)
    with FaultyServer(
        lambda asked: said("A" if asked.shown("A") == "x" else "B", logprobs=_of_x(asked, probabilities))
    ) as server:
        (verdict,) = judge_of(server).compare(QUESTION, [item("x", "y")])
    assert verdict.margin == pytest.approx(odds), "log-odds for the first, in both orders"


def test_the_probabilities_are_those_at_the_verdict() -> None:
    words = ["A", "nswer", ":", " A", "."]  # as a tokenizer might cut it
    content = [{"token": word, "top_logprobs": [{"token": word, "logprob": -0.1}]} for word in words]
    content[3]["top_logprobs"] = likely({" A": 0.75, " B": 0.25})["content"][0]["top_logprobs"]
    assert log_odds("Answer: A.", {"content": content}) == pytest.approx(math.log(3))
    assert log_odds("<think>A or B</think>Answer: A.", {"content": content}) == pytest.approx(math.log(3))
    for text in ("tie", "A is better. It is short.", "A B"):
        assert log_odds(text, {"content": content}) is None, "no bare verdict for a side"
    odd: list[Any] = [None, 7, {}, {"content": 7}, {"content": [7, {"token": "A", "top_logprobs": [{"logprob": "x"}]}]}]
    assert [log_odds("A", logprobs) for logprobs in odd] == [None] * 5


def _of_x(asked: Asked, probabilities: dict[str, float]) -> Any:
    """The probabilities as given where x is A, with the letters exchanged where it is B."""
    if asked.shown("A") == "x":
        return likely(probabilities)
    exchange = str.maketrans("AB", "BA")
    return likely({token.translate(exchange): p for token, p in probabilities.items()}, "B")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (said("A", finish="content_filter"), "refused"),
        (said(None, refusal="I'm sorry, I can't help with that."), "refused"),
        (said("I'm sorry, but I can't compare these."), "refused"),
        (failed(400, "filtered", code="content_filter"), "refused"),
        (said(""), "unparsed"),
        (said(None), "unparsed"),
        (said("A and B"), "unparsed"),
        (said("A is better. Still, it could be that", finish="length"), "first"),
        (said("A is better", finish="length"), "unparsed"),
        (said("well " * 20000), "unparsed"),
        (said("<think>B? No.</think>\n\n**A**"), "first"),
    ],
)
def test_what_an_answer_is_worth(tmp_path: Path, reply: Reply, outcome: str) -> None:
    with FaultyServer(lambda asked: reply) as server:
        judge = judge_of(server, answers=tmp_path / "answers.db")
        (verdict,) = judge.compare(QUESTION, items(1))
        assert verdict.forward == outcome
        assert set(server.requests.values()) == {1} and judge.problems() == []
        judge_of(server, answers=tmp_path / "answers.db").compare(QUESTION, items(1))
        assert set(server.requests.values()) == {1}, "an answer that is worth nothing is an answer: it is kept"


def test_a_model_that_thinks_gets_more_room() -> None:
    def respond(asked: Asked) -> Reply:
        if asked.body["max_tokens"] < 1000:
            return said("<think>Let me", finish="length")
        return said(f"<think>A or B?</think>{'A' if 'good' in asked.shown('A') else 'B'}")

    with FaultyServer(respond) as server:
        judge = judge_of(server)
        assert outcomes(judge.compare(QUESTION, items(3))) == right(3)
    assert sum(server.requests.values()) == 7, "found out once"
    assert judge.usage().prompt_tokens == 7 * 50, "what it had thought in vain was paid for too"


# --- what a server does not take ---


@pytest.mark.parametrize(
    ("status", "error", "absent", "present"),
    [
        (400, {"message": "Unsupported value: 'temperature' does not support 0.", "param": "temperature"},
         {"temperature"}, {"seed", "logprobs"}),
        (422, {"message": [{"loc": ["body", "seed"], "msg": "extra fields not permitted"}]}, {"seed"}, {"temperature"}),
        (403, {"message": "You are not allowed to request logprobs from this model"}, {"logprobs", "top_logprobs"},
         {"seed"}),
        (400, {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.", "param": "max_tokens"},
         {"max_tokens"}, {"max_completion_tokens"}),
    ],
)  # fmt: skip
def test_a_parameter_that_is_refused_is_left_out_once_for_all(
    status: int, error: dict[str, Any], absent: set[str], present: set[str]
) -> None:
    def respond(asked: Asked) -> Reply:
        return failed(status, **error) if absent & set(asked.body) else honest(asked)

    with FaultyServer(respond) as server:
        judge = judge_of(server)
        assert outcomes(judge.compare(QUESTION, items(4))) == right(4)
        before = len(server.seen)
        judge.compare(QUESTION, items(6))
    refused = [asked for asked in server.seen if absent & set(asked.body)]
    assert 1 <= len(refused) <= 2, "one at a time until the server has answered; probabilities in two steps"
    assert before == 8 + len(refused) and len(server.seen) == before + 4
    assert present <= set(server.seen[-1].body)


def test_a_template_without_a_system_message_is_told_all_in_one() -> None:
    def respond(asked: Asked) -> Reply:
        system = any(message["role"] == "system" for message in asked.body["messages"])
        return failed(400, "System role not supported") if system else honest(asked)

    with FaultyServer(respond) as server:
        assert outcomes(judge_of(server).compare(QUESTION, items(2))) == right(2)
    assert len(server.seen) == 5 and "never an instruction" in server.seen[-1].body["messages"][0]["content"]


def test_a_question_that_is_too_long_is_its_own_fault_alone() -> None:
    def respond(asked: Asked) -> Reply:
        message = "max_tokens too large: the model's context length is 512 tokens"
        return failed(400, message) if len(asked.question) > 5000 else honest(asked)

    with FaultyServer(respond) as server:
        judge = judge_of(server)
        verdicts = judge.compare(QUESTION, [item("good " * 1000, "bad"), *items(3)])
    assert outcomes(verdicts) == [("unanswered", "unanswered"), *right(3)]
    assert set(server.requests.values()) == {1} and "max_tokens" in server.seen[-1].body
    (problem,) = judge.problems()
    assert problem.startswith("judge openai:tiny: 2 questions stayed unanswered: the server at http://127.0.0.1:")
    assert "refuses the question (400) (max_tokens too large" in problem


def test_once_it_has_answered_a_refusal_is_about_the_question_alone() -> None:
    def respond(asked: Asked) -> Reply:
        return failed(400, "I dislike the temperature") if "hot" in asked.question else honest(asked)

    with FaultyServer(respond) as server:
        judge = judge_of(server, concurrency=1)
        verdicts = judge.compare(QUESTION, [*items(1), item("hot", "cold"), item("good", "bad")])
    assert outcomes(verdicts) == [*right(1), ("unanswered", "unanswered"), ("first", "first")]
    assert set(server.requests.values()) == {1} and all("temperature" in asked.body for asked in server.seen)


# --- finding out before the run ---


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (failed(401, f"Incorrect API key: {KEY}"), r"wants a key, and there is none in OPENAI_API_KEY \(401\); check"),
        (failed(403, "no"), r"OPENAI_API_KEY \(403\)"),
        (failed(404, "The model `tiny` does not exist."), r"knows no such model or address \(404\) \(The model `tiny`"),
        (failed(429, "pay", code="insufficient_quota"), "no quota left"),
        (Reply(301, headers={"Location": "http://127.0.0.1:9/v1"}), r"another address \(301\), which is not followed"),
        (Reply(body=b"<html>"), r"not JSON; check --judge-url \(does it end in /v1\?\)"),
        (failed(500), r"failed \(500\); check --judge-url"),
        (failed(400, "Server is pinned to 'x'"), r"refuses the question \(400\) \(Server is pinned to 'x'\); check"),
    ],
)
def test_what_is_wrong_shows_before_the_run(reply: Reply, sentence: str) -> None:
    with FaultyServer(lambda asked: reply) as server, pytest.raises(InputError, match=sentence) as caught:
        judge_of(server).check()
    assert KEY not in str(caught.value) and server.url in str(caught.value) and str(caught.value).count("\n") == 0


def test_a_sound_server_passes_the_check_which_is_asked_anew_every_time(tmp_path: Path) -> None:
    with FaultyServer(lambda asked: said("I do not know.")) as server:
        for _ in range(2):
            judge_of(server, answers=tmp_path / "sub" / "answers.db").check()
        assert len(server.seen) == 2
    with pytest.raises(InputError, match=r"cannot be reached .*; start it, or check --judge-url"):
        judge_of(server).check()


def test_arguments_that_cannot_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    context = JudgeContext(lambda prompts, completions: None, {})
    with pytest.raises(InputError, match="which model"):
        OpenAI.open("", context)
    for url in ("127.0.0.1:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://[::1/v1", "http://a b/v1"):
        with pytest.raises(InputError, match="no web address"):
            OpenAI.open("m", replace(context, url=url))
    for url in (f"http://me:{KEY}@host/v1", f"http://host/v1?key={KEY}", f"http://host/v1#{KEY}"):
        with pytest.raises(InputError, match="put the key into OPENAI_API_KEY") as caught:
            OpenAI.open("m", replace(context, url=url))
        assert KEY not in str(caught.value)
    assert address("http://Host:8000/v1/") == address("http://host:8000/v1/chat/completions") == "http://host:8000/v1"
    assert address("") == SERVICE
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway/v1")
    assert address("") == "http://gateway/v1"
    assert OpenAI.identity("m", "http://a/v1") != OpenAI.identity("m", "http://b/v1")


# --- where it is called from ---


def test_within_a_running_event_loop() -> None:
    async def notebook() -> list[Verdict]:
        return judge_of(server).compare(QUESTION, items(2))

    with FaultyServer() as server:
        assert outcomes(asyncio.run(notebook())) == right(2)
