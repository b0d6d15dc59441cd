"""What a check finds, and how a fault of an objective's code becomes one sentence."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Result = Literal["passed", "failed", "not applicable", "known failure"]


@dataclass(frozen=True)
class Outcome:
    """The result of one check: `sentence` says what was found and what to do, or why the check does not apply."""

    name: str
    result: Result
    sentence: str = ""

    @property
    def good(self) -> bool:
        return self.result != "failed"


class Failed(Exception):  # noqa: N818 - a verdict
    """An objective does not pass a check; the message is the sentence that is shown."""


class NotApplicable(Exception):  # noqa: N818 - a verdict
    """A check has nothing to look at in this objective; the message says why."""


def short(value: float) -> str:
    """A number as a sentence shows it."""
    return f"{value:.4g}"


def files(cls: type[Any]) -> list[str]:
    """The files of a class and of its bases that are not alignbench's own contract."""
    found = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in ("abc", "builtins", "typing") and not _contract(base.__module__):
            path = inspect.getsourcefile(base)
            found += [path] if path else []
    return found


def _contract(module: str) -> bool:
    return module.startswith("alignbench.") and not module.startswith("alignbench.objectives.")


def raised(error: BaseException, sources: list[str]) -> str:
    """One sentence for an exception: the line of the objective, its kind and its text; without such a line, that what
    the objective handed over is at fault."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in sources]
    reason = " ".join(str(error).split()).rstrip(".")
    what = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    if own:
        return f"{Path(own[-1].filename).name}:{own[-1].lineno} raises {what}; mend that line."
    return f"alignbench cannot use the objective ({what}): look at what its methods take and return."
