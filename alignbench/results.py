"""The store on disk: written whole, read back, keyed by what it depends on."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

Json = dict[str, Any]


def canonical(value: Any) -> Any:
    """`value` as plain JSON types; dataclasses become objects, sets sorted lists, non-finite floats None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: canonical(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(canonical(item) for item in value)
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return canonical(value.item())
    return value


def digest(*values: Any) -> str:
    """A hash of 16 hexadecimal digits of anything `canonical` takes."""
    text = json.dumps(canonical(list(values)), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def derive(seed: int, purpose: str) -> int:
    """The seed of a stream of random numbers: a hash of `(seed, purpose)`, below 2**63."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def slug(text: str) -> str:
    """`text` as a short, safe file name."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", text).strip("._")[:60] or "unnamed"


def write_text(path: Path, text: str) -> None:
    """Write `text` beside `path`, then rename: a reader never sees half a file."""
    with _storage():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with beside.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(canonical(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: list[Json]) -> None:
    lines = (json.dumps(canonical(row), ensure_ascii=False, allow_nan=False) for row in rows)
    write_text(path, "".join(line + "\n" for line in lines))


def read_json(path: Path) -> Json:
    """Raises `InputError` where the file is missing or not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: is this a results folder that `alignbench run` wrote?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): run again with `--fresh`.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object: run again with `--fresh`.")
    return value


def read_jsonl(path: Path) -> list[Json]:
    """Raises `InputError` where a line is not JSON; a missing file has no rows."""
    if not path.exists():
        return []
    rows = []
    # Not `splitlines`, which also ends a line at U+2028 and U+0085, and models write those.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        try:
            rows += [json.loads(line)] if line else []
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not valid JSON ({error.msg}): run with `--fresh`.") from None
    return rows


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `final` only when the block ends without an error."""
    with _storage():
        partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


# No space, over quota, too large, read-only, not permitted, a file where a folder should be, too long a name.
_UNWRITABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
}  # fmt: skip


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors raises errors of its own, with the number in the text: "... (os error 28)".
        found = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
        if number not in _UNWRITABLE:
            raise
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        raise InputError(
            f"cannot write results: {os.strerror(number)}{where}; finished cells are kept, free some space or "
            f"give another `--out`, then run the same command again."
        ) from error
