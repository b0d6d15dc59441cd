"""Probes in a run: what the reference and every policy answer to a benchmark's own questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from alignbench.plugins import parse_objectives
from alignbench.records import Completion
from alignbench.results import Json, read_json
from alignbench.run import Config
from alignbench.run.world import World
from alignbench.tokens import tokenize_each
from tests.test_run import JUDGES, go

TINY = {
    "pairs": 12,
    "judge_pairs": 12,
    "eval_pairs": 12,
    "demonstrations_count": 1600,
    "eval_prompts": 8,
    "curve_prompts": 4,
    "curve_points": 1,
    "layers": 1,
    "width": 32,
}


def config(folder: Path, objectives: str = "dpo", **fields: Any) -> Config:
    return Config(
        objectives=tuple(spec.text for spec in parse_objectives(objectives)),
        benchmark="identity",
        benchmark_fields=tuple({**TINY, **fields}.items()),
        out=str(folder),
        judges=JUDGES,
        seeds=1,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "identity"
    log, failed = go(config(folder))
    assert not failed and "probes" in log.worked
    return folder


def answers(folder: Path) -> tuple[list[Json], list[Json]]:
    """Of the reference and of the one cell."""
    run = read_json(folder / "run.json")
    cell = folder / run["cells"][0]["folder"] / "seed-0" / run["probes"]["cell"]
    before, after = read_json(folder / run["probes"]["reference"]), read_json(cell)
    assert (before["schema"], before["seed"], after["schema"], after["seed"]) == (1, None, 1, 0)
    return before["rows"], after["rows"]


def test_reference_and_policy_answer_the_same_questions(finished: Path) -> None:
    before, after = answers(finished)
    world = World(config(finished))
    assert [row["prompt"] for row in before] == [probe.prompt.text for probe in world.probes]
    fixed = ("group", "prompt", "answer", "tokens")
    assert [[row[name] for name in fixed] for row in before] == [[row[name] for name in fixed] for row in after]
    assert any(one["logp"] != two["logp"] for one, two in zip(before, after, strict=True)), "nothing was trained"
    for row, probe in zip(after, world.probes, strict=True):
        assert row["scores"] == world.benchmark.probe_scores(probe, Completion(row["completion"]))


def test_the_log_prob_is_that_of_the_answer_under_each_model(finished: Path) -> None:
    """Against the plain pass of transformers, token by token."""
    world = World(config(finished))
    before, after = answers(finished)
    folder = world.cell(world.specs[0]) / "seed-0" / "policy"
    probes = world.probes[::60]
    rows = tokenize_each([(p.prompt, p.answer) for p in probes], world.tokenizer, world.context)
    for stored, model in ((before, world.reference), (after, world.trainee(0, folder))):
        for found, row in zip(stored[::60], rows, strict=True):
            ids = torch.tensor([row.prompt + row.completion])
            with torch.no_grad():
                logps = model.policy.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            assert found["logp"] == pytest.approx(float(logps[len(row.prompt) - 1 :].sum()), abs=1e-3)
            assert found["tokens"] == len(row.completion)


def test_a_second_run_asks_nothing_again(finished: Path) -> None:
    log, failed = go(config(finished))
    assert not failed and not log.worked


def test_answers_that_are_lost_are_given_again(finished: Path) -> None:
    run = read_json(finished / "run.json")
    file = finished / run["cells"][0]["folder"] / "seed-0" / run["probes"]["cell"]
    before = file.read_bytes()
    file.unlink()
    log, failed = go(config(finished))
    assert not failed and "dpo seed 0" in log.worked
    assert file.read_bytes() == before
