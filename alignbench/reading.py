"""Sources of any kind -> line and fields of every record, whatever they are.

Whatever makes a whole source unreadable is an `InputError` that names the file and the line.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import InputError
from .hub import asked_once, first_line, offline

Row = tuple[int, dict[str, Any]]  # line (or row, counted from 1) and fields

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


def read_rows(source: str, split: str | None = None) -> list[Row]:
    """Line and fields of every record of a source, whatever they are. Raises `InputError` where there is none."""
    rows = list(_rows(source, split))
    if not rows:
        raise InputError(f"{source} is empty: it holds no record.")
    return rows


def local(source: str) -> Path:
    """The path that a source is where it is one. Raises `InputError` where it can be none."""
    path = Path(os.path.expanduser(source))  # noqa: PTH111  (the other one raises where there is no such user)
    try:
        path.exists()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{source[:60]!r} is no path ({why}): give a file, a folder or a hub id.") from None
    return path


def _rows(source: str, split: str | None) -> Iterator[Row]:
    path = local(source)
    if path.is_dir():
        return _folder(path, source, split)
    is_data = source.lower().endswith(SUFFIXES)
    if not path.exists() and not is_data and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        return _hub(source, split)
    if not path.exists():
        raise InputError(f"{source} is missing: give a data file, a data set folder or a hub id.")
    if not is_data:
        raise InputError(f"{source} is of no known type: give a file that ends in {', '.join(SUFFIXES)}.")
    if split is not None:
        raise InputError(f"{source} is one file and has no split {split!r}: leave the split out.")
    if source.lower().endswith(".parquet"):
        return _parquet(path, source)
    content = _content(path, source)
    if not content.strip():
        raise InputError(f"{source} is empty: it holds no record.")
    is_list = ".json" in path.suffixes[-2:] and content.lstrip().startswith(b"[")
    return _json_list(content, source) if is_list else _json_lines(content, source)


def _content(path: Path, source: str) -> bytes:
    try:
        if path.suffix.lower() != ".gz":
            return path.read_bytes().removeprefix(codecs.BOM_UTF8)
        parts = []
        with gzip.open(path) as file:
            # Piece by piece, so that a broken stream can still say how far it was whole.
            try:
                while part := file.read(1 << 16):
                    parts.append(part)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                lines = b"".join(parts).count(b"\n")
                what = "is cut off within" if isinstance(error, EOFError) else "is damaged in"
                raise InputError(
                    f"{source} {what} its gzip stream, after line {lines}: copy or download it again."
                ) from None
        return b"".join(parts).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror or error}): check the file.") from None


def _decoded(content: bytes, source: str, first_line: int = 1) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise InputError(
            f"{source} line {line} is not UTF-8 (byte 0x{content[error.start]:02x}): save the file as UTF-8."
        ) from None


def _parsed(text: str, source: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line, reason = first_line, str(error)
        if isinstance(error, json.JSONDecodeError):
            line, reason = first_line + error.lineno - 1, f"{error.msg}, column {error.colno}"
        raise InputError(f"{source} line {line} is not JSON ({reason}): mend or remove it.") from None


def _row(value: Any, line: int, source: str) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{source} line {line} is not a JSON object with the fields of a record: mend or remove it.")
    return line, value


def _json_lines(content: bytes, source: str) -> Iterator[Row]:
    # `splitlines` would also split at separators that JSON allows within a string.
    for line, part in enumerate(content.split(b"\n"), 1):
        if part.strip():
            yield _row(_parsed(_decoded(part, source, line), source, line), line, source)


def _json_list(content: bytes, source: str) -> Iterator[Row]:
    text = _decoded(content, source)
    values = _parsed(text, source)
    # The list is known to be valid; a second pass finds on which line each of its objects starts.
    decoder, blank = json.JSONDecoder(), re.compile(r"[\s,]*")
    position, line, counted = text.index("[") + 1, 1, 0
    for value in values:
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, position), position
        yield _row(value, line, source)
        position = decoder.raw_decode(text, position)[1]


def _parquet(path: Path, source: str) -> Iterator[Row]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield from enumerate(file.read().to_pylist(), 1)
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(f"{source} is not a readable parquet file ({first_line(error)}): write it again.") from None


def _folder(path: Path, source: str, split: str | None) -> Iterator[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    saved = any((path / name).exists() for name in ("state.json", "dataset_dict.json"))
    try:
        # Streaming reads the files where they lie, without a second copy in a cache.
        found = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path), streaming=True)
        yield from enumerate(_chosen_split(found, split, source), 1)
    except (DatasetsError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{source} is not a readable data set folder ({first_line(error)}): check it.") from None


def _hub(source: str, split: str | None) -> Iterator[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        with asked_once(source):
            found = datasets.load_dataset(source)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        if offline():
            raise InputError(
                f"{source} is no file or folder here, the hub cannot be reached and its cache does not hold it: check "
                "the name and the network, or give a file."
            ) from None
        raise InputError(
            f"{source} is no file or folder here, and the hub gave no such data set ({first_line(error)}): check the "
            "name, and the network if it is a hub id."
        ) from None
    yield from enumerate(_chosen_split(found, split, source), 1)


def _chosen_split(found: Any, split: str | None, source: str) -> Iterable[dict[str, Any]]:
    if not isinstance(found, dict):  # one data set, saved without splits
        if split is not None:
            raise InputError(f"{source} has no splits: leave {split!r} out.")
        return found  # type: ignore[no-any-return]
    name = split or ("train" if "train" in found else next(iter(found)) if len(found) == 1 else None)
    if name not in found:
        raise InputError(f"{source} has the splits {', '.join(found)}, not {name or 'train'}: name one of them.")
    return found[name]  # type: ignore[no-any-return]
