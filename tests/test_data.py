from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from alignbench.data import Skipped, read_records
from alignbench.errors import InputError
from alignbench.hub import asked_once, offline
from alignbench.records import Completion, Pair, Prompt
from tests.preference_files import GOOD, Row, lines, read, save_parquet


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_records(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message.replace(str(path), "FILE")


# --- sources ---


def save_folder(path: Path, rows: list[Row]) -> None:
    path.mkdir()
    save_parquet(path / "train.parquet", rows)


SOURCES: dict[str, Callable[[Path, list[Row]], object]] = {
    "a.jsonl": lambda path, rows: path.write_bytes(lines(*rows)),
    "a.jsonl.gz": lambda path, rows: path.write_bytes(gzip.compress(lines(*rows))),
    "a.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "a.json.gz": lambda path, rows: path.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "lines.json": lambda path, rows: path.write_bytes(lines(*rows)),
    "bom.jsonl": lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + lines(*rows)),
    "windows.jsonl": lambda path, rows: path.write_bytes(lines(*rows).replace(b"\n", b"\r\n")),
    "a.parquet": save_parquet,
    "data": save_folder,
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same_records(tmp_path: Path, name: str) -> None:
    rows = [GOOD, {**GOOD, "prompt": "Où ?", "extra": 1}]
    SOURCES[name](tmp_path / name, rows)
    found = read_records(str(tmp_path / name))
    assert [record.prompt.text for record in found.records] == ["How are you?", "Où ?"]
    assert found.records[0] == Pair(
        Prompt("How are you?"), Completion(" Well."), Completion(" Bad."), line=found_line(name)
    )
    assert (found.kind, found.skipped, found.source) == ("pairs", (), str(tmp_path / name))
    assert found.fingerprint == read(tmp_path, *rows).fingerprint


def found_line(name: str) -> int:
    return 2 if name == "a.json" else 1  # indented, its first object starts on the second line


def test_the_fingerprint_follows_content_and_order(tmp_path: Path) -> None:
    other = {**GOOD, "rejected": " Worse."}
    prints = [read(tmp_path, *rows).fingerprint for rows in ([GOOD], [other], [GOOD, other], [other, GOOD])]
    assert len(set(prints)) == 4
    assert read(tmp_path, GOOD, {"prompt": "unusable"}).fingerprint == prints[0]


def test_a_separator_within_a_string_ends_no_line(tmp_path: Path) -> None:
    odd = {**GOOD, "chosen": "a\u2028b\x85c"}
    (tmp_path / "a.jsonl").write_text(json.dumps(odd, ensure_ascii=False) + "\n\n" + json.dumps(GOOD), encoding="utf-8")
    found = read_records(str(tmp_path / "a.jsonl"))
    assert [record.line for record in found.records] == [1, 3]


def test_lines_of_a_json_list(tmp_path: Path) -> None:
    text = "[\n\n" + json.dumps(GOOD, indent=2) + " , " + json.dumps(GOOD) + "\n,\n{}]"
    (tmp_path / "a.json").write_text(text)
    found = read_records(str(tmp_path / "a.json"))
    assert [record.line for record in found.records] == [3, 7]
    assert found.skipped == (Skipped(9, "prompt", "missing"),)


def test_data_set_folders_and_their_splits(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    one = Dataset.from_list([GOOD])
    one.save_to_disk(str(tmp_path / "one"))
    DatasetDict({"good": one, "bad": one}).save_to_disk(str(tmp_path / "two"))
    DatasetDict({"train": one, "test": Dataset.from_list([GOOD] * 3)}).save_to_disk(str(tmp_path / "usual"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_bytes(lines(GOOD, {**GOOD, "chosen": None}))
    (tmp_path / "files" / "test.jsonl").write_bytes(lines(GOOD, GOOD))

    assert len(read_records(str(tmp_path / "one")).records) == 1
    assert len(read_records(str(tmp_path / "two"), "bad").records) == 1
    assert len(read_records(str(tmp_path / "usual")).records) == 1
    assert len(read_records(str(tmp_path / "usual"), "test").records) == 3
    assert read_records(str(tmp_path / "files")).skipped == (Skipped(2, "chosen", "null"),)
    assert len(read_records(str(tmp_path / "files"), "test").records) == 2
    assert refusal(tmp_path / "two") == "FILE has the splits good, bad, not train: name one of them."
    for name in ("one", "files"):
        with pytest.raises(InputError, match=r"no splits: leave 'x' out|has the splits train, test, not x"):
            read_records(str(tmp_path / name), "x")


def test_a_folder_that_holds_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.bin").write_text("x")
    assert refusal(tmp_path / "a").startswith("FILE is not a readable data set folder (")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.jsonl").write_text('{"prompt": "a"\n')
    assert refusal(tmp_path / "b").startswith("FILE is not a readable data set folder (")


def test_a_hub_id_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"^nobody/nothing is no file or folder here, the hub cannot be reached and its"
    ):
        read_records("nobody/nothing")


@pytest.mark.parametrize("source", ["~nosuchuser/a.jsonl", "x" * 300, "a\0b.jsonl"])
def test_what_can_be_no_path_is_one_sentence(source: str) -> None:
    with pytest.raises(InputError, match=r"is missing|is no path|is no file"):
        read_records(source)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within `asked_once` the libraries are in their own offline mode, after it as they were; a folder asks nobody."""
    from datasets import config
    from huggingface_hub import constants

    asked: list[str] = []

    def nobody(*_: object, **__: object) -> None:
        asked.append("head")
        raise OSError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=nobody))
    offline.cache_clear()
    try:
        with asked_once(str(Path(__file__).parent)):
            assert not constants.HF_HUB_OFFLINE and not asked
        for _ in range(2):
            with asked_once("nobody/nothing"):
                assert constants.HF_HUB_OFFLINE and config.HF_HUB_OFFLINE
        assert not constants.HF_HUB_OFFLINE and not config.HF_HUB_OFFLINE and asked == ["head"]
    finally:
        offline.cache_clear()


# --- bad files ---

BAD_FILES = {
    "empty": ("a.jsonl", b"", "FILE is empty: it holds no record."),
    "blank": ("a.jsonl", b" \n\n", "FILE is empty: it holds no record."),
    "empty list": ("a.json", b"[]", "FILE is empty: it holds no record."),
    "empty gzip": ("a.jsonl.gz", gzip.compress(b""), "FILE is empty: it holds no record."),
    "latin-1": (
        "a.jsonl",
        lines(GOOD, GOOD) + '{"prompt": "Où"}\n'.encode("latin-1"),
        "FILE line 3 is not UTF-8 (byte 0xf9): save the file as UTF-8.",
    ),
    "latin-1 in a list": (
        "a.json",
        b'[{"prompt": "a"},\n{"prompt": "\xff"}]',
        "FILE line 2 is not UTF-8 (byte 0xff): save the file as UTF-8.",
    ),
    "utf-16": ("a.jsonl", '{"a": 1}'.encode("utf-16"), "FILE line 1 is not UTF-8 (byte 0xff): save the file as UTF-8."),
    "cut off mid-gzip": (
        "a.jsonl.gz",
        gzip.compress(lines(*({**GOOD, "prompt": str(random.Random(i).random())} for i in range(5000))))[:-900],
        r"FILE is cut off within its gzip stream, after line \d{4}: copy or download it again\.",
    ),
    "damaged gzip": (
        "a.jsonl.gz",
        gzip.compress(lines(GOOD))[:-8] + b"12345678",
        r"FILE is damaged in its gzip stream, after line \d: copy or download it again\.",
    ),
    "no gzip": (
        "a.jsonl.gz",
        lines(GOOD),
        "FILE is damaged in its gzip stream, after line 0: copy or download it again.",
    ),
    "not JSON": (
        "a.jsonl",
        lines(GOOD) + b'{"prompt": "a",}\n',
        r"FILE line 2 is not JSON \(.+, column \d+\): mend or remove it\.",
    ),
    "cut off": (
        "a.jsonl",
        lines(GOOD, GOOD)[:-20],
        r"FILE line 2 is not JSON \(.+, column \d+\): mend or remove it\.",
    ),
    "not JSON in a list": (
        "a.json",
        b'[{"prompt": "a"},\n\n{"prompt" "b"}]',
        r"FILE line 3 is not JSON \(.+, column 11\): mend or remove it\.",
    ),
    "too deep": ("a.jsonl", b"[" * 200_000, r"FILE line 1 is not JSON \(.+\): mend or remove it\."),
    "no object": (
        "a.jsonl",
        lines(GOOD, "text"),
        "FILE line 2 is not a JSON object with the fields of a record: mend or remove it.",
    ),
    "no parquet": ("a.parquet", lines(GOOD), r"FILE is not a readable parquet file \(.+\): write it again\."),
    "another type": (
        "a.csv",
        b"prompt,chosen,rejected\n",
        "FILE is of no known type: give a file that ends in .jsonl, .jsonl.gz, .json, .json.gz, .parquet.",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    name, content, expected = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    if "\\" in expected:
        assert re.fullmatch(expected, message), message
    else:
        assert message == expected


def test_a_missing_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "folder/a", "prefs.jsonl.gz"):
        assert refusal(tmp_path / name) == "FILE is missing: give a data file, a data set folder or a hub id."
    with pytest.raises(InputError, match=r"^prefs\.jsonl is missing"):
        read_records("prefs.jsonl")


def test_a_single_file_has_no_splits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(InputError, match="is one file and has no split 'test': leave the split out"):
        read_records(str(tmp_path / "a.jsonl"), "test")


def test_an_unknown_format_names_what_was_found_and_what_is_understood(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"instruction": "a", "output": "b"}, {"source": "c"}))
    assert refusal(tmp_path / "a.jsonl") == (
        "FILE is in no known format: it has the fields instruction, output, source, and understood are "
        "prompt/chosen/rejected (text or chat messages), chosen/rejected (whole transcripts or whole conversations), "
        "prompt/completion/label or prompt/completions with ranking or scores."
    )
    (tmp_path / "b.jsonl").write_bytes(lines(GOOD, {"prompt": "a", "completion": "b", "label": True}))
    assert refusal(tmp_path / "b.jsonl") == (
        "FILE mixes chosen/rejected with completion/label: give each format a file of its own."
    )


def test_a_file_without_a_usable_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({**GOOD, "chosen": ""}, {**GOOD, "prompt": None}))
    assert refusal(tmp_path / "a.jsonl") == (
        "FILE holds no usable record: skipped 2 of 2 records: line 1 (chosen: empty completion), line 2 (prompt: null)."
    )
