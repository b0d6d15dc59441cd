from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignbench.data import Skipped, describe_skipped, read_records
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt
from alignbench.results import canonical
from alignbench.run.rows import as_row, from_rows
from tests.preference_files import GOOD, Row, read, save_parquet

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be kind."}


def says(text: str) -> Row:
    return {"role": "assistant", "content": text}


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


def test_skipped_records_in_one_phrase() -> None:
    skipped = [Skipped(line, "chosen", "null") for line in (3, 5, 8)]
    assert describe_skipped(skipped, 10) == (
        "skipped 3 of 10 records: line 3 (chosen: null), line 5 (chosen: null), line 8 (chosen: null)"
    )
    assert describe_skipped(skipped, 10, limit=1) == "skipped 3 of 10 records: line 3 (chosen: null), 2 more"
    assert describe_skipped([], 10) == "skipped 0 of 10 records"


CUT: dict[str, tuple[Row, tuple[bool, ...]]] = {
    "a pair": (GOOD | {"ended": {"chosen": False, "rejected": True}}, (False, True)),
    "one side": (GOOD | {"ended": {"rejected": False}}, (True, False)),
    "a field of another meaning": (GOOD | {"ended": "2020"}, (True, True)),
    "a label": ({"prompt": "a", "completion": "b", "label": True, "ended": False}, (False,)),
}


@pytest.mark.parametrize("name", CUT)
def test_what_was_cut_off_has_no_end(tmp_path: Path, name: str) -> None:
    row, ended = CUT[name]
    found = read(tmp_path, row)
    assert tuple(y.ended for y in found.records[0].completions) == ended
    whole = read(tmp_path, {key: value for key, value in row.items() if key != "ended"})
    assert (found.fingerprint == whole.fingerprint) == all(ended)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((1, -2.5), (1.0, -2.5)),
        ((1, None), None),
        ((True, 0), None),
        ((1, float("nan")), None),
        ((1, "2"), None),
        ((10**400, 1), None),
        ((-1.7e308, 1), None),
    ],
)
def test_scores_of_a_pair_are_kept(
    tmp_path: Path, scores: tuple[object, object], kept: tuple[float, float] | None
) -> None:
    found = read(tmp_path, GOOD | dict(zip(("score_chosen", "score_rejected"), scores, strict=True)))
    (record,) = found.records
    assert isinstance(record, Pair) and record.scores == kept
    assert from_rows([json.loads(json.dumps(canonical(as_row(record))))]) == [record]
    assert (found.fingerprint == read(tmp_path, GOOD).fingerprint) == (kept is None)
