"""The key of a judge behind a server: it is sent where it should, and turns up nowhere else."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.judge import JudgeContext
from alignbench.judges.openai import OpenAI

from .asked_judges import KEY, QUESTION, item, items, judge_of, outcomes, right, rows
from .faulty_server import Asked, FaultyServer, Reply, failed, said


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("key", ["", "sk-ein-schlüssel", "sk-two\nlines"])
def test_a_key_that_cannot_be_sent(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    context = JudgeContext(lambda prompts, completions: None, {})
    for act in (OpenAI.check, lambda judge: judge.compare(QUESTION, items(1))):
        with pytest.raises(InputError, match=r"OPENAI_API_KEY (is not set|holds a character)") as caught:
            act(OpenAI.open("gpt-4o", context))
        assert not key or key not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", [KEY, "token/9f8e7d6c5b4a+xyz="])
def test_the_key_turns_up_nowhere(
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {key}\n")  # as `export OPENAI_API_KEY=$(cat file)` might have it
    caplog.set_level(logging.DEBUG)
    written: list[str] = []

    def respond(asked: Asked) -> Reply:
        """Repeats the key wherever a server can."""
        assert asked.headers["authorization"] == f"Bearer {key}"
        if "refuse" in asked.question:
            return failed(400, f"not with Bearer {key}", code=key, type=key)
        if "denied" in asked.question:
            return failed(401, f"Incorrect API key provided: {key[:8]}*****{key[-4:]}")
        if asked.time == 1:
            return failed(500, f"oh {key}")
        reply = said(f"A. The key is {key}", refusal=key)
        return replace(reply, body=reply.body.replace(b"served-name", key.encode()))

    with FaultyServer(respond) as server:
        judge = judge_of(server, answers=tmp_path / "answers.db", report=lambda fraction, text: written.append(text))
        judge.compare(QUESTION, [*items(2), item("refuse", "x"), item("denied", "x")])
        for word in ("refuse", "denied"):
            server.respond = lambda asked, word=word: respond(replace(asked, body=_with(asked.body, word)))  # type: ignore[misc]
            with pytest.raises(InputError) as caught:
                judge.check()
            written += traceback.format_exception(caught.value)
            chained: BaseException | None = caught.value
            while chained is not None:  # also what no traceback shows
                written.append(f"{chained!r} {chained.args}")
                chained = chained.__cause__ or chained.__context__
    assert rows(tmp_path / "answers.db") == 4
    written += [repr(judge), repr(judge.usage()), *judge.problems(), caplog.text, *capfd.readouterr()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    everything = "\n".join(written).encode() + b"".join(path.read_bytes() for path in files)
    assert b"not with Bearer [key]" in everything, "the server's words are shown"
    for part in (key, key[:8], key[-4:]):
        assert part.encode() not in everything
    assert len(files) == 1


def _with(body: dict[str, Any], word: str) -> dict[str, Any]:
    return {**body, "messages": [*body["messages"], {"role": "user", "content": word}]}


def test_the_key_does_not_follow_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer() as other:
        away = Reply(307, headers={"Location": f"{other.url}/chat/completions"})
        with FaultyServer(lambda asked: away) as server, pytest.raises(InputError, match="not followed"):
            judge_of(server).check()
        assert other.seen == []


def test_no_proxy_stands_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FaultyServer() as server:
        assert outcomes(judge_of(server).compare(QUESTION, items(1))) == right(1)
