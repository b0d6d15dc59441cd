"""The cache of a server's answers: an SQLite file that many processes may write at once."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from .errors import InputError
from .records import Message
from .results import canonical

APPLICATION = 0x616C6E62  # "alnb" in the file's header: whose file it is
LAYOUT = 1
BUSY = 60.0
"""Seconds to wait for another process that is writing."""


@dataclass(frozen=True)
class Answer:
    """What a server said to one question.

    `finish` is the server's reason for the end of the text, `log_odds` log P(A) - log P(B) where it gave probabilities,
    `served` the name of the model as the server reports it, `time` when it came, in UTC. Tokens are None where the
    server did not count them.
    """

    text: str
    finish: str
    refused: bool
    log_odds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    served: str
    time: str


def key_of(model: str, url: str, messages: Sequence[Message], settings: object, order: Sequence[str]) -> str:
    """The key of a question: a hash of everything that its answer depends on.

    `order` is what is shown as A and what as B; it is in the messages as well, but need not be for the key to hold.
    """
    whole = json.dumps(canonical([model, url, list(messages), settings, list(order)]), sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


_COLUMNS = [field.name for field in fields(Answer)]
_NAMES = ", ".join(_COLUMNS)
_TABLE = """CREATE TABLE answers (key TEXT PRIMARY KEY, model TEXT NOT NULL, url TEXT NOT NULL, text TEXT NOT NULL,
finish TEXT NOT NULL, refused INTEGER NOT NULL, log_odds REAL, prompt_tokens INTEGER, completion_tokens INTEGER,
served TEXT NOT NULL, time TEXT NOT NULL) WITHOUT ROWID"""


class Answers:
    """Answers by key, in a file, or in memory where `path` is None.

    Every call opens the file anew: it may be made from any thread, and after a fork. Each answer is one transaction,
    so that a killed process loses none that it had stored. The rollback journal is used, not a write-ahead log, which
    network file systems do not carry.

    Every method raises `InputError` where the file is no cache of answers, or cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._memory: dict[str, Answer] = {}

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers there are to these keys."""
        if self.path is None:
            return {key: self._memory[key] for key in keys if key in self._memory}
        if not self.path.exists():
            return {}
        found: dict[str, Answer] = {}
        with self._opened(self.path) as database:
            for start in range(0, len(keys), 500):  # old builds of SQLite bind 999 values at most
                some = keys[start : start + 500]
                marks = ", ".join("?" * len(some))
                rows = database.execute(f"SELECT key, {_NAMES} FROM answers WHERE key IN ({marks})", some)  # noqa: S608
                found |= {row[0]: _answer(row[1:]) for row in rows}
        return found

    def put(self, key: str, model: str, url: str, answer: Answer) -> Answer:
        """Store an answer, and return the one that counts: where another process was first, its."""
        if self.path is None:
            return self._memory.setdefault(key, answer)
        with self._opened(self.path) as database:
            database.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * (3 + len(_COLUMNS)))
            database.execute(
                f"INSERT OR IGNORE INTO answers (key, model, url, {_NAMES}) VALUES ({marks})",  # noqa: S608
                [_storable(value) for value in (key, model, url, *astuple(answer))],
            )
            kept = database.execute(f"SELECT {_NAMES} FROM answers WHERE key = ?", [key]).fetchone()  # noqa: S608
            database.execute("COMMIT")
        return _answer(kept)

    def check(self) -> None:
        """Open the file for writing, making it where there is none."""
        if self.path is not None:
            with self._opened(self.path) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[sqlite3.Connection]:
        database = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            _own(database, path)
            yield database
        except sqlite3.Error as error:
            raise InputError(_sentence(path, error)) from None
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}): give the answers another place.") from None
        finally:
            if database is not None:
                database.close()


def _own(database: sqlite3.Connection, path: Path) -> None:
    """Make the table in an empty file; refuse a file of another program."""
    if _stamp(database) == (APPLICATION, LAYOUT):
        return
    database.execute("BEGIN IMMEDIATE")  # of several processes that find it empty, one makes the table
    if _stamp(database) == (0, 0) and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        database.execute(_TABLE)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {LAYOUT}")
        database.execute("COMMIT")
        return
    own = _stamp(database)
    database.execute("ROLLBACK")
    if own != (APPLICATION, LAYOUT):
        of = "another version" if own[0] == APPLICATION else "another program"
        raise InputError(f"{path} is a database of {of}, not a cache of answers: move it away or give another place.")


def _stamp(database: sqlite3.Connection) -> tuple[int, int]:
    names = ("application_id", "user_version")
    application, version = (int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return application, version


def _sentence(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}:
        return f"{path} is no cache of answers, or a damaged one ({error}): move it away, then run again."
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{path} has been held by another process for {BUSY:g} s: end that one, then run again."
    return f"{path} cannot be written ({error}): answers so far are kept, make room for more, then run again."


def _storable(value: object) -> object:
    # Half a surrogate pair is valid in JSON, and no text for SQLite.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _answer(row: Sequence[object]) -> Answer:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Answer(**{**values, "refused": bool(values["refused"])})  # type: ignore[arg-type]
