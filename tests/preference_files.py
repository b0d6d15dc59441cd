"""Preference data for tests, written to files and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignbench.data import Records, read_records

Row = dict[str, Any]
GOOD: Row = {"prompt": "How are you?", "chosen": " Well.", "rejected": " Bad."}


def lines(*rows: Any) -> bytes:
    """The rows as JSON, one a line."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(folder: Path, *rows: Row) -> Records:
    """The rows, through a file."""
    (folder / "prefs.jsonl").write_bytes(lines(*rows))
    return read_records(str(folder / "prefs.jsonl"))


def save_parquet(path: Path, rows: list[Row]) -> None:
    """The rows as a parquet file."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.Table.from_pylist(rows), path)
