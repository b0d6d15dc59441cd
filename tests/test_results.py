"""The store: keys that stay the same, files that are whole or absent, errors of one sentence."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from alignbench import InputError
from alignbench.results import (
    Json,
    canonical,
    derive,
    digest,
    read_json,
    read_jsonl,
    slug,
    whole_folder,
    write_json,
    write_jsonl,
    write_text,
)


@dataclass(frozen=True)
class Point:
    x: float
    tags: frozenset[str] = frozenset({"b", "a"})


def names(folder: Path) -> list[str]:
    """Every name in a folder, the hidden ones of half-written files too."""
    return sorted(path.name for path in folder.iterdir())


def test_canonical_values_are_plain_json() -> None:
    value = {
        1: Point(0.5),
        "folder": Path("a/b"),
        "numpy": np.float64(2.5),
        "counts": (np.int64(3), torch.tensor(4), torch.tensor(True)),
        "not finite": [math.nan, -math.inf, float(np.inf)],
        "none": None,
    }
    assert canonical(value) == {
        "1": {"x": 0.5, "tags": ["a", "b"]},
        "folder": "a/b",
        "numpy": 2.5,
        "counts": [3, 4, True],
        "not finite": [None, None, None],
        "none": None,
    }


def test_a_digest_is_the_same_tomorrow_and_in_any_order_of_keys() -> None:
    # Written down: a change of these makes every stored result unusable.
    assert digest("dpo", {"beta": 0.1, "steps": 3}, [1, 2]) == "ebd13e17d67b2252"
    assert digest("é\udcff") == "1d89d4c2d55c7cea"
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(Point(1.0)) == digest({"x": 1.0, "tags": ["a", "b"]})
    different: list[Any] = [[], [1], [1.0], ["1"], [True], [None], [[1, 2]], [1, 2], [2, 1], [{"a": 1}], [0.1], ["0.1"]]
    assert len({digest(*values) for values in different}) == len(different)


def test_streams_of_random_numbers_are_far_apart() -> None:
    assert derive(0, "sampling") == 1196928559710480898
    seeds = [derive(seed, purpose) for seed in range(50) for purpose in ("order", "sampling", "1/order")]
    assert len(set(seeds)) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))  # torch takes every one of them


@pytest.mark.parametrize(
    ("text", "name"),
    [("dpo:beta=0.5", "dpo_beta=0.5"), ("./../é x.py", "x.py"), ("", "unnamed"), ("a" * 99, "a" * 60)],
)  # fmt: skip
def test_a_slug_is_a_safe_file_name(text: str, name: str) -> None:
    assert slug(text) == name


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "table.md"
    write_text(file, "one")
    write_text(file, "two ü\udcff")  # half a surrogate pair, as a model may well produce, is written and not fatal
    assert file.read_text(encoding="utf-8") == "two ü\\udcff"
    assert names(file.parent) == ["table.md"]


def fail(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_without_space_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    file = tmp_path / "summary.json"
    write_json(file, {"rows": 1})
    monkeypatch.setattr(os if step == "fsync" else Path, step, fail(number))
    with pytest.raises(InputError, match=rf"cannot write results: {os.strerror(number)}.*--out") as raised:
        write_json(file, {"rows": 2})
    monkeypatch.undo()
    assert "\n" not in str(raised.value)
    assert read_json(file) == {"rows": 1}
    assert names(tmp_path) == ["summary.json"]


def test_an_output_below_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for path in (tmp_path / "taken" / "run.json", tmp_path / "taken" / "deep" / "run.json"):
        with pytest.raises(InputError, match="cannot write results"):
            write_text(path, "{}")
    with pytest.raises(InputError, match="cannot write results"), whole_folder(tmp_path / "taken" / "policy"):
        raise AssertionError("there is no folder to fill")


def test_other_failures_are_not_called_a_lack_of_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "x", "text")
    assert names(tmp_path) == []


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    final = tmp_path / "policy"
    with whole_folder(final) as folder:
        (folder / "weights").write_text("1")
        assert not final.exists()
    assert names(final) == ["weights"]
    with whole_folder(final) as folder:
        (folder / "other").write_text("2")
        assert names(final) == ["weights"]
    assert names(final) == ["other"]
    assert names(tmp_path) == ["policy"]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "weights"), InputError),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), InputError),
        (ValueError("a mistake"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_folder_that_was_not_finished_leaves_the_old_one(
    tmp_path: Path, error: BaseException, seen: type[BaseException]
) -> None:
    final = tmp_path / "policy"
    with whole_folder(final) as folder:
        (folder / "weights").write_text("old")
    with pytest.raises(seen), whole_folder(final) as folder:  # noqa: PT012
        (folder / "weights").write_text("half")
        raise error
    assert (final / "weights").read_text() == "old"
    assert names(tmp_path) == ["policy"]


def test_json_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"point": Point(math.nan), "text": "ü \u2028"})
    assert read_json(tmp_path / "a.json") == {"point": {"x": None, "tags": ["a", "b"]}, "text": "ü \u2028"}
    assert "NaN" not in (tmp_path / "a.json").read_text(encoding="utf-8")


# What `str.splitlines` takes for the end of a line, half a surrogate pair, and quotes: models write all of it.
@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\x85b", "a\x0bb\x1eb", "\udcff", '"\\', ""])
def test_a_row_of_jsonl_is_read_back_whatever_its_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "samples.jsonl"
    rows: list[Json] = [{"text": text, "n": 1}, {"text": "next", "n": None}]
    write_jsonl(file, rows)
    assert read_jsonl(file) == rows
    assert file.read_bytes().count(b"\n") == 2


def test_no_rows_and_no_file_are_an_empty_list(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "empty.jsonl", [])
    assert read_jsonl(tmp_path / "empty.jsonl") == []
    assert read_jsonl(tmp_path / "absent.jsonl") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "a.json is missing: is this a results folder"),
        (b'{"cut": ', "a.json is not valid JSON .*--fresh"),
        (b"\xff\xfe", "a.json is not valid JSON .*--fresh"),
        (json.dumps([1]).encode(), "a.json holds no JSON object"),
    ],
)
def test_a_damaged_store_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_json(tmp_path / "a.json")


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": \n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 2.*--fresh"):
        read_jsonl(tmp_path / "a.jsonl")
