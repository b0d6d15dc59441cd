"""What the tests of `alignbench pairs` share: models, prompts, a judge in a file, and somebody who listens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignbench.makers import Judging, Made, Sampling, on_policy, read_prompts

from . import small
from .faulty_server import Asked, Reply, said

PROMPTS = [f"w{i:02} w{i + 1:02} w{(7 * i) % 50:02}" for i in range(10)]

# Compares by the number of distinct words, and writes down what it is asked.
JUDGE = '''
import json
from alignbench import Judge, by_score


class Mine(Judge):
    """A judge for a test."""

    summary = "more different words win"
    asks = True

    @classmethod
    def open(cls, argument, context):
        judge = cls()
        judge.log = f"{argument}.txt"
        return judge

    def compare(self, question, items):
        print("a judge that prints")
        with open(self.log, "a", encoding="utf-8") as file:
            for item in items:
                file.write(json.dumps([item.prompt.text, item.first.text, item.second.text]) + "\\n")
        return [by_score(len(set(i.first.text.split())), len(set(i.second.text.split()))) for i in items]
'''


class Listener:
    """Hears how it goes, and interrupts at a piece of work whose text matches `stop`."""

    def __init__(self, stop: str = "") -> None:
        self.stop, self.shown, self.told = stop, list[str](), list[str]()

    def show(self, work: str, fraction: float, text: str) -> None:
        assert 0 <= fraction <= 1
        self.shown.append(f"{work}: {text}")
        if self.stop and re.search(self.stop, self.shown[-1]):
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        self.told.append(text)


def models(folder: Path) -> tuple[str, str]:
    """The folders of a policy and of a reward model, which read words `w00` to `w55` within 64 tokens."""
    small.policy().save(folder / "model")
    small.reward_model().save(folder / "reward")
    return str(folder / "model"), str(folder / "reward")


def write(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def prompts(path: Path, texts: Sequence[str] = PROMPTS) -> str:
    return write(path, [{"prompt": text} for text in texts])


def made(source: str, sampling: Sampling, judging: Judging, work: Path, listener: Listener | None = None) -> Made:
    return on_policy(read_prompts(source), sampling, judging, work, listener or Listener())


def by_first_word(asked: Asked) -> Reply:
    """A server that prefers the text that comes first in the alphabet: no ties between different ones."""
    return said("A" if asked.shown("A") < asked.shown("B") else "B")
