"""Ranked lists of completions, from a file to token ids."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from alignbench import Demonstration, InputError, Pair, Prompt, Ranking
from alignbench.data import Skipped, read_records
from alignbench.records import Completion, nested
from alignbench.results import read_jsonl, write_jsonl
from alignbench.run.rows import as_row, from_rows, judged_pairs, judged_sides
from alignbench.tokens import tokenize
from tests.preference_files import Row, lines, read, save_parquet
from tests.small_tokenizers import CHAT, pieces, text, words

# mypy cannot follow `alignbench.benchmarks`: the folder is mapped into the package when it is installed.
Files: Any = importlib.import_module("alignbench.benchmarks.files").Files

USER = {"role": "user", "content": "Hi"}
HI = Prompt("Hi", (("user", "Hi"),))
H, A = "\n\nHuman: ", "\n\nAssistant:"


def says(text: str) -> Row:
    return {"role": "assistant", "content": text}


def ranking(prompt: Prompt | str, *best_first: str, line: int | None = 1) -> Ranking:
    prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
    return Ranking(prompt, tuple(Completion(y) for y in best_first), line)


# --- records ---


def test_nested_pairs_use_each_completion_once() -> None:
    assert nested("ab") == (("a", "b"),)
    assert nested("abc") == (("a", "c"),)
    assert nested("abcd") == (("a", "d"), ("b", "c"))
    assert nested("abcdefg") == (("a", "g"), ("b", "f"), ("c", "e"))
    three = ranking("x", "a", "b", "c", line=7)
    assert three.pairs == (three.ends,) == (Pair(Prompt("x"), Completion("a"), Completion("c"), line=7),)
    with pytest.raises(ValueError, match="takes two completions or more, not 1"):
        ranking("x", "a")


# --- formats ---

FORMATS: dict[str, tuple[Row, Ranking]] = {
    "ranks": ({"prompt": "x", "completions": ["b", "c", "a"], "ranking": [2, 3, 1]}, ranking("x", "a", "b", "c")),
    "scores": ({"prompt": "x", "completions": ["b", "c", "a"], "scores": [0, -1.5, 7]}, ranking("x", "a", "b", "c")),
    "one of two orders is null": (
        {"prompt": "x", "completions": ["b", "a"], "ranking": None, "scores": [1, 2]},
        ranking("x", "a", "b"),
    ),
    "chat prompt": ({"prompt": [USER], "completions": ["b", "a"], "scores": [1, 2]}, ranking(HI, "a", "b")),
    "chat": (
        {"prompt": [USER], "completions": [[says("b")], [says("a")]], "scores": [1, 2]},
        ranking(HI, "a", "b"),
    ),
    "chat, a message each": (
        {"prompt": [USER], "completions": [says("b"), says("a")], "ranking": [2, 1]},
        ranking(HI, "a", "b"),
    ),
    "whole conversations": (
        {"completions": [[USER, says("b")], [USER, says("a")]], "ranking": [2, 1]},
        ranking(HI, "a", "b"),
    ),
    "transcripts": (
        {"completions": [f"{H}x{A} b", f"{H}x{A} a"], "scores": [0.1, 0.2]},
        ranking(f"{H}x{A}", " a", " b"),
    ),
    "UltraFeedback": (
        {
            "source": "evol_instruct",
            "instruction": "x",
            "models": ["m", "n"],
            "completions": [
                {"model": "m", "response": "b", "overall_score": 6.5, "critique": "so so"},
                {"model": "n", "response": "a", "overall_score": 8.0, "critique": "fine"},
            ],
            "correct_answers": ["None"],
        },
        ranking("x", "a", "b"),
    ),
    "Nectar": (
        {
            "prompt": f"{H}x{A} ",
            "answers": [{"answer": "b", "model": "m", "rank": 2.0}, {"answer": "a", "model": "n", "rank": 1.0}],
            "turns": 1,
        },
        ranking(f"{H}x{A} ", "a", "b"),
    ),
    "objects with a score": (
        {"prompt": "x", "completions": [{"text": "b", "score": 1}, {"text": "a", "score": 2}]},
        ranking("x", "a", "b"),
    ),
}


@pytest.mark.parametrize("case", FORMATS)
def test_a_list_is_put_in_the_order_that_its_record_gives(tmp_path: Path, case: str) -> None:
    row, expected = FORMATS[case]
    found = read(tmp_path, row)
    assert found.records == (expected,)
    assert (found.kind, found.skipped, found.left_out, found.remarks) == ("rankings", (), (), ())
    save_parquet(tmp_path / "a.parquet", [row])
    again = read_records(str(tmp_path / "a.parquet"))
    assert again.records == (expected,)
    assert again.fingerprint == found.fingerprint


def test_the_fingerprint_follows_the_order_of_a_list(tmp_path: Path) -> None:
    prints = {
        read(tmp_path, {"prompt": "x", "completions": ["a", "b", "c"], "ranking": order}).fingerprint
        for order in ([1, 2, 3], [1, 3, 2], [10, 20, 30])
    }
    assert len(prints) == 2


def test_of_equally_good_completions_the_first_is_kept_and_of_equal_texts_the_best(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"prompt": "x", "completions": ["c", "a", "b", "d", "a"], "scores": [7, 9, 7, 7, 1]},
        {"prompt": "y", "completions": ["a", "b"], "scores": [1, 1]},
        {"prompt": "z", "completions": ["a", "a"], "ranking": [1, 2]},
        {"prompt": "w", "completions": ["a", "b"], "ranking": [1, 2]},
    )
    assert found.records == (ranking("x", "a", "c"), ranking("w", "a", "b", line=4))
    assert found.left_out == (
        Skipped(1, "completions[2]", "as good as completions[0]"),
        Skipped(1, "completions[3]", "as good as completions[0]"),
        Skipped(1, "completions[4]", "the text of completions[1]"),
    )
    reason = "no two of them differ in text and in how good they are"
    assert found.skipped == (Skipped(2, "completions", reason), Skipped(3, "completions", reason))
    records, completions = found.remarks
    assert records == f"skipped 2 of 4 records: line 2 (completions: {reason}), line 3 (completions: {reason})"
    assert completions == (
        "skipped 3 of 7 completions of the other records: line 1 (completions[2]: as good as completions[0]), "
        "line 1 (completions[3]: as good as completions[0]), line 1 (completions[4]: the text of completions[1])"
    )


# --- tokens ---


def test_a_list_is_cut_once_by_its_longest_completion() -> None:
    tokenizer = words(False)
    records = [
        ranking("a b c d e", "f", "g h", "h"),  # fits: 5 + 3
        ranking("a b c d e", "f", "b", "f g h a"),  # 5 + 5: the prompt loses 1, for all three
        ranking("a b c d e", "f", "a a a a a a a a a a", "b"),  # the second alone is too long: everything is cut
    ]
    found = tokenize(records, tokenizer, 9)
    assert [{text(tokenizer, row.prompt) for row in rows} for rows in found.rankings] == [
        {"a b c d e"},
        {"b c d e"},
        {"e"},
    ]
    assert [[len(row.completion) for row in rows] for rows in found.rankings] == [[2, 3, 2], [2, 2, 5], [2, 8, 2]]
    assert [[row.ended for row in rows] for rows in found.rankings][-1] == [True, False, True]
    assert (found.kind, found.truncated, found.skipped) == ("rankings", 2, ())
    room = tokenize(records[:1], tokenizer, 9, reserve=6)
    assert text(tokenizer, room.rankings[0][0].prompt) == "c d e"


def test_pairs_and_labels_are_of_the_same_completions() -> None:
    found = tokenize([ranking("a", "b", "c", "d", "e", "f"), ranking("g", "a", "b")], words(False), 9)
    (first, second), pairs = found.rankings, found.pairs
    assert pairs == ((first[0], first[4]), (first[1], first[3]), second)
    assert found.pairs_of == (range(2), range(2, 3))
    assert found.leaders == (first[0], second[0])
    labels = dict(found.as_labelled())
    assert {row for row, good in labels.items() if good} == {first[0], first[1], second[0]}
    assert {row for row, good in labels.items() if not good} == {first[4], first[3], second[1]}
    assert found.completions == (*first, *second)
    assert set(found.completions) - set(labels) == {first[2]}, "the middle one has neither pair nor label"
    assert len(found.prompts) == 2


def test_lists_that_cannot_be_told_apart_in_the_context_are_skipped() -> None:
    records = [
        ranking("a", "b", "c d e f g h", "c d e f g a", line=3),
        ranking("a b c d e f", "b", "c", line=5),
        ranking("a", "b", "c", line=6),
    ]
    found = tokenize(records, words(False), 6)
    assert len(found.rankings) == 1
    assert found.skipped == (
        Skipped(3, "rank 3", "the same tokens as rank 2 within a context of 6"),
        Skipped(5, "prompt", "6 tokens leave no room in a context of 6"),
    )


def test_the_fingerprint_follows_the_middle_of_a_list() -> None:
    prints = {
        tokenize([ranking("a", *order)], words(False), 9).fingerprint for order in (("b", "c", "d"), ("b", "e", "d"))
    }
    pairs = tokenize([Pair(Prompt("a"), Completion("b"), Completion("d"))], words(False), 9)
    assert len(prints | {pairs.fingerprint}) == 3
    assert pairs.lists == pairs.pairs


def test_chat_messages_go_through_the_template() -> None:
    tokenizer = pieces(False, CHAT)
    found = tokenize([ranking(HI, "b", "c")], tokenizer, 40)
    assert found.pairs == tokenize([Pair(HI, Completion("b"), Completion("c"))], tokenizer, 40).pairs
    assert "<|user|>Hi<|end|>" in text(tokenizer, found.rankings[0][1].prompt)


# --- the files benchmark and the data stage ---

ROWS = [
    {"prompt": f"prompt {i}", "completions": [f"worse {i}", f"good {i}", f"bad {i}"], "scores": [2, 3, 1 + i % 2]}
    for i in range(200)
]


def test_a_file_of_lists_is_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS))
    benchmark = Files(data=str(tmp_path / "a.jsonl"))
    assert benchmark.kind == "rankings"
    records = benchmark.preferences("train", lambda *_: [])
    assert all(isinstance(record, Ranking) and record.completions[0].text.startswith("good") for record in records)
    assert benchmark.demonstrations() == [Demonstration(r.prompt, r.completions[0]) for r in records]
    corpus = set(benchmark.stages().corpus())
    assert corpus == {t for r in records for t in (r.prompt.text, *(y.text for y in r.completions))}
    notes = benchmark.notes()["data"]
    assert (notes["kind"], notes["records"], len(notes["left_out"])) == ("rankings", 200, 100)
    assert notes["left_out"][0] == {"line": 2, "field": "completions[2]", "reason": "as good as completions[0]"}
    (remark,) = benchmark.remarks()
    assert "skipped 100 of 600 completions of the other records: line 2 (completions[2]: as good" in remark


def test_evaluation_data_must_be_lists_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*ROWS))
    (tmp_path / "b.jsonl").write_bytes(lines({"prompt": "new", "chosen": "a", "rejected": "b"}))
    with pytest.raises(InputError, match=r"a\.jsonl holds rankings and .*b\.jsonl pairs: give one kind\."):
        Files(data=str(tmp_path / "a.jsonl"), eval_data=str(tmp_path / "b.jsonl")).prompts("eval")


def test_lists_come_back_from_the_data_stage(tmp_path: Path) -> None:
    records = [ranking("x", "a", "b", "c", "d", "e"), ranking(HI, "d", "e", line=4)]
    write_jsonl(tmp_path / "train.jsonl", [as_row(record) for record in records])
    rows = read_jsonl(tmp_path / "train.jsonl")
    assert from_rows(rows) == records
    best_and_worst = [(r.completions[0], r.completions[-1]) for r in records]
    assert [(pair.chosen, pair.rejected) for pair in judged_pairs(records)] == best_and_worst
    assert [judged_sides(row) for row in rows] == best_and_worst


def test_a_speed_comparison_reads_the_pairs_of_lists(tmp_path: Path) -> None:
    from alignbench.speed.prepare import _records
    from alignbench.speed.settings import resolve

    (tmp_path / "a.jsonl").write_bytes(
        lines({"prompt": "x", "completions": ["a", "b", "c", "d", "e"], "ranking": [1, 2, 3, 4, 5]})
    )
    found = _records(resolve("dpo", data=str(tmp_path / "a.jsonl"), against="plain"))
    assert set(found) == set(ranking("x", "a", "b", "c", "d", "e").pairs)
