"""Files of pairs with human labels: what is read, what is skipped, what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alignbench.agree.pairs import Vote, majority, read_pairs
from alignbench.errors import InputError

Row = dict[str, Any]


def row(number: int = 0, **fields: Any) -> Row:
    return {"prompt": f"p{number}", "output_1": f"a{number}", "output_2": f"b{number}"} | fields


def write(path: Path, rows: Sequence[Row]) -> str:
    text = json.dumps(rows) if ".json" in path.suffixes else "".join(json.dumps(each) + "\n" for each in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.json.gz", "p.jsonl.gz"])
def test_every_coding_of_a_label_is_read_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    labels = [1, "1", 1.0, "A", "a ", "output_1", 2, "2", "B", 0, "0", "tie", "Tie"]
    data = read_pairs(write(tmp_path / name, [row(n, label=label) for n, label in enumerate(labels)]))
    assert [pair.label for pair in data.pairs] == ["first"] * 6 + ["second"] * 3 + ["tie"] * 4
    assert [pair.place for pair in data.pairs] == list(range(13))
    if ".jsonl" in name:
        assert [pair.line for pair in data.pairs] == list(range(1, 14))
    assert data.annotators == () and data.own_label and data.remarks == () and data.total == 13
    compared = data.pairs[1].comparison
    assert (compared.prompt.text, compared.first.text, compared.second.text) == ("p1", "a1", "b1")


def test_llmbars_and_pandalms_fields_are_known(tmp_path: Path) -> None:
    rows: list[Row] = [{"input": "say", "output_1": "a", "output_2": "b", "label": label} for label in (1, 2)]
    assert read_pairs(write(tmp_path / "l.json", rows)).pairs[0].comparison.prompt.text == "say"
    panda: Row = {"instruction": "Is it true?", "input": "1 < 2", "response1": True, "response2": "", "idx": 5}
    votes = {"annotator1": 1, "annotator2": 2, "annotator3": 1}
    more = panda | votes | {"idx": 3, "input": " ", "annotator1": 2, "response1": 4.5}
    data = read_pairs(write(tmp_path / "p.json", [panda | votes, more]))
    assert [pair.comparison.prompt.text for pair in data.pairs] == ["Is it true?\n\n1 < 2", "Is it true?"]
    assert [pair.comparison.first.text for pair in data.pairs] == ["True", "4.5"], "as they were before they were JSON"
    assert data.annotators == ("annotator1", "annotator2", "annotator3") and data.numbers == (5, 3)
    assert [pair.label for pair in data.pairs] == ["first", "second"] and not data.own_label


def test_a_majority_needs_more_votes_than_any_other_label() -> None:
    assert majority(["first", "second", "first"]) == "first"
    assert majority(["tie", None, "tie", "second"]) == "tie"
    assert majority(["first", None]) == "first"
    torn_votes: list[list[Vote]] = [
        [],
        [None],
        ["first", "second"],
        ["first", "second", "tie"],
        ["tie", "tie", "first", "first"],
    ]
    for torn in torn_votes:
        assert majority(torn) is None


def test_annotators_may_be_a_list_and_may_be_missing(tmp_path: Path) -> None:
    rows = [row(0, labels=[1, 2, 1]), row(1, labels=["B"]), row(2, labels=[1, None, 2]), row(3, labels=[None])]
    data = read_pairs(write(tmp_path / "p.json", rows))
    assert [pair.votes for pair in data.pairs] == [
        ("first", "second", "first"), ("second", None, None), ("first", None, "second")
    ]  # fmt: skip
    assert [pair.label for pair in data.pairs] == ["first", "second", None]
    assert [(skip.line, skip.field, skip.reason) for skip in data.skipped] == [(1, "labels", "no annotator's label")]
    assert data.remarks == ("pairs without a majority, which count in no figure against it: 1.",)


def test_a_label_of_the_files_own_stands_before_the_majority(tmp_path: Path) -> None:
    rows = [row(n, label=2 - n % 2, annotator_1=1, annotator_10=2, annotator_2=1) for n in range(4)]
    data = read_pairs(write(tmp_path / "p.json", rows))
    assert data.annotators == ("annotator_1", "annotator_2", "annotator_10"), "in the order of their numbers"
    assert data.own_label and [pair.label for pair in data.pairs] == ["second", "first"] * 2


def test_bad_records_are_skipped_and_listed(tmp_path: Path) -> None:
    rows: list[Row] = [
        row(0, label=1),
        row(1, label=3),
        row(2, label=True),
        row(3),
        row(4, label=None),
        row(5, label=1, output_2=None),
        row(6, label=1, prompt=["p"]),
        row(7, label=1, output_1=" ", output_2=""),
        row(8, label=2, output_1=""),
        row(9, label=2, output_1="\ud83d"),
    ]
    data = read_pairs(write(tmp_path / "p.jsonl", rows))
    assert [pair.line for pair in data.pairs] == [1, 9] and data.total == 10
    wrong = '1, 2 or 0 for a tie, "A", "B" or "tie"'
    assert [tuple(skip) for skip in data.skipped] == [
        (2, "label", f'"3" is none of {wrong}'),
        (3, "label", f'"True" is none of {wrong}'),
        (4, "label", "missing"),
        (5, "label", "null"),
        (6, "output_2", "null"),
        (7, "prompt", "not text but \"['p']\""),
        (8, "output_1", "empty, and so is output_2"),
        (10, "output_1", "not valid Unicode (half of a surrogate pair)"),
    ]


def test_the_first_usable_pairs_are_the_limit(tmp_path: Path) -> None:
    rows = [row(0, label=3), *(row(n, label=1 + n % 2) for n in range(1, 6))]
    data = read_pairs(write(tmp_path / "p.json", rows), limit=2)
    assert [pair.place for pair in data.pairs] == [1, 2] and data.total == 6
    assert data.fingerprint != read_pairs(write(tmp_path / "p.json", rows)).fingerprint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(label=3), row(1, label="x")], r'no usable pair: skipped 2 of 2 records: line 1 \(label: "3" is none'),
        ([{"prompt": "p", "chosen": "a", "rejected": "b"}], 'holds no compared pairs: it has the fields "chosen, prom'),
        ([{"prompt": "p", "output1": "a", "output2": "b", "label": 1}], "understood are prompt/output_1/output_2 or"),
        ([row(winner=1)], 'no human label: it has the fields "output_1, output_2, prompt, winner"; add label, labels'),
        ([row(labels=[1], annotator1=2)], "has both labels and annotator1, ...: leave one of the two out"),
        ([], "is empty: it holds no record"),
        ([row(n, label=n % 2) for n in range(4)], "every label is 0 or 1, which reads as a tie or output_1"),
        ([row(n, labels=[n % 2, str(n % 2)]) for n in range(4)], "every label is 0 or 1"),
    ],
)  # fmt: skip
def test_a_file_that_would_be_misread_is_one_sentence(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(write(tmp_path / "p.json", rows))


def test_an_annotator_who_counts_from_zero_among_others_is_refused(tmp_path: Path) -> None:
    rows = [row(n, annotator1=1 + n % 2, annotator2=1 + n % 2, annotator3=n % 2) for n in range(12)]
    with pytest.raises(InputError, match="annotator3 says only 1 or 0, also of 6 pairs where the others prefer out"):
        read_pairs(write(tmp_path / "p.json", rows))
    rows[1]["annotator3"] = 2
    assert read_pairs(write(tmp_path / "p.json", rows)).total == 12, "ties, and one vote for output_2"


def test_what_a_reader_should_know_of_the_labels_is_said(tmp_path: Path) -> None:
    rows = [row(0, label=1), row(0, label=1), row(1, label=1), row(2, label=1, output_2="a2")]
    assert read_pairs(write(tmp_path / "p.json", rows)).remarks == (
        "every label is output_1: against one value kappa and alpha say nothing; shuffle the outputs.",
        "records that repeat the texts of another, all of them kept: 1.",
        "pairs of two equal outputs, all of them kept: 1.",
    )
    rows[1]["label"] = 2
    assert (
        "kept: 1; pairs among them whose labels differ: 1." in read_pairs(write(tmp_path / "p.json", rows)).remarks[0]
    )
