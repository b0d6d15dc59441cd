from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignbench.data import (
    Records,
    Skipped,
    check_disjoint,
    describe_skipped,
    distinct_prompts,
    read_records,
    split_by_prompt,
)
from alignbench.errors import InputError
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt

Row = dict[str, Any]
GOOD: Row = {"prompt": "How are you?", "chosen": " Well.", "rejected": " Bad."}
USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be kind."}


def says(text: str) -> Row:
    return {"role": "assistant", "content": text}


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(folder: Path, *rows: Row) -> Records:
    (folder / "prefs.jsonl").write_bytes(lines(*rows))
    return read_records(str(folder / "prefs.jsonl"))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_records(str(path))
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message.replace(str(path), "FILE")


# --- sources ---


def save_parquet(path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.Table.from_pylist(rows), path)


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
        InputError, match=r"^nobody/nothing is no file or folder here, and the hub gave no such data set"
    ):
        read_records("nobody/nothing")


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
        "prompt/chosen/rejected (text or chat messages), chosen/rejected (whole transcripts or whole conversations) "
        "or prompt/completion/label."
    )
    (tmp_path / "b.jsonl").write_bytes(lines(GOOD, {"prompt": "a", "completion": "b", "label": True}))
    assert refusal(tmp_path / "b.jsonl") == (
        "FILE mixes chosen/rejected with completion/label: give each format a file of its own."
    )


# --- formats ---


def pair(prompt: Prompt, chosen: str, rejected: str) -> Pair:
    return Pair(prompt, Completion(chosen), Completion(rejected), line=1)


HI = Prompt("Hi", (("user", "Hi"),))
TALK = Prompt(
    "system: Be kind.\n\nuser: Hi\n\nassistant: Yes?\n\nuser: Hi",
    (("system", "Be kind."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Hi")),
)
TURNS = [SYSTEM, USER, says("Yes?"), USER]
H, A = "\n\nHuman: ", "\n\nAssistant:"

FORMATS: dict[str, tuple[Row, Pair | LabelledCompletion]] = {
    "text": (GOOD, pair(Prompt("How are you?"), " Well.", " Bad.")),
    "transcripts": (
        {"chosen": f"{H}a{A} b{H}c{A} d", "rejected": f"{H}a{A} b{H}c{A} e"},
        pair(Prompt(f"{H}a{A} b{H}c{A}"), " d", " e"),
    ),
    "messages, replies as messages": (
        {"prompt": [USER], "chosen": [says("A")], "rejected": [says("B")]},
        pair(HI, "A", "B"),
    ),
    "messages, replies as text": ({"prompt": [USER], "chosen": "A", "rejected": "B"}, pair(HI, "A", "B")),
    "messages, whole conversations": (
        {"prompt": TURNS, "chosen": [*TURNS, says("A")], "rejected": [*TURNS, says("B")]},
        pair(TALK, "A", "B"),
    ),
    "no prompt, whole conversations": (
        {"chosen": [*TURNS, says("A")], "rejected": [*TURNS, says("B")]},
        pair(TALK, "A", "B"),
    ),
    "prompt repeated as text": (
        {"prompt": "Hi ", "chosen": [USER, says("A")], "rejected": [USER, says("B")]},
        pair(HI, "A", "B"),
    ),
    "prompt as text, replies as messages": (
        {"prompt": "Hi", "chosen": [says("A")], "rejected": [says("B")]},
        pair(HI, "A", "B"),
    ),
    "label": (
        {"prompt": "a", "completion": "b", "label": False},
        LabelledCompletion(Prompt("a"), Completion("b"), False, 1),
    ),
    "label, messages": (
        {"prompt": [USER], "completion": [says("b")], "label": True},
        LabelledCompletion(HI, Completion("b"), True, 1),
    ),
}


@pytest.mark.parametrize("case", FORMATS)
def test_a_format_is_told_from_its_fields(tmp_path: Path, case: str) -> None:
    row, expected = FORMATS[case]
    found = read(tmp_path, row)
    assert found.records == (expected,)
    assert found.kind == ("pairs" if isinstance(expected, Pair) else "labels")
    # Through parquet, where a message may carry fields that only others use.
    save_parquet(tmp_path / "a.parquet", [row])
    assert read_records(str(tmp_path / "a.parquet")).records == (expected,)


@pytest.mark.parametrize(
    ("label", "expected"),
    [(True, True), (False, False), (1, True), (0, False), (1.0, True), ("desirable", True), ("Undesirable ", False)],
)
def test_labels(tmp_path: Path, label: object, expected: bool) -> None:
    (record,) = read(tmp_path, {"prompt": "a", "completion": "b", "label": label}).records
    assert isinstance(record, LabelledCompletion)
    assert record.desirable is expected


# --- bad records ---

BAD_RECORDS: dict[str, tuple[Row, str, str]] = {
    "field missing": ({"prompt": "a", "chosen": "b"}, "rejected", "missing"),
    "prompt missing": ({"chosen": "b", "rejected": "c"}, "prompt", "missing"),
    "null": ({**GOOD, "chosen": None}, "chosen", "null"),
    "number": ({**GOOD, "rejected": 3}, "rejected", 'not text but "3"'),
    "object": ({**GOOD, "prompt": {"a": "b"}}, "prompt", 'not text but "{\\"a\\": \\"b\\"}"'),
    "list of text": ({**GOOD, "chosen": ["b"]}, "chosen", "neither text nor a list of messages"),
    "no message": ({**GOOD, "chosen": []}, "chosen", "neither text nor a list of messages"),
    "half a surrogate": ({**GOOD, "chosen": "\ud800"}, "chosen", "not valid Unicode (half of a surrogate pair)"),
    "equal": ({**GOOD, "rejected": " Well."}, "rejected", "equal to chosen"),
    "empty": ({**GOOD, "rejected": ""}, "rejected", "empty completion"),
    "blank": ({**GOOD, "chosen": " \n"}, "chosen", "empty completion"),
    "null content": (
        {**GOOD, "chosen": [USER, {"role": "assistant", "content": None}]},
        "chosen",
        'the content of a message is not text but "null"',
    ),
    "no role": ({**GOOD, "chosen": [{"content": "a"}]}, "chosen", 'the role of a message is not text but "null"'),
    "user last": ({**GOOD, "chosen": [USER]}, "chosen", "the last message is not the assistant's"),
    "another conversation": (
        {"prompt": [USER], "chosen": [SYSTEM, says("A")], "rejected": [says("B")]},
        "chosen",
        "does not continue the prompt",
    ),
    "one side as messages": ({**GOOD, "rejected": [says("B")]}, "rejected", "its prompt is not that of chosen"),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_skipped_and_listed(tmp_path: Path, case: str) -> None:
    row, field, reason = BAD_RECORDS[case]
    found = read(tmp_path, GOOD, row, GOOD)
    assert [record.line for record in found.records] == [1, 3]
    assert found.skipped == (Skipped(2, field, reason),)
    assert found.total == 3


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"chosen": f"{H}a{A} b", "rejected": f"{H}x{A} c"}, "rejected", "its prompt is not that of chosen"),
        ({"chosen": f"{H}a{A} b{A} c", "rejected": f"{H}a{A} d"}, "rejected", "its prompt is not that of chosen"),
        ({"chosen": f"{H}a", "rejected": f"{H}a{A} d"}, "chosen", 'no "\\n\\nAssistant:" that ends a prompt'),
        ({"chosen": f"{H}a{A} ", "rejected": f"{H}a{A} d"}, "chosen", "empty completion"),
        ({"chosen": [says("a")], "rejected": [says("b")]}, "chosen", "no message before the reply"),
    ],
)
def test_bad_transcripts_and_conversations(tmp_path: Path, row: Row, field: str, reason: str) -> None:
    good = {"chosen": f"{H}a{A} b", "rejected": f"{H}a{A} c"}
    assert read(tmp_path, good, row).skipped == (Skipped(2, field, reason),)


@pytest.mark.parametrize(
    ("label", "reason"),
    [(None, "null"), ("good", '"\\"good\\"" is neither true nor false'), (2, '"2" is neither true nor false')],
)
def test_bad_labels(tmp_path: Path, label: object, reason: str) -> None:
    good = {"prompt": "a", "completion": "b", "label": True}
    assert read(tmp_path, good, {**good, "label": label}).skipped == (Skipped(2, "label", reason),)
    assert read(tmp_path, good, {"prompt": "a", "completion": "b"}).skipped == (Skipped(2, "label", "missing"),)


def test_a_file_without_a_usable_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({**GOOD, "chosen": ""}, {**GOOD, "prompt": None}))
    assert refusal(tmp_path / "a.jsonl") == (
        "FILE holds no usable record: skipped 2 of 2 records: line 1 (chosen: empty completion), line 2 (prompt: null)."
    )


def test_skipped_records_in_one_phrase() -> None:
    skipped = [Skipped(line, "chosen", "null") for line in (3, 5, 8)]
    assert describe_skipped(skipped, 10) == (
        "skipped 3 of 10 records: line 3 (chosen: null), line 5 (chosen: null), line 8 (chosen: null)"
    )
    assert describe_skipped(skipped, 10, limit=1) == "skipped 3 of 10 records: line 3 (chosen: null), 2 more"
    assert describe_skipped([], 10) == "skipped 0 of 10 records"


# --- splits ---


def some(count: int, repeats: int = 1) -> tuple[Pair, ...]:
    return tuple(
        Pair(Prompt(f"prompt {i}"), Completion(f"a{j}"), Completion("b"), line=1 + i + j * count)
        for j in range(repeats)
        for i in range(count)
    )


SHARES = {"train": 0.6, "judge": 0.3, "eval": 0.1}


def test_a_split_is_stable_and_keeps_prompts_together() -> None:
    records = some(2000, repeats=2)
    parts = split_by_prompt(records, SHARES, "salt")
    prompts = {name: {record.prompt.text for record in part} for name, part in parts.items()}
    assert sum(map(len, parts.values())) == len(records)
    assert sum(map(len, prompts.values())) == 2000
    for name, share in SHARES.items():
        assert abs(len(prompts[name]) / 2000 - share) < 0.04  # more than 3.6 standard deviations
    # A record's part does not depend on the others, nor on their order.
    few = split_by_prompt(records[:50][::-1], SHARES, "salt")
    assert all({record.prompt.text for record in part} <= prompts[name] for name, part in few.items())
    other = split_by_prompt(records, SHARES, "another")
    assert {record.prompt.text for record in other["eval"]} != prompts["eval"]


def test_a_share_of_nothing_gets_nothing() -> None:
    parts = split_by_prompt(some(500), {"eval": 0.0, "train": 1.0, "judge": 0.0}, "salt")
    assert {name: len(part) for name, part in parts.items()} == {"eval": 0, "train": 500, "judge": 0}
    for shares in ({"train": 0.5, "eval": 0.4}, {"train": 1.5, "eval": -0.5}):
        with pytest.raises(ValueError, match="must sum to 1"):
            split_by_prompt(some(3), shares, "salt")


def test_prompts_come_once_and_in_the_order_of_a_hash() -> None:
    records = some(300, repeats=2)
    prompts = distinct_prompts(records, "order")
    assert len(set(prompts)) == len(prompts) == 300
    assert prompts == distinct_prompts(records[::-1], "order")
    assert prompts != distinct_prompts(records, "another")
    numbers = [int(prompt.text.split()[1]) for prompt in prompts]
    assert 110 < sum(numbers[:100]) / 100 < 190  # a fair sample of 0..299, not its beginning


def test_files_that_share_a_prompt_are_refused(tmp_path: Path) -> None:
    def records(name: str, *prompts: str) -> Records:
        (tmp_path / name).write_bytes(lines(*({**GOOD, "prompt": prompt} for prompt in prompts)))
        return read_records(str(tmp_path / name))

    train = records("train.jsonl", "a", "b", "c", "c")
    check_disjoint(train, records("other.jsonl", "d", "e"))
    with pytest.raises(InputError) as caught:
        check_disjoint(train, records("eval.jsonl", "d", "c"))
    assert str(caught.value) == (
        f'{tmp_path}/eval.jsonl line 2 holds the prompt "c" of {tmp_path}/train.jsonl line 3: evaluation prompts must '
        "not be trained on, remove it from one of the two."
    )


# --- the real file ---


def test_the_real_transcripts(data_folder: Path) -> None:
    path = data_folder / "hh" / "harmless-base-test-1500.jsonl.gz"
    found = read_records(str(path))
    # Counted independently, with the standard library and the rules as the issue states them.
    expected: dict[int, str] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line, row in enumerate(map(json.loads, file), 1):
            chosen, rejected = (row[name].split("\n\nAssistant:") for name in ("chosen", "rejected"))
            if chosen[:-1] != rejected[:-1]:
                expected[line] = "its prompt is not that of chosen"
            if not chosen[-1].strip() or not rejected[-1].strip():
                expected[line] = "empty completion"
    assert found.total == 1500
    assert {skip.line: skip.reason for skip in found.skipped} == expected
    assert expected == {
        **dict.fromkeys((87, 517, 926, 1104), "empty completion"),
        1255: "its prompt is not that of chosen",
    }
    assert len({record.prompt for record in found.records}) == 1493
    assert all(record.prompt.text.endswith("\n\nAssistant:") for record in found.records)

    parts = split_by_prompt(found.records, SHARES, "salt")
    prompts = [{record.prompt.text for record in part} for part in parts.values()]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 1493
