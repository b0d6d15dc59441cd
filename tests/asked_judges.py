"""Comparisons, a judge and a server for the tests of judges that ask one."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from alignbench.judge import JudgeContext
from alignbench.judges.openai import OpenAI
from alignbench.plugins import find
from alignbench.records import Comparison, Completion, Prompt, Verdict

from .faulty_server import FaultyServer

QUESTION = "Which review is better?"
KEY = "sk-test-0123456789abcdefXYZ"


def item(first: str, second: str, prompt: str = "the film") -> Comparison:
    return Comparison(Prompt(prompt), Completion(first), Completion(second))


def items(count: int) -> list[Comparison]:
    """The first is the better one in the even ones."""
    pairs = [(f"good {i}", f"bad {i}") for i in range(count)]
    return [item(*pair) if i % 2 == 0 else item(*reversed(pair)) for i, pair in enumerate(pairs)]


def outcomes(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    return [(verdict.forward, verdict.swapped) for verdict in verdicts]


def right(count: int) -> list[tuple[str, str]]:
    return [("first", "first") if i % 2 == 0 else ("second", "second") for i in range(count)]


def judge_of(server: FaultyServer | str, **given: Any) -> OpenAI:
    """A judge that is quick to try again. Fields of the context are given by name as well."""
    url = server if isinstance(server, str) else server.url
    context = JudgeContext(lambda prompts, completions: None, {}, url=url, timeout=20.0, concurrency=4)
    for name in ("answers", "timeout", "concurrency", "price", "report"):
        if name in given:
            context = replace(context, **{name: given.pop(name)})
    judge = find("judge", "openai").open("tiny", context)
    assert isinstance(judge, OpenAI)
    return replace(judge, **{"pause": 0.01, "longest_pause": 0.05, **given})


def rows(path: Path) -> int:
    """How many answers a file holds; none while nobody has made its table."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return 0
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
