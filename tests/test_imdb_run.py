"""`imdb` from end to end: the model samples its own pairs, a classifier decides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alignbench import Completion, Prompt
from alignbench.plugins import find, parse_objectives
from alignbench.results import read_json, read_jsonl
from alignbench.run import Config
from tests.film_reviews import write
from tests.test_run import go

SMALL = {
    "train_prompts": 24,
    "judge_prompts": 8,
    "eval_pairs": 12,
    "scratch_reviews": 800,
    "eval_prompts": 16,
    "curve_prompts": 4,
    "curve_points": 1,
    "max_new_tokens": 12,
    "vocabulary": 320,
    "layers": 1,
    "width": 32,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fields: dict[str, Any] = {**SMALL, "source": str(write(folder / "reviews"))}
    benchmark = find("benchmark", "imdb")
    specs = parse_objectives("dpo:learning_rate=3e-3:batch_size=8,ppo:learning_rate=1e-3", benchmark(**fields).defaults)
    wanted = Config(
        objectives=tuple(spec.text for spec in specs),
        benchmark="imdb",
        benchmark_fields=tuple(fields.items()),
        out=str(folder / "imdb"),
        judges=(("gold", ""),),
        temperatures=(0.0,),
        seeds=1,
    )
    _, failed = go(wanted)
    assert not failed
    return folder / "imdb"


def test_all_pairs_of_four_samples_are_trained_on(finished: Path) -> None:
    (file,) = finished.glob("stages/data-*/train.jsonl")
    prompts = Counter(row["prompt"]["text"] for row in read_jsonl(file))
    assert 12 <= len(prompts) <= 24 and max(prompts.values()) == 6


def test_policies_are_rewarded_for_what_they_really_wrote(finished: Path) -> None:
    benchmark = find("benchmark", "imdb")(**SMALL, source=str(finished.parent / "reviews"))
    for cell in ("dpo", "ppo"):
        hot, cold = (
            read_jsonl(next(finished.glob(f"cells/{cell}*/seed-0/samples-*{end}.jsonl"))) for end in ("[!0]", "-T0")
        )
        assert len(hot) == len(cold) == 16
        texts = [Completion(row["completion"]) for row in hot]
        gold = benchmark.gold([Prompt(row["prompt"]) for row in hot], texts)
        assert [row["reward"] for row in hot] == pytest.approx(gold)


def test_the_run_says_how_good_the_classifier_is(finished: Path) -> None:
    classifier = read_json(finished / "run.json")["data"]["classifier"]
    assert classifier["of"] == "words" and classifier["accuracy"]["low"] > 0.9
