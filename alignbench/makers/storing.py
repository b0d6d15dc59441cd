"""The files of a call: what may be written, and what cannot be read or written in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..errors import InputError


def check_out(path: Path, key: str) -> None:
    """Refuse to write over anything but an earlier output of the same command, and a file that cannot be written: what
    takes hours must not end in that. Raises `InputError`."""
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no file but a device or a pipe"
            raise InputError(f"--out {path} is {what}: give a file, or leave --out out for standard output.")
        _try(path)
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        first = "?"
    except OSError as error:
        raise InputError(f"--out {path} cannot be read ({error.strerror or error}): give another file.") from None
    try:
        record = json.loads(first) if first.strip() else {"key": key}
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("key") != key:
        raise InputError(f"--out {path} holds something else than this command's pairs: move it away or give another.")


def _try(path: Path) -> None:
    """Write beside `path` as `write_pairs` will, and leave nothing there. Raises `InputError`."""
    with stored(f"--out {path}"):
        new = [folder for folder in path.parents if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
                pass
        finally:
            for folder in new:
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def stored(where: str) -> Iterator[None]:
    """What goes wrong in writing is one sentence about `where`, an option with its value."""
    try:
        yield
    except (InputError, OSError) as error:
        # `results` speaks of a run and its cells, and keeps the cause.
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise InputError(
            f"{where} cannot be written ({cause.strerror or cause}): mend that or give another, then run the same "
            "command again."
        ) from error


def damaged(file: Path) -> InputError:
    return InputError(f"{file} is damaged: remove it, then run the same command again.")


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """The file, to be read: what cannot be read of it is damaged."""
    try:
        yield file
    except (InputError, UnicodeDecodeError):
        raise damaged(file) from None
