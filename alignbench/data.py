"""Files and hub ids in, validated records out.

Whatever makes a whole source unreadable is an `InputError` that names the file and the line; whatever is wrong with
one record skips that record, and every skipped record is listed with its line, its field and the reason.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError
from .formats import Record, Skipped, UnusableError, describe_skipped, parser_for, shown
from .records import Kind, LabelledCompletion, Pair, Preferences, Prompt, Ranking

__all__ = [
    "Records", "Row", "Skipped", "check_disjoint", "describe_skipped", "distinct_prompts", "read_records", "read_rows",
    "split_by_prompt",
]  # fmt: skip

Row = tuple[int, dict[str, Any]]  # line (or row, counted from 1) and fields
SplitT = TypeVar("SplitT", bound=str)

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")


@dataclass(frozen=True)
class Records:
    """The valid records of one source; `fingerprint` is a sha256 of their content, whatever file holds it.

    `left_out` lists completions of rankings that are used without them: ties and repeated texts.
    """

    records: tuple[Pair, ...] | tuple[LabelledCompletion, ...] | tuple[Ranking, ...]
    kind: Kind
    skipped: tuple[Skipped, ...]
    source: str
    fingerprint: str
    left_out: tuple[Skipped, ...] = ()

    @property
    def total(self) -> int:
        """Records in the source, skipped ones included."""
        return len(self.records) + len(self.skipped)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was left out, each as one phrase."""
        said = [describe_skipped(self.skipped, self.total)] if self.skipped else []
        if self.left_out:
            listed = sum(len(r.completions) for r in self.records if isinstance(r, Ranking)) + len(self.left_out)
            said.append(describe_skipped(self.left_out, listed, what="completions of the other records"))
        return tuple(said)


def read_records(source: str, split: str | None = None) -> Records:
    """Read preference data: a file, a data set folder, or a hub id (which needs the network or a filled cache).

    The format is told from the fields: `prompt`/`chosen`/`rejected`, each text or a list of `{role, content}`;
    `chosen`/`rejected` alone, as whole conversations or as transcripts whose prompt goes up to the last
    "\\n\\nAssistant:"; `prompt`/`completion`/`label` (true/false, 1/0, "desirable"/"undesirable").
    `split` names a split of a folder or a hub data set; by default "train", or the only one.

    Raises:
        InputError: the source is missing, empty, unreadable or in no known format, or none of its records is usable.
    """
    rows = read_rows(source, split)
    left_out: list[Skipped] = []
    parse = parser_for({name for _, row in rows for name in row}, source, left_out.append)
    records: list[Any] = []
    skipped = []
    for line, row in rows:
        try:
            records.append(parse(row, line))
        except UnusableError as error:
            skipped.append(Skipped(line, error.field, error.reason))
    if not records:
        raise InputError(f"{source} holds no usable record: {describe_skipped(skipped, len(rows))}.")
    kinds: dict[type, Kind] = {Pair: "pairs", LabelledCompletion: "labels", Ranking: "rankings"}
    kind = kinds[type(records[0])]
    return Records(tuple(records), kind, tuple(skipped), source, _fingerprint(records), tuple(left_out))


def read_rows(source: str, split: str | None = None) -> list[Row]:
    """Line and fields of every record of a source, whatever they are. Raises `InputError` where there is none."""
    rows = list(_rows(source, split))
    if not rows:
        raise InputError(f"{source} is empty: it holds no record.")
    return rows


def split_by_prompt(records: Preferences, shares: Mapping[SplitT, float], salt: str) -> dict[SplitT, Preferences]:
    """Deal records out by a hash of the prompt's text; `shares` sum to 1.

    Repeated prompts stay together, and where a record goes does not depend on the others, so that a file which grows
    keeps its splits.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise ValueError(f"the shares {dict(shares)} must not be negative and must sum to 1")
    names, uppers = list(shares), list(accumulate(shares.values()))
    parts: dict[SplitT, list[Any]] = {name: [] for name in names}
    for record in records:
        # A point is below 1, so that it falls below the last bound, and a share of 0 has no room between two bounds.
        point = _point(record.prompt.text, salt) * uppers[-1]
        parts[names[bisect_right(uppers, point)]].append(record)
    return {name: tuple(part) for name, part in parts.items()}


def distinct_prompts(records: Iterable[Record], salt: str) -> tuple[Prompt, ...]:
    """Each prompt once, in the order of a hash of its text: any prefix is a fair sample of them."""
    prompts = dict.fromkeys(record.prompt for record in records)
    return tuple(sorted(prompts, key=lambda prompt: (_point(prompt.text, salt), prompt.text)))


def check_disjoint(train: Records, evaluation: Records) -> None:
    """Raise `InputError`, naming the prompt and both lines, where the two sources share a prompt."""
    lines: dict[str, int | None] = {}
    for record in train.records:
        lines.setdefault(record.prompt.text, record.line)
    for record in evaluation.records:
        text = record.prompt.text
        if text in lines:
            raise InputError(
                f"{evaluation.source} line {record.line} holds the prompt {shown(text)} of {train.source} line "
                f"{lines[text]}: evaluation prompts must not be trained on, remove it from one of the two."
            )


def _point(text: str, salt: str) -> float:
    """A number in [0, 1) fixed by the text: 48 bits are exact in a float."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{text}".encode()).digest()[:6], "big") / 2**48


def _fingerprint(records: Iterable[Record]) -> str:
    hashed = hashlib.sha256()
    for record in records:
        content: list[Any] = [record.prompt.text, record.prompt.messages]
        if isinstance(record, Pair):
            content += [record.chosen.text, record.rejected.text]
        elif isinstance(record, Ranking):
            content += [[completion.text for completion in record.completions]]
        else:
            content += [record.completion.text, record.desirable]
        hashed.update(json.dumps(content).encode() + b"\n")
    return hashed.hexdigest()


# --- sources: anything -> (line, fields) ---


def _rows(source: str, split: str | None) -> Iterator[Row]:
    path = Path(source).expanduser()
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
        raise InputError(f"{source} is not a readable parquet file ({_first_line(error)}): write it again.") from None


def _folder(path: Path, source: str, split: str | None) -> Iterator[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    saved = any((path / name).exists() for name in ("state.json", "dataset_dict.json"))
    try:
        # Streaming reads the files where they lie, without a second copy in a cache.
        found = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path), streaming=True)
        yield from enumerate(_chosen_split(found, split, source), 1)
    except (DatasetsError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{source} is not a readable data set folder ({_first_line(error)}): check it.") from None


def _hub(source: str, split: str | None) -> Iterator[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(source)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{source} is no file or folder here, and the hub gave no such data set ({_first_line(error)}): check the "
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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")[:160]
