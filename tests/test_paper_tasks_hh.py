"""Benchmark `hh`: columns, splits, the one-turn filter and the paper's settings."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alignbench import Demonstration, InputError, Pair, SmallModel, Training
from alignbench.plugins import find, parse_objectives
from tests.paper_layouts import cached, dialogue, named, save

HH: Any = importlib.import_module("alignbench.benchmarks.hh").HH
files: Any = importlib.import_module("alignbench.benchmarks.files")

REAL = "hh/harmless-base-test-1500.jsonl.gz"


def nobody(*_: object) -> list[list[Any]]:
    raise AssertionError("the data set brings its own completions")


def pairs(benchmark: Any, split: str) -> Sequence[Pair]:
    found: Sequence[Pair] = benchmark.preferences(split, nobody)
    return found


def texts(benchmark: Any, split: str) -> set[str]:
    return {pair.prompt.text for pair in pairs(benchmark, split)}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Two subsets; ten test prompts of harmless-base are training prompts as well, and others have two turns."""
    return save(
        tmp_path / "set",
        {
            "harmless-base/train.jsonl.gz": named(200, dialogue, "a"),
            "harmless-base/test.jsonl.gz": [
                *named(10, dialogue, "a"), *named(20, dialogue, "b"),
                *named(5, lambda name: dialogue(name, 2), "c"),
                {"chosen": "\n\nHuman: e?\n\nAssistant: ", "rejected": "\n\nHuman: e?\n\nAssistant: no"},
            ],
            "helpful-base/train.jsonl.gz": named(100, dialogue, "d"),
            "helpful-base/test.jsonl.gz": named(10, dialogue, "f"),
            "red-team-attempts/red_team_attempts.jsonl.gz": [{"transcript": "no pair"}],
        },
    )  # fmt: skip


def test_the_layout_of_the_hub(folder: str) -> None:
    whole, part = HH(source=folder), HH(source=folder, subset="helpful-base")
    assert len(pairs(whole, "train")) + len(pairs(whole, "judge")) == 290
    assert len(pairs(part, "train")) + len(pairs(part, "judge")) == 100
    assert texts(part, "eval") == {f"\n\nHuman: f{i}?\n\nAssistant:" for i in range(10)}
    first = min(pairs(part, "train"), key=lambda pair: pair.line or 0)
    name = first.prompt.text.removeprefix("\n\nHuman: ").removesuffix("?\n\nAssistant:")
    assert (first.chosen.text, first.rejected.text) == (f" good {name}", f" bad {name}")
    assert whole.fingerprint() != part.fingerprint() == HH(source=f"{folder}/helpful-base").fingerprint()
    with pytest.raises(InputError, match="has no folder 'helpful' \\(it has harmless-base, helpful-base, red-team"):
        HH(source=folder, subset="helpful").prompts("train")


def test_prompts_of_the_test_split_are_not_trained_on(folder: str) -> None:
    benchmark = HH(source=folder, subset="harmless-base")
    train, judge, evaluation = (texts(benchmark, split) for split in ("train", "judge", "eval"))
    assert len(evaluation) == 35
    assert not evaluation & (train | judge)
    assert not train & judge
    assert len(train) + len(judge) == 190
    assert abs(len(judge) - 38) < 24  # four standard deviations
    assert {d.prompt.text for d in benchmark.demonstrations()} == train
    assert set(benchmark.stages().corpus()) >= train
    assert not set(benchmark.stages().corpus()) & (evaluation | judge)
    notes = benchmark.notes()
    assert notes["shared_prompts"] == 10
    assert [(file["split"], file["records"], len(file["skipped"])) for file in notes["files"]] == [
        ("test", 36, 1), ("train", 200, 0),
    ]  # fmt: skip
    said = benchmark.remarks()
    assert any("test.jsonl.gz: skipped 1 of 36 records: line 36 (chosen: empty completion)" in each for each in said)
    assert any("10 training pairs have a first turn of the held-out split and are left out" in each for each in said)


def test_one_turn_is_evaluated_and_all_are_held_out(folder: str) -> None:
    benchmark, every = HH(source=folder), HH(source=folder, one_turn=False)
    asked = [prompt.text for prompt in benchmark.prompts("eval")]
    assert len(asked) == 40
    assert all(text.count("\n\nHuman:") == 1 for text in asked)
    assert {prompt.text for prompt in every.prompts("eval")} - set(asked) == {
        text for text in texts(every, "eval") if text.count("\n\nHuman:") == 2
    }
    # The filter is read by the evaluation alone: nothing that is trained or held out moves with it.
    assert "one_turn" in HH.evaluation_fields
    for split in ("train", "judge", "eval"):
        assert pairs(benchmark, split) == pairs(every, split)
    assert benchmark.fingerprint() == every.fingerprint()
    assert any("40 of 45 held-out prompts have one turn" in each for each in benchmark.remarks())
    assert not any("one turn" in each for each in every.remarks())


def test_no_prompt_of_one_turn(tmp_path: Path) -> None:
    rows = named(60, lambda name: dialogue(name, 2))
    source = save(tmp_path, {"train.jsonl": rows[:40], "test.jsonl": rows[40:]})
    with pytest.raises(InputError, match="none of its 20 held-out prompts is one to evaluate on"):
        HH(source=source).prompts("eval")


def test_what_the_cache_holds_is_said_and_goes_to_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    files = {f"a/{split}.jsonl.gz": named(60, dialogue, split) for split in ("train", "test")}
    cached(tmp_path, "some/set", "main", files)
    benchmark = HH(source="some/set", subset="a")
    said = "some/set: the hub cannot be reached, and what its cache holds is read: a/test.jsonl.gz, a/train.jsonl.gz."
    assert said in benchmark.remarks()
    benchmark.fingerprint()
    shutil.rmtree(tmp_path)
    sent = pickle.loads(pickle.dumps(benchmark))  # noqa: S301  its own
    assert sent.prompts("eval") == benchmark.prompts("eval")


def test_shares_that_leave_nothing(folder: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^hh: judge_share leaves nothing to train on: lower it"):
        HH(source=folder, judge_share=1)
    # Where there are splits, eval_share is not read.
    assert pairs(HH(source=folder, judge_share=0.7, eval_share=0.9), "train")
    lone = HH(source=save(tmp_path / "one", {"a.jsonl": named(50, dialogue)}), judge_share=0.95)
    with pytest.raises(InputError, match="one has no splits of its own, and judge_share and eval_share leave nothing"):
        lone.prompts("train")


def test_a_lone_file_is_the_folder_that_holds_it(tmp_path: Path) -> None:
    source = save(tmp_path, {"test.jsonl": named(100, dialogue)})
    lone, whole = HH(source=f"{source}/test.jsonl"), HH(source=source)
    assert lone.fingerprint() == whole.fingerprint()
    assert pairs(lone, "train") == pairs(whole, "train")
    save(tmp_path, {"train.jsonl": named(10, dialogue, "t")})
    assert HH(source=source).fingerprint() != lone.fingerprint()
    with pytest.raises(InputError, match=r"test\.jsonl is one file and has no folder 'helpful-base'"):
        HH(source=f"{source}/test.jsonl", subset="helpful-base").prompts("train")


def test_held_out_pairs_come_one_of_each_prompt_first(tmp_path: Path) -> None:
    test = [{**row, "rejected": row["rejected"] + again} for row in named(8, dialogue) for again in ("", " again")]
    source = save(tmp_path, {"train.jsonl": named(50, dialogue, "t"), "test.jsonl": test})
    benchmark = HH(source=source)
    prompts = [pair.prompt for pair in pairs(benchmark, "eval")]
    assert prompts[:8] == prompts[8:] == list(benchmark.prompts("eval"))


def test_bad_sources(tmp_path: Path) -> None:
    labels = [{"prompt": "a", "completion": "b", "label": True}]
    with pytest.raises(InputError, match=r"train\.jsonl holds labels, not pairs"):
        HH(source=save(tmp_path / "a", {"train.jsonl": labels})).prompts("eval")
    with pytest.raises(InputError, match=r"test\.jsonl is empty"):
        HH(source=save(tmp_path / "b", {"train.jsonl": named(5, dialogue), "test.jsonl": []})).prompts("eval")
    single = HH(source=save(tmp_path / "c", {"one.jsonl": named(1, dialogue)}))
    with pytest.raises(InputError, match="c leaves no pair for the judge split: give more prompts"):
        single.prompts("judge")
    with pytest.raises(InputError, match="hh: source=3 must be of type str"):
        HH(source=3)


def test_what_judges_are_asked(folder: str) -> None:
    about = {
        "harm": [HH(source=folder, subset="harmless-base"), HH(source="x/harmless-base/test.jsonl"), HH(source=REAL)],
        "help": [HH(), HH(source=folder), HH(source=folder, subset="helpful-base"), HH(subset="helpful-online")],
    }
    for word, benchmarks in about.items():
        for benchmark in benchmarks:
            assert ("harmful" in benchmark.question) == (word == "harm")
            assert benchmark.question.endswith("?")
    assert HH.question == HH().question


def test_the_settings_of_the_paper(folder: str) -> None:
    assert HH.temperatures == (0.0, 0.25, 0.5, 0.75)
    small, named_ = HH(source=folder), HH(source=folder, pretrained=True)
    assert (small.eval_prompts, small.epochs, small.sft_epochs, small.reward_epochs) == (256, 1, 1, 3)
    plain = {name: find("objective", name) for name in ("dpo", "kto", "ppo", "sft", "reward_model")}
    for cls in plain.values():
        assert small.training(cls) == files.Files(data="x").training(cls)
    trained = {name: named_.training(cls) for name, cls in plain.items()}
    pretrained = files.PRETRAINED
    # 230 or so pairs of 64 are 3 steps, a tenth of which is none.
    assert trained["dpo"] == Training(learning_rate=1e-6, batch_size=64, optimizer="rmsprop", warmup_steps=0)
    assert trained["kto"] == Training(learning_rate=1e-6, batch_size=128, optimizer="rmsprop", warmup_steps=0)
    assert trained["ppo"] == Training(learning_rate=pretrained.online, batch_size=128)
    assert trained["sft"] == Training(learning_rate=pretrained.demonstrations, batch_size=64)
    assert trained["reward_model"] == Training(learning_rate=pretrained.reward, batch_size=64)
    steps = len(pairs(named_, "train")) / 64
    assert HH(source=folder, pretrained=True, epochs=700 / steps).training(plain["dpo"]).warmup_steps in (69, 70)
    assert HH(source=folder, pretrained=True, epochs=1600 / steps).training(plain["dpo"]).warmup_steps == 150


def test_the_papers_beta_goes_to_all_alike() -> None:
    simpo = find("objective", "simpo")().beta  # it has no reference that a beta could be a price for
    assert simpo != 0.1
    specs = parse_objectives("dpo,kto,simpo,ppo,dpo:beta=0.3,preferred_ft", HH().defaults)
    assert [spec.params.get("beta") for spec in specs] == [0.1, 0.1, simpo, 0.1, 0.3, None]


def test_a_model_from_scratch_sees_demonstrations_several_times(folder: str) -> None:
    once = HH(source=folder, pretrained=True).demonstrations()
    assert once == [Demonstration(pair.prompt, pair.chosen) for pair in pairs(HH(source=folder), "train")]
    assert HH(source=folder, scratch_passes=3).demonstrations() == once * 3
    shape = HH(source=folder, layers=1, width=16, vocabulary=300, context=64).stages().model
    assert shape == SmallModel("bytes", 300, 1, 16, context=64)


def test_options_of_files_are_none_here() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'data'"):
        HH(data="a.jsonl")


def test_real_pairs(data_folder: Path) -> None:
    source = str(data_folder / REAL)
    benchmark = HH(source=source)
    sizes = {split: len(pairs(benchmark, split)) for split in ("train", "judge", "eval")}
    assert sum(sizes.values()) == 1495
    assert min(sizes["judge"] - 200, sizes["eval"] - 100) > 0
    # Prompts of one turn are where the benchmark `files` has them; the rest of their dialogues is with them.
    plain = {pair.prompt for pair in files.Files(data=source).preferences("eval", nobody)}
    asked = {prompt.text for prompt in benchmark.prompts("eval")}
    assert asked == {prompt.text for prompt in plain if prompt.text.count("\n\nHuman:") == 1}
    assert len(asked) == 46
    assert not any(text.startswith(tuple(asked)) for text in texts(benchmark, "train") | texts(benchmark, "judge"))
    # Three of them opened a training dialogue, were prompts dealt out and not dialogues.
    trained = [pair.prompt.text for pair in files.Files(data=source).preferences("train", nobody)]
    assert sum(any(text.startswith(one) for text in trained) for one in asked) == 3
    assert [entry["line"] for entry in benchmark.notes()["files"][0]["skipped"]] == [87, 517, 926, 1104, 1255]
    assert json.loads(json.dumps(benchmark.notes())) == benchmark.notes()


def test_the_fingerprint_follows_who_reads_a_pair_and_how_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = named(40, dialogue)
    plain = HH(source=save(tmp_path / "a", {"a.jsonl": rows})).fingerprint()
    cut = [row | {"ended": {"chosen": False, "rejected": True}} for row in rows]
    assert HH(source=save(tmp_path / "b", {"a.jsonl": cut})).fingerprint() != plain
    monkeypatch.setattr(HH, "_group", lambda self, prompt: "one")
    assert HH(source=save(tmp_path / "c", {"a.jsonl": rows})).fingerprint() != plain


def test_a_home_that_there_is_not_is_one_sentence() -> None:
    with pytest.raises(InputError, match="is missing"):
        HH(source="~nosuchuser/hh").prompts("eval")
