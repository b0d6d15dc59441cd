"""Who says which of a model's samples are better, and what that depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..judges.reward import Reward
from ..plugins import find
from ..plugins.code import source as code_of
from ..pretrained import fingerprint_of
from ..results import Json, digest

QUESTION = "Which output follows the instruction better?"
VERSION = 1  # of how scores are made


@dataclass(frozen=True)
class Judging:
    """Who says which samples are better. `argument` and `url` as of a judge's spec, `price` of a million tokens (read,
    written); `questions` is how many may be asked at most, 0: all of them."""

    name: str
    argument: str = ""
    question: str = QUESTION
    url: str = ""
    timeout: float = field(default=60.0, compare=False)
    concurrency: int = field(default=8, compare=False)
    price: tuple[float, float] | None = field(default=None, compare=False)
    questions: int = 0
    device: str = field(default="cpu", compare=False)

    @property
    def label(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name

    @cached_property
    def cls(self) -> Any:
        """The judge's class. Raises `InputError` where it needs what only a run has."""
        cls = find("judge", self.name)
        if "gold" in cls.needs:
            raise InputError(
                f"judge {self.label} needs a benchmark's true reward, which a model's samples lack: use another."
            )
        if cls.needs and not self.argument:
            raise InputError(
                f"judge {self.label} is a model that a run trains, and there is no run here: write {self.name}:PATH."
            )
        return cls

    @property
    def scores(self) -> bool:
        """Whether it scores each sample by itself, and is asked nothing."""
        return isinstance(self.cls, type) and issubclass(self.cls, Reward)

    @property
    def asks(self) -> bool:
        """Whether somebody reads a question, rather than a formula the texts."""
        return bool(self.cls.asks or self.cls.remote)

    @cached_property
    def key(self) -> str:
        """A hash of what its scores depend on: its code, its argument by content, the question and the server."""
        code = code_of(self.cls, "alignbench.judge")
        question = "" if self.scores else self.question
        return digest(VERSION, code, self._known, question, self.cls.identity(self.argument, self.url))

    @property
    def _known(self) -> object:
        """The argument by its content, however its path is written."""
        path = Path(self.argument)
        if not self.argument or not os.path.exists(path):  # noqa: PTH110 - unlike `Path.exists` it never raises
            return self.argument
        if path.is_file():
            return digest(path.read_bytes().hex())
        # A judge of the user's may read any file of a folder, and a fingerprint is of a model's files alone.
        return fingerprint_of(self.argument) if self.cls.needs else [str(path.resolve()), fingerprint_of(self.argument)]

    @property
    def described(self) -> Json:
        """What a pair says of its judge."""
        if self.scores:
            return {"judge": {"name": self.label, "fingerprint": fingerprint_of(self.argument)}}
        where = {"url": self.url} if self.url else {}
        return {"judge": {"name": self.label, "fingerprint": self.key, "question": self.question, **where}}
