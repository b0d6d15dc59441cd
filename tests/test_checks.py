"""What a run refuses before it trains anything: objectives, judges and models that cannot serve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from alignbench.errors import InputError
from alignbench.models import SmallModel, as_reward_model, small_model, small_tokenizer
from alignbench.plugins import parse_objectives
from alignbench.pretrained import check_same_ids
from alignbench.run import Config, run, stages
from alignbench.run.checks import check_models, check_needs
from alignbench.run.world import World

SHAPE = SmallModel("bytes", vocabulary=300, layers=1, width=16, heads=2, context=64)
PAIRS = [{"prompt": f"Question {i}?", "chosen": f"A good answer {i}.", "rejected": f"Bad {i}."} for i in range(40)]
LABELS = [{"prompt": f"Question {i}?", "completion": f"Answer {i}.", "label": i % 2 == 0} for i in range(40)]


def config(folder: Path, rows: Sequence[Mapping[str, object]] = PAIRS, objectives: str = "dpo", **more: Any) -> Config:
    """A run on a user's data; `judges` as the command line gives them."""
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Config(
        objectives=tuple(spec.text for spec in parse_objectives(objectives)),
        benchmark="files",
        benchmark_fields=(("data", str(folder / "data.jsonl")),),
        out=str(folder / "out"),
        judges=more.pop("judges", (("reward", ""),)),
        **more,
    )


def policy(folder: Path, corpus: str = "a good answer") -> str:
    small_model(small_tokenizer([corpus], SHAPE), SHAPE, seed=0).save(folder)
    return str(folder)


def rewards(folder: Path, corpus: str = "a good answer") -> str:
    base = small_model(small_tokenizer([corpus], SHAPE), SHAPE, seed=0)
    as_reward_model(base, nn.Linear(16, 1, bias=False), "rm").save(folder)
    return str(folder)


def test_what_the_data_can_serve_is_not_refused(tmp_path: Path) -> None:
    check_needs(World(config(tmp_path, objectives="dpo,kto,ppo,preferred_ft")))
    check_needs(World(config(tmp_path, LABELS, "kto", judges=(("lm", "somewhere"),))))
    check_needs(World(config(tmp_path, LABELS, "ppo", judges=(("lm", "somewhere"),), reward_model="somewhere")))


def test_no_objective_is_judged_by_its_own_teacher(tmp_path: Path) -> None:
    path = rewards(tmp_path / "rm")
    with pytest.raises(InputError, match="its own teacher"):
        check_needs(World(config(tmp_path, objectives="ppo", judges=(("reward", path),), reward_model=path)))
    other = rewards(tmp_path / "other", "another corpus altogether")
    check_needs(World(config(tmp_path, objectives="ppo", judges=(("reward", other),), reward_model=path)))


@pytest.mark.parametrize(
    ("objectives", "named"),
    [
        ("dpo", "dpo needs pairs: the data hold labelled completions"),
        ("kto,ppo", "ppo needs reward: a reward model is trained from pairs, .* give --reward-model PATH"),
        ("reward_model", "trains a reward model, not a policy"),
        ("sft", "learns from demonstrations.* no row"),
    ],
)
def test_objectives_that_labels_cannot_serve(tmp_path: Path, objectives: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        check_needs(World(config(tmp_path, LABELS, objectives, judges=(("lm", "somewhere"),))))


@pytest.mark.parametrize(
    ("judge", "rows", "named"),
    [
        ("gold", PAIRS, "judge gold: this benchmark has no gold reward"),
        ("lm", PAIRS, "judge lm: this benchmark trains no judge of its own; name a model, lm:PATH"),
        ("reward", LABELS, "judge reward: it is trained from pairs, which the data do not hold"),
    ],
)
def test_judges_that_the_benchmark_cannot_serve(
    tmp_path: Path, judge: str, rows: Sequence[Mapping[str, object]], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        check_needs(World(config(tmp_path, rows, "kto", judges=((judge, ""),))))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"judges": (("gold", "mine"),)}, "gold takes no argument, but was given 'mine'"),
        ({"judges": (("reward", ""), ("lm", "./nowhere"))}, r"model \./nowhere: there is no such folder"),
        ({"judges": (("reward", "./nowhere"),)}, r"model \./nowhere: there is no such folder"),
        ({"reference": "./nowhere"}, r"model \./nowhere: there is no such folder"),
        ({"reward_model": "./nowhere"}, r"model \./nowhere: there is no such folder"),
    ],
)
def test_a_model_that_cannot_be_loaded_shows_before_anything_is_trained(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        run(config(tmp_path, objectives="dpo,ppo", **changes), lambda event: None, lambda *_: None)
    assert not list((tmp_path / "out").rglob("*.json")), "not even a beginning"


def test_a_reference_that_reads_other_token_ids_is_refused(tmp_path: Path) -> None:
    """It is given the ids of the policy's completions, so with other ids it would read another text."""
    ours, others = policy(tmp_path / "ours"), policy(tmp_path / "others", "quite other words, zzz zzz")
    foreign = rewards(tmp_path / "foreign", "quite other words, zzz zzz")
    check_models(World(config(tmp_path, objectives="ppo", model=ours, reference=ours)))
    with pytest.raises(InputError, match="must read the token ids of the model that is trained") as error:
        check_models(World(config(tmp_path, model=ours, reference=others)))
    assert others in str(error.value)
    judges = (("reward", foreign),)
    check_models(World(config(tmp_path, objectives="ppo", model=ours, reward_model=foreign, judges=judges)))  # text


def test_a_reference_beside_a_model_made_from_scratch_is_held_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(config(tmp_path, reference=policy(tmp_path / "others", "quite other words, zzz zzz")))
    monkeypatch.setattr(World, "start_source", policy(tmp_path / "start"))
    check_models(world)
    with pytest.raises(InputError, match="must read the token ids of the model that is trained"):
        stages.data(world, lambda fraction, text: None)


def test_more_tokens_are_no_hindrance() -> None:
    ours, theirs = small_tokenizer(["a good answer"], SHAPE), small_tokenizer(["a good answer"], SHAPE)
    theirs.add_special_tokens({"additional_special_tokens": ["<|reward|>"]})
    check_same_ids(theirs, ours, "theirs")
    with pytest.raises(InputError, match=r"they differ in '<\|reward\|>'"):
        check_same_ids(ours, theirs, "ours")


def test_best_of_n_needs_a_reward_model_and_is_a_use_of_one(tmp_path: Path) -> None:
    named = rewards(tmp_path / "rm")
    with pytest.raises(InputError, match="none of the objectives optimises a reward model"):
        check_needs(World(config(tmp_path, reward_model=named)))
    check_needs(World(config(tmp_path, reward_model=named, best_of=(4,))))
    judges = (("lm", "somewhere"),)
    with pytest.raises(InputError, match="--best-of: a reward model is trained from pairs"):
        check_needs(World(config(tmp_path, LABELS, "kto", judges=judges, best_of=(4,))))
    check_needs(World(config(tmp_path, LABELS, "kto", judges=judges, best_of=(4,), reward_model=named)))
