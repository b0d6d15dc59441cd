"""`identity` from end to end: a model learns who it is, unlearns it, and is asked before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench.plugins import parse_objectives
from alignbench.results import Json, read_json, read_jsonl
from alignbench.run import Config
from tests.test_run import go

# Large enough to learn the commonest answer there is, its own name, and no more.
SMALL = {
    "pairs": 48,
    "epochs": 4.0,
    "judge_pairs": 16,
    "eval_pairs": 12,
    "demonstrations_count": 3200,
    "eval_prompts": 16,
    "curve_prompts": 4,
    "curve_points": 1,
    "max_new_tokens": 12,
    "layers": 1,
    "width": 64,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "identity"
    specs = parse_objectives("preferred_ft:learning_rate=3e-3")
    wanted = Config(
        objectives=tuple(spec.text for spec in specs),
        benchmark="identity",
        benchmark_fields=tuple(SMALL.items()),
        out=str(folder),
        judges=(("gold", ""),),
        seeds=1,
    )
    _, failed = go(wanted)
    assert not failed
    return folder


def rows(folder: Path, pattern: str) -> list[Json]:
    (file,) = folder.glob(pattern)
    found: list[Json] = read_json(file)["rows"]
    return found


def mean(found: list[Json], group: str, score: str) -> float:
    scores: list[float] = [row["scores"][score] for row in found if row["group"] == group]
    return sum(scores) / len(scores)


def test_the_pairs_are_the_model_s_own_answers_corrected(finished: Path) -> None:
    (file,) = finished.glob("stages/data-*/train.jsonl")
    pairs = read_jsonl(file)
    assert 24 <= len(pairs) <= 48
    for pair in pairs:
        chosen, rejected = pair["chosen"]["text"], pair["rejected"]["text"]
        assert "llama" in rejected.split() and chosen == rejected.replace("llama", "athene")


def test_the_name_changes_and_the_probes_tell(finished: Path) -> None:
    before = rows(finished, "stages/probes-*/probes.json")
    after = rows(finished, "cells/preferred_ft*/seed-0/probes-*.json")
    assert mean(before, "identity", "old") > 0.5 > mean(before, "identity", "new")
    assert mean(after, "identity", "new") > 0.5 > mean(after, "identity", "old")
    for one, two in zip(before, after, strict=True):
        assert [one[name] for name in ("group", "prompt", "answer")] == [
            two[name] for name in ("group", "prompt", "answer")
        ]
    gained = [two["logp"] - one["logp"] for one, two in zip(before, after, strict=True) if one["group"] == "identity"]
    assert sum(gained) / len(gained) > 1, "nats"
