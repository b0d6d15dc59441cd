"""Runs in a world that can be enumerated: exact figures of every cell, the ceiling of reward models, exact tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from alignbench.errors import InputError
from alignbench.exact import ExactWorld
from alignbench.plugins import create_benchmark, parse_objectives
from alignbench.report import write_report
from alignbench.results import Json, read_json, read_jsonl
from alignbench.run import Config
from alignbench.run.world import World
from tests.test_run import JUDGES, go

TINY = {
    "pairs": 64,
    "judge_pairs": 16,
    "eval_pairs": 16,
    "demonstrations_count": 200,
    "curve_points": 2,
    "max_new_tokens": 2,
    "layers": 1,
    "width": 16,
}


def config(folder: Path, objectives: str, **changes: Any) -> Config:
    benchmark = create_benchmark("exact").plugin
    return Config(
        objectives=tuple(spec.text for spec in parse_objectives(objectives, benchmark.defaults)),
        benchmark="exact",
        benchmark_fields=tuple({**TINY, **changes.pop("fields", {})}.items()),
        out=str(folder),
        judges=JUDGES,
        seeds=changes.pop("seeds", 2),
        **changes,
    )


WANTED = "dpo,preferred_ft,rloo:n=2,rloo:n=2:reward=gold"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "exact"
    log, failed = go(config(folder, WANTED))
    assert not failed
    assert {"exact", "exact reward seed 0", "exact reward seed 1"} <= log.worked
    return folder


def cells(folder: Path) -> dict[str, list[Json]]:
    run = read_json(folder / "run.json")
    return {
        entry["spec"]: [read_json(folder / entry["folder"] / f"seed-{seed}" / run["exact"]["cell"]) for seed in (0, 1)]
        for entry in run["cells"]
    }


def test_the_benchmarks_beta_is_everybodys_and_shown(finished: Path) -> None:
    assert list(cells(finished)) == [
        "dpo:beta=0.5", "preferred_ft", "rloo:beta=0.5:n=2", "rloo:reward=gold:beta=0.5:n=2",
    ]  # fmt: skip


def test_the_world_is_that_of_the_reference(finished: Path) -> None:
    folder = (finished / read_json(finished / "run.json")["exact"]["world"]).parent
    world, stored = read_json(folder / "world.json"), load_file(folder / "world.safetensors")
    assert stored["ref"].shape == (8, 144)
    assert torch.allclose(stored["ref"].exp().sum(1), torch.ones(8, dtype=torch.float64), atol=1e-6)
    best, own = world["optimum"], world["reference"]
    assert best["gap"] == pytest.approx(0, abs=1e-12) and best["gain_share"] == pytest.approx(1)
    assert own["kl"] == 0 == pytest.approx(own["gain_share"], abs=1e-6)
    assert all((kl < best["kl"]) == (reward < best["expected_reward"]) for kl, reward in world["frontier"])
    assert [kl for kl, _ in world["frontier"]] == sorted(kl for kl, _ in world["frontier"])


def test_every_cell_is_summed_up_by_its_own_policy(finished: Path) -> None:
    world = World(config(finished, WANTED))
    assert world.enumeration is not None
    for spec in world.specs:
        for seed in (0, 1):
            folder = world.cell(spec) / f"seed-{seed}"
            found = read_json(next(folder.glob("exact-*.json")))
            assert found["objective"] == pytest.approx(found["expected_reward"] - 0.5 * found["kl"])
            assert found["gap"] > 0 and found["gain_share"] < 1
            # The last point of the curve is the policy that was saved.
            assert found["curve"][-1]["gain_share"] == pytest.approx(found["gain_share"], abs=1e-5)
            assert found["curve"][0]["kl"] == pytest.approx(0, abs=1e-6)
            rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "evaluation" in row]
            assert [row["step"] for row in rows] == [point["step"] for point in found["curve"]]


def test_limits_and_ceilings_are_there_where_they_are_known(finished: Path) -> None:
    found = cells(finished)
    assert found["dpo:beta=0.5"][0]["limit"]["gain_share"] == pytest.approx(1)
    assert 0 < found["preferred_ft"][0]["limit"]["gain_share"] < 1
    assert found["rloo:beta=0.5:n=2"][0]["limit"] is None
    assert found["rloo:reward=gold:beta=0.5:n=2"][0]["limit"]["gain_share"] == pytest.approx(1)
    ceilings = [cell["ceiling"]["gain_share"] for cell in found["rloo:beta=0.5:n=2"]]
    assert ceilings[0] != ceilings[1], "each seed has a reward model of its own"
    assert all(cell["ceiling"] is None for spec in found if "n=2" not in spec or "gold" in spec for cell in found[spec])


def test_the_stored_preference_is_that_of_the_world(finished: Path) -> None:
    world = World(config(finished, WANTED))
    assert world.enumeration is not None
    stored = load_file(world.stage("exact") / "world.safetensors")
    fresh = ExactWorld(world.enumeration.reward, stored["ref"], world.enumeration.beta)
    reward, ref = fresh.reward, fresh.ref.exp()
    by_hand = (torch.sigmoid(reward[:, :, None] - reward[:, None, :]) * ref[:, None, :]).sum(-1)
    assert torch.allclose(stored["preference"], by_hand, atol=1e-10)


def test_a_second_run_does_nothing_and_another_objective_only_adds(finished: Path) -> None:
    log, _ = go(config(finished, WANTED))
    assert log.worked == set()
    log, failed = go(config(finished, f"{WANTED},ipo"))
    assert not failed
    assert {label for label in log.worked if "judging" not in label} == {"ipo:beta=0.5 seed 0", "ipo:beta=0.5 seed 1"}


def test_the_report_has_the_exact_table(finished: Path) -> None:
    summary = write_report(finished)
    assert set(summary["exact"]["rows"]) >= {"dpo:beta=0.5", "preferred_ft"}
    shares = summary["exact"]["rows"]["dpo:beta=0.5"]["gain_share"]
    assert shares["value"] == pytest.approx(sum(shares["per_seed"]) / 2)
    assert (finished / "exact.md").exists() and (finished / "plots" / "exact_frontier.png").exists()


def test_tuning_chooses_by_the_exact_gain_share(tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    wanted = config(folder, "dpo,preferred_ft", seeds=1, tune="learning_rate=1e-4/1e-2")
    _, failed = go(wanted)
    assert not failed
    tuning = read_json(folder / "tuning.json")
    assert tuning["measure"] == "gain_share"
    run = read_json(folder / "tuning" / "run.json")
    for spec in ("dpo:beta=0.5", "preferred_ft"):
        trials = [trial for trial in tuning["trials"] if trial["spec"] == spec]
        best = max(trials, key=lambda trial: float(trial["value"]))
        assert [trial["chosen"] for trial in trials] == [trial is best for trial in trials]
        entry = next(entry for entry in run["cells"] if entry["spec"] == best["trial"])
        cell = folder / "tuning" / entry["folder"] / "seed-999" / run["exact"]["cell"]
        assert read_json(cell)["gain_share"] == best["value"]
    write_report(folder)
    assert "chosen by the exact share of what can be gained over the reference" in (folder / "table.md").read_text()


def test_a_model_of_other_words_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    from tests.small import policy

    policy().save(tmp_path / "model")
    with pytest.raises(InputError, match="reads other tokens than the 12 words"):
        go(config(tmp_path / "run", "dpo", model=str(tmp_path / "model")))
