"""The cache of answers: what it is keyed on, that it keeps everything, and what it says of files that it cannot use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from alignbench import answers as module
from alignbench.answers import APPLICATION, Answer, Answers, key_of
from alignbench.errors import InputError

ANSWER = Answer("A", "stop", False, 1.5, 50, 2, "gpt-x-2026", "2026-01-02T03:04:05.678+00:00")
ASKED = [{"role": "system", "content": "judge"}, {"role": "user", "content": "A or B?"}]


def key(**changed: object) -> str:
    given = {"model": "m", "url": "u", "messages": ASKED, "settings": {"temperature": 0}, "order": ("x", "y")} | changed
    return key_of(**given)  # type: ignore[arg-type]


def test_the_key_depends_on_everything_that_the_answer_does() -> None:
    changes: list[dict[str, object]] = [
        {"model": "n"}, {"url": "v"}, {"messages": [ASKED[0]]}, {"messages": [ASKED[1], ASKED[0]]},
        {"messages": [{**ASKED[0], "role": "user"}, ASKED[1]]}, {"settings": {"temperature": 1}},
        {"settings": {"temperature": 0, "seed": 0}}, {"order": ("y", "x")},
    ]  # fmt: skip
    keys = [key(), *(key(**change) for change in changes)]
    assert len(set(keys)) == len(keys) == 9
    assert key() == key(settings={"temperature": 0}) and len(key()) == 64


@pytest.mark.parametrize("stored", [True, False])
def test_what_is_put_is_got(tmp_path: Path, stored: bool) -> None:
    path = tmp_path / "new" / "answers.db" if stored else None
    cache = Answers(path)
    assert cache.get(["k"]) == {} and not (tmp_path / "new").exists(), "looking makes no file"
    bare = Answer("", "", True, None, None, None, "", "")
    odd = replace(ANSWER, text="é \x00 \n 'quoted' 🎬" * 1000, log_odds=-20.7)
    for name, answer in (("k", ANSWER), ("bare", bare), ("odd", odd)):
        assert cache.put(name, "m", "u", answer) == answer
    many = [f"absent {i}" for i in range(3000)]
    assert cache.get([*many, "k", "bare", "odd"]) == {"k": ANSWER, "bare": bare, "odd": odd}
    if stored:
        assert Answers(path).get(["k"]) == {"k": ANSWER}, "another process finds it"
        assert [file.name for file in (tmp_path / "new").iterdir()] == ["answers.db"], "nothing is left beside it"


@pytest.mark.parametrize("stored", [True, False])
def test_the_first_answer_counts(tmp_path: Path, stored: bool) -> None:
    cache = Answers(tmp_path / "answers.db" if stored else None)
    cache.put("k", "m", "u", ANSWER)
    assert cache.put("k", "m", "u", replace(ANSWER, text="B")) == ANSWER
    assert cache.get(["k"]) == {"k": ANSWER}


def test_half_a_surrogate_pair_is_kept_as_it_is_written(tmp_path: Path) -> None:
    kept = Answers(tmp_path / "answers.db").put("k", "m", "u", replace(ANSWER, text="\ud83c!"))
    assert kept.text == "\\ud83c!"


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    cache = Answers(tmp_path / "answers.db")

    def put(number: int) -> str:
        return cache.put(f"k{number % 40}", "m", "u", replace(ANSWER, text=str(number))).text

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(put, range(120)))
    found = cache.get([f"k{i}" for i in range(40)])
    assert len(found) == 40
    assert [found[f"k{i % 40}"].text for i in range(120)] == texts, "everybody was given the one that was stored"


def test_what_is_in_a_file_can_be_read_by_people(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    Answers(path).put("k", "gpt-x", "http://host/v1", ANSWER)
    with contextlib.closing(sqlite3.connect(path)) as database:
        (row,) = database.execute("SELECT model, url, text, served, time, log_odds FROM answers").fetchall()
    assert row == ("gpt-x", "http://host/v1", "A", "gpt-x-2026", ANSWER.time, 1.5)


# --- files that cannot be used ---


def foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE answers (key TEXT, their TEXT)")
        database.commit()


def stamped(path: Path) -> None:
    """Ours by its stamp, and yet without the table."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute("PRAGMA user_version = 1")


def newer(path: Path) -> None:
    stamped(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def damaged(path: Path) -> None:
    cache = Answers(path)
    for number in range(200):
        cache.put(f"k{number}", "m", "u", replace(ANSWER, text="x" * 200))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (
        lambda path: path.write_text("my notes, which are no database " * 40),
        "no cache of answers, or a damaged",
    ),
    "of another program": (foreign, "a database of another program, not a cache of answers: move it away"),
    "of another version": (newer, "a database of another version"),
    "without the table": (stamped, "no cache of answers, or a damaged"),
    "damaged": (damaged, "no cache of answers, or a damaged"),
    "a folder": (Path.mkdir, "cannot be written"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    make, sentence = BAD[name]
    path = tmp_path / "answers.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for use in (lambda: Answers(path).get(["k"]), lambda: Answers(path).put("k199", "m", "u", ANSWER)):
        with pytest.raises(InputError, match=sentence) as caught:
            use()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    if name != "without the table":
        with contextlib.suppress(InputError):
            Answers(path).check()
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    path.touch()
    Answers(path).check()
    assert Answers(path).put("k", "m", "u", ANSWER) == ANSWER


def test_a_file_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY", 0.1)
    path = tmp_path / "answers.db"
    Answers(path).put("k", "m", "u", ANSWER)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        assert Answers(path).get(["k"]) == {"k": ANSWER}, "reading goes on"
        with pytest.raises(InputError, match=r"held by another process for 0\.1 s"):
            Answers(path).put("other", "m", "u", ANSWER)


FILL = """
import resource, signal, sys
from pathlib import Path
from alignbench.answers import Answer, Answers
from alignbench.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
cache = Answers(Path(sys.argv[1]))
for number in range(1000):
    try:
        cache.put(f"k{number}", "m", "u", Answer("x" * 2000, "stop", False, None, 1, 1, "", ""))
    except InputError as error:
        print(number, error)
        break
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """Files of this process may not grow beyond 64 KiB, which fails as a full disk does."""
    path = tmp_path / "answers.db"
    done = subprocess.run([sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True)
    stored, _, sentence = done.stdout.partition(" ")
    assert 5 < int(stored) < 40 and f"{path} cannot be written (" in sentence and "make room" in sentence
    assert len(Answers(path).get([f"k{i}" for i in range(1000)])) == int(stored), "what was stored is there"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="cannot be written"):
        Answers(tmp_path / "answers.db").check()
