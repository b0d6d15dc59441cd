from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from alignbench.data import Records, check_disjoint, distinct_prompts, read_records, split_by_prompt
from alignbench.errors import InputError
from alignbench.records import Completion, Pair, Prompt
from tests.preference_files import GOOD, lines


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
