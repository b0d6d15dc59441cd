"""The minimal pairs of `reviews`: broken as they say, and nothing to be had by counting words."""

from __future__ import annotations

import importlib
import json
import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alignbench.plugins import find

# mypy cannot follow `alignbench.benchmarks`: the folder is mapped into the package when it is installed.
made: Any = importlib.import_module("alignbench.benchmarks._review_pairs")
words: Any = importlib.import_module("alignbench.benchmarks._review_words")
DISTANT, KINDS, PER_KIND, faults = made.DISTANT, made.KINDS, made.PER_KIND, made.faults
Pairs = list[Any]


@pytest.fixture(scope="module")
def reviews() -> Any:
    return find("benchmark", "reviews")(demonstrations_count=2000)


@pytest.fixture(scope="module")
def pairs(reviews: Any) -> Pairs:
    found: Pairs = made.minimal_pairs([prompt.text for prompt in reviews.prompts("eval")], "0/grammar")
    return found


def test_every_kind_has_equally_many_pairs(pairs: Pairs) -> None:
    assert Counter(pair.kind for pair in pairs) == dict.fromkeys(KINDS, PER_KIND)
    assert len({pair.right for pair in pairs}) == len(pairs) == 800


def test_one_text_has_no_fault_and_the_other_is_broken(pairs: Pairs) -> None:
    for pair in pairs:
        assert pair.right != pair.wrong
        assert not faults(pair.prompt, pair.right)
        assert pair.kind in DISTANT or faults(pair.prompt, pair.wrong), pair
        assert set(pair.wrong.split()) <= set(words.VOCABULARY)


def test_a_pair_differs_by_what_its_kind_says(pairs: Pairs) -> None:
    exchanged = {"agreement": {"was", "were"}, "article": {"a", "an"}}
    surplus = {"doubled word": 1, "missing word": -1}
    for pair in pairs:
        right, wrong = pair.right.split(), pair.wrong.split()
        assert len(wrong) - len(right) == surplus.get(pair.kind, 0)
        different = [{a, b} for a, b in zip(right, wrong, strict=False) if a != b]
        if pair.kind in exchanged:
            assert different == [exchanged[pair.kind]]
        elif pair.kind in ("verb form", "auxiliary", "subordinator", "foreign word"):
            assert len(different) == 1
        elif pair.kind in ("swapped neighbours", "moved word"):
            assert Counter(right) == Counter(wrong)


def share_right(pairs: Pairs, score: Callable[[str], float]) -> float:
    """How many pairs a score gets right, those that it cannot tell apart half."""
    gaps = [score(pair.right) - score(pair.wrong) for pair in pairs]
    return sum(0.5 if abs(gap) < 1e-9 else float(gap > 0) for gap in gaps) / len(gaps)


def test_neither_length_nor_the_frequency_of_words_is_better_than_guessing(reviews: Any, pairs: Pairs) -> None:
    counts = Counter(word for d in reviews.demonstrations() for word in d.completion.text.split())

    def frequency(text: str) -> float:
        return sum(math.log((counts[word] + 0.5) / counts.total()) for word in text.split())

    assert share_right(pairs, frequency) == pytest.approx(0.5, abs=0.035)
    assert share_right(pairs, lambda text: -len(text.split())) == 0.5


def test_the_distant_kinds_are_hard_for_who_knows_pairs_of_words(reviews: Any, pairs: Pairs) -> None:
    texts = [["", *d.completion.text.split()] for d in reviews.demonstrations()]
    firsts = Counter(word for words in texts for word in words[:-1])
    both = Counter(two for words in texts for two in pairwise(words))

    def neighbours(text: str) -> float:
        return sum(math.log((both[a, b] + 0.1) / (firsts[a] + 30)) for a, b in pairwise(["", *text.split()]))

    distant = [pair for pair in pairs if pair.kind in DISTANT]
    assert share_right(distant, neighbours) < 0.8
    assert share_right([pair for pair in pairs if pair.kind not in DISTANT], neighbours) > 0.95


def test_the_task_is_the_same_each_time_and_its_labels_are_balanced(reviews: Any, tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        folder = reviews.lm_eval_tasks(tmp_path / name)
        rows = (folder / "reviews_grammar.jsonl").read_text(encoding="utf-8")
        task = (folder / "reviews_grammar.yaml").read_text(encoding="utf-8")
        assert str(folder / "reviews_grammar.jsonl") in task and "FOLDER/" not in task
        files.append((rows, task.replace(str(folder), "")))
    assert files[0] == files[1]
    labels: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
    for row in map(json.loads, files[0][0].splitlines()):
        labels[row["kind"]][row["label"]] += 1
        assert not faults(row["prompt"], row["choices"][row["label"]])
    assert all(counts == {0: PER_KIND // 2, 1: PER_KIND // 2} for counts in labels.values())


def test_the_pairs_follow_prompts_that_nothing_is_trained_on_and_are_others_in_another_world(
    reviews: Any, tmp_path: Path
) -> None:
    worlds = []
    for world in (reviews, find("benchmark", "reviews")(world=1)):
        rows = (world.lm_eval_tasks(tmp_path / str(world.world)) / "reviews_grammar.jsonl").read_text(encoding="utf-8")
        assert {json.loads(row)["prompt"] for row in rows.splitlines()} <= {p.text for p in world.prompts("eval")}
        worlds.append(rows)
    assert worlds[0] != worlds[1]


def test_a_path_with_quotes_is_still_yaml(pairs: Pairs, tmp_path: Path) -> None:
    import yaml

    folder = made.write_task(tmp_path / 'a "quoted" \\ folder', pairs[:20])
    task = yaml.safe_load((folder / "reviews_grammar.yaml").read_text(encoding="utf-8"))
    assert Path(task["dataset_kwargs"]["data_files"]["test"]) == folder / "reviews_grammar.jsonl"
