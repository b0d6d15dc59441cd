"""One writer at a time to a results folder."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One run at a time writes to a folder; what a killed one left half written is swept up."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another run is writing to {folder}: wait for it or choose another --out.") from None
        for partial in folder.rglob(".*.partial"):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        yield
