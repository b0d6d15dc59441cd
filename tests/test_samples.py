"""Samples at other temperatures, and the best of n of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alignbench.evaluate.measure import decode
from alignbench.models import RewardModel
from alignbench.records import Completion, Prompt
from alignbench.results import derive, read_json, read_jsonl
from alignbench.run.world import World
from alignbench.sampling import sample
from tests.test_run import TINY, config, go

Json = dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampled") / "reviews"
    _, failed = go(wanted(folder))
    assert not failed
    return folder


def wanted(folder: Path, **changes: Any) -> Any:
    return config(folder, "preferred_ft", **{"temperatures": (0.0, 2.0), "best_of": (1, 4, 8), "seeds": 1, **changes})


def texts(rows: list[Json]) -> list[str]:
    return [row["completion"] for row in rows]


def test_temperature_0_takes_the_likeliest_token_and_2_spreads(finished: Path) -> None:
    run = read_json(finished / "run.json")
    cell = run["cells"][0]
    own = {t: read_jsonl(finished / cell["folder"] / "seed-0" / name) for t, name in cell["samples"].items()}
    reference = {t: read_jsonl(finished / file) for t, file in run["reference"]["0"].items()}
    for rows in (own, reference):
        assert set(rows) == {"0", "1", "2"}
        assert [row["prompt_id"] for row in rows["0"]] == [row["prompt_id"] for row in rows["1"]]
        kinds = {t: len({word for text in texts(found) for word in text.split()}) for t, found in rows.items()}
        assert kinds["0"] < kinds["2"], "the likeliest tokens are few"
    world = World(wanted(finished))
    prompts = [Prompt(row["prompt"]) for row in own["2"]]
    gold = world.benchmark.gold(prompts, [Completion(text) for text in texts(own["2"])])
    assert [row["reward"] for row in own["2"]] == gold
    assert all(row["proxy_reward"] is not None and row["length"] > 0 for row in own["2"])


def test_other_temperatures_add_and_change_nothing(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.glob("**/samples*.jsonl")}
    log, failed = go(wanted(finished, temperatures=(0.0, 0.5, 2.0)))
    assert not failed
    judged = {f"judging by {judge} seed 0" for judge in ("gold", "reward")}
    assert log.worked == {"reference samples seed 0", "preferred_ft seed 0", *judged}
    assert all(path.read_bytes() == found for path, found in before.items())
    assert len(list(finished.glob("cells/*/seed-0/samples-*-T0.5.jsonl"))) == 1


def test_the_best_of_n_is_the_highest_score_of_the_first_n(finished: Path) -> None:
    files = read_json(finished / "run.json")["best_of"]
    rows = {int(n): read_jsonl(finished / by_seed["0"]) for n, by_seed in files.items()}
    assert list(rows) == [1, 4, 8] and {len(found) for found in rows.values()} == {TINY["eval_prompts"]}
    scores = {n: [row["score"] for row in found] for n, found in rows.items()}
    assert all(a <= b <= c for a, b, c in zip(scores[1], scores[4], scores[8], strict=True)), "the n are nested"
    assert scores[1] != scores[4] != scores[8]
    world = World(wanted(finished))
    model: RewardModel = world.reward_model(0)
    tokens = world.prompt_tokens(world.eval_prompts)
    asked = [row for row in tokens for _ in range(8)]
    drawn = sample(world.reference.policy, asked, derive(0, "best of n/0"), TINY["max_new_tokens"])
    all_scores = model.score([row.prompt + row.completion for row in drawn]).view(-1, 8)
    for n, found in scores.items():
        assert found == pytest.approx(all_scores[:, :n].max(1).values.tolist(), abs=1e-5), n
    for prompt, row, chosen in zip(tokens, rows[8], all_scores.argmax(1).tolist(), strict=True):
        own = drawn[8 * tokens.index(prompt) + chosen]
        assert (row["prompt_id"], row["length"]) == (prompt.prompt_id, len(own.completion))
        assert row["completion"] == decode(world.tokenizer, own).text


def test_best_of_n_is_judged_by_a_model_that_did_not_choose(finished: Path) -> None:
    run = read_json(finished / "run.json")
    world = World(wanted(finished))
    assert world.stage("reward", 0) != world.stage("judge_reward")
    rows = read_jsonl(finished / run["best_of"]["8"]["0"])
    assert [row["proxy_reward"] for row in rows] != [row["score"] for row in rows]
