"""The judge behind a real server, `transformers serve`, which is also killed and started again in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from alignbench.errors import InputError

from .asked_judges import QUESTION, items, judge_of, outcomes, rows
from .served_model import Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running


def test_a_real_server_is_asked(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    judge = replace(judge_of(server.url), model=server.model)
    judge.check()
    before = judge.usage().prompt_tokens
    assert before > 500, "the server counts"
    verdicts = judge.compare(QUESTION, items(3))
    assert outcomes(verdicts) == [("first", "second")] * 3, "it says A to everything"
    assert all(verdict.margin is None for verdict in verdicts), "it gives no probabilities"
    assert judge.usage().prompt_tokens > 6 * before and judge.problems() == []
    with pytest.raises(InputError, match=r"Server is pinned to .*requested 'tiny'"):
        judge_of(server.url).check()


def test_a_server_that_is_killed_and_started_again_answers_every_question_once(server: Served, tmp_path: Path) -> None:
    count, concurrency = 12, 3
    restarted: list[str] = []

    def report(fraction: float, text: str) -> None:
        if fraction > 0.4 and not restarted:
            restarted.append(text)
            server.restart()

    before = server.answered()
    answers = tmp_path / "answers.db"
    judge = judge_of(server.url, answers=answers, concurrency=concurrency, report=report, longest_pause=1.0)
    judge = replace(judge, model=server.model)
    verdicts = judge.compare(QUESTION, items(count))
    assert restarted, "it was killed in the middle"
    assert outcomes(verdicts) == [("first", "second")] * count and judge.problems() == []
    assert rows(answers) == 2 * count and judge.usage().retries > 0
    # It may have answered what it could no longer deliver, at most as much as was under way.
    assert 2 * count <= server.answered() - before <= 2 * count + concurrency
    assert judge.usage().prompt_tokens < (2 * count + 1) * 1500, "and each is counted once"
    answered = server.answered()
    again = replace(judge_of(server.url, answers=answers), model=server.model)
    assert outcomes(again.compare(QUESTION, items(count))) == outcomes(verdicts)
    assert again.usage().cached == 2 * count and server.answered() == answered, "nothing is asked again"
