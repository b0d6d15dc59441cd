"""One tree of exceptions: everything alignbench raises on purpose is an `AlignbenchError`."""

from __future__ import annotations


class AlignbenchError(Exception):
    """Base of every error raised on purpose."""


class InputError(AlignbenchError):
    """Something the user gave is wrong: one sentence that says what, where and what to do. Exit code 2."""


class TrainingError(AlignbenchError):
    """A cell cannot go on (a loss that is not finite, say). The cell fails, the run goes on. Exit code 1."""
