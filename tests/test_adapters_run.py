"""Runs whose cells train adapters: one model in memory, one whole model on disk, an adapter merged first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from alignbench.adapters import LoRA
from alignbench.batch import Tokens
from alignbench.errors import InputError
from alignbench.evaluate import measure
from alignbench.logprobs import LanguageModel
from alignbench.models import load_policy
from alignbench.pretrained import adapter_base
from alignbench.report import write_report
from alignbench.results import read_json, read_jsonl
from alignbench.run.world import World, world_of

from . import small
from .test_run import config, go

ROWS = small.rows()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose cells train adapters; each of its cells is seen to hold one model only."""
    folder = tmp_path_factory.mktemp("lora") / "reviews"
    wanted = config(folder, "dpo,ppo", seeds=1, lora=str(LoRA.parse("r=4")))
    seen: list[bool] = []

    def watched(model: LanguageModel, other: LanguageModel, *rest: Any) -> Any:
        seen.append(other.policy.model is model.policy.model and "reference" not in world_of(wanted).__dict__)
        return measure(model, other, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignbench.run.cells.measure", watched)
        _, failed = go(wanted)
    assert not failed and seen and all(seen), "no second model is in memory while a cell is trained or evaluated"
    return folder


@pytest.mark.parametrize("objective", ["dpo", "ppo"])
def test_a_run_trains_adapters_on_one_whole_model(finished: Path, objective: str) -> None:
    (cell,) = finished.glob(f"cells/{objective}*/seed-0")
    (start,) = finished.glob("stages/start-*")
    policy = cell / "policy"
    assert not (policy / "model.safetensors").exists()
    assert adapter_base(policy) == str(start.resolve()) and adapter_base(start) is None
    points = [row["evaluation"] for row in read_jsonl(cell / "metrics.jsonl") if "evaluation" in row]
    assert points[0]["kl"] == 0 == points[0]["k1"], "before training the policy is the reference, to the last bit"
    assert points[-1]["kl"] > 0
    (evaluation,) = (read_json(file) for file in cell.glob("evaluations/*.json"))
    assert sum(evaluation["values"]["kl"]) > 0, "what is evaluated at the end is what was trained"
    ours, theirs = load_policy(policy), load_policy(start)
    row = Tokens((1, 10, 11), (12, 13, 2))
    ratio = small.full_logps(ours, row) - small.full_logps(theirs, row)
    assert ratio.abs().max() > 1e-6, "the adapter was trained"


def test_a_run_with_an_adapter_says_so_and_has_keys_of_its_own(finished: Path, tmp_path: Path) -> None:
    run = read_json(finished / "run.json")
    assert run["config"]["lora"] == "r=4:alpha=8" == run["identity"]["adapter"]
    assert "Adapters (r=4:alpha=8) were trained" in write_report(finished)["conditional_on"]
    whole, adapter, other = (
        World(config(tmp_path, "dpo", **more)) for more in ({}, {"lora": "r=4:alpha=8"}, {"lora": "r=8:alpha=8"})
    )
    assert len({world.cell(world.specs[0]) for world in (whole, adapter, other)}) == 3
    assert whole.keys == adapter.keys, "stages train no adapter"
    with pytest.raises(InputError, match="adapter: 'r=4:alpha=8' there, 'none' now"):
        go(config(finished, "dpo", seeds=1))


def test_all_objectives_of_a_seed_start_from_one_adapter_and_two_seeds_from_two(finished: Path) -> None:
    world = World(config(finished, "dpo,ppo", lora="r=4:alpha=8"))
    one, again, other = (
        torch.cat([p.detach().flatten() for p in world.trainee(seed).policy.model.parameters() if p.requires_grad])
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_an_adapter_given_as_the_model_is_merged_first(finished: Path, tmp_path: Path) -> None:
    given = next(finished.glob("cells/dpo*/seed-0")) / "policy"
    wanted = config(tmp_path / "second", "dpo", seeds=1, lora="r=2:alpha=4", model=str(given))
    log, failed = go(wanted)
    assert not failed and "start" in log.worked
    (start,) = (tmp_path / "second").glob("stages/start-*")
    assert adapter_base(start) is None and (start / "model.safetensors").exists()
    merged, expected = load_policy(start), load_policy(given)
    for row in ROWS:
        assert torch.equal(small.full_logps(merged, row), small.full_logps(expected, row))
    (cell,) = (tmp_path / "second").glob("cells/dpo*/seed-0")
    assert adapter_base(cell / "policy") == str(start.resolve())
    assert read_jsonl(cell / "metrics.jsonl")[0]["evaluation"]["kl"] == 0
