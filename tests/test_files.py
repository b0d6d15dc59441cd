from __future__ import annotations

import gzip
import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from alignbench import Demonstration, InputError, LabelledCompletion, Pair, Training

# mypy cannot follow `alignbench.benchmarks`: the folder is mapped into the package when it is installed.
files: Any = importlib.import_module("alignbench.benchmarks.files")
Files: Any = files.Files

HH = "hh/harmless-base-test-1500.jsonl.gz"


def nothing(*_: object) -> list[list[Any]]:
    """A sampler: the files bring their own completions, so it must not be asked."""
    raise AssertionError("the data of a file are not sampled")


def write(path: Path, prompts: range, labelled: bool = False) -> str:
    rows: list[dict[str, object]] = []
    for i in prompts:
        prompt = f"prompt {i}"
        if labelled:
            rows += [
                {"prompt": prompt, "completion": f"{word} {i}", "label": word == "good"} for word in ("good", "bad")
            ]
        else:
            rows += [{"prompt": prompt, "chosen": f"good {i} {n}", "rejected": f"bad {i}"} for n in range(1 + i % 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(benchmark: Any, split: str) -> set[str]:
    return {record.prompt.text for record in benchmark.preferences(split, nothing)}


def test_splits_are_disjoint_and_whole(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", range(400))
    benchmark = Files(data=data)
    train, judge, evaluation = (texts(benchmark, split) for split in ("train", "judge", "eval"))
    assert sorted(train | judge | evaluation) == sorted(f"prompt {i}" for i in range(400))
    assert len(train) + len(judge) + len(evaluation) == 400
    assert abs(len(judge) - 80) < 32  # four standard deviations
    assert abs(len(evaluation) - 40) < 24
    assert benchmark.kind == "pairs"
    assert all(isinstance(record, Pair) for record in benchmark.preferences("train", nothing))
    # Shares move a prompt only into or out of the parts that grow or shrink.
    assert texts(Files(data=data, eval_share=0.3), "judge") == judge
    assert texts(Files(data=data, judge_share=0.1), "judge") < judge


def test_prompts_are_distinct_and_in_no_order_of_the_file(tmp_path: Path) -> None:
    benchmark = Files(data=write(tmp_path / "a.jsonl", range(400)))
    for split in ("train", "judge", "eval"):
        prompts = [prompt.text for prompt in benchmark.prompts(split)]
        assert sorted(prompts) == sorted(texts(benchmark, split))
        in_file = [record.prompt.text for record in benchmark.preferences(split, nothing)]
        assert prompts != list(dict.fromkeys(in_file))


def test_demonstrations_are_the_chosen_completions_of_the_training_split(tmp_path: Path) -> None:
    benchmark = Files(data=write(tmp_path / "a.jsonl", range(100)))
    pairs = benchmark.preferences("train", nothing)
    assert benchmark.demonstrations() == [Demonstration(pair.prompt, pair.chosen) for pair in pairs]


def test_labelled_data(tmp_path: Path) -> None:
    benchmark = Files(data=write(tmp_path / "a.jsonl", range(100), labelled=True))
    assert benchmark.kind == "labels"
    train = benchmark.preferences("train", nothing)
    assert all(isinstance(record, LabelledCompletion) for record in train)
    shown = benchmark.demonstrations()
    assert len(shown) == len(train) / 2
    assert all(demonstration.completion.text.startswith("good") for demonstration in shown)

    rows = ({"prompt": f"prompt {i}", "completion": "bad", "label": False} for i in range(100))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"b\.jsonl labels no training completion as desirable"):
        Files(data=str(tmp_path / "b.jsonl")).demonstrations()


def test_evaluation_data_of_its_own(tmp_path: Path) -> None:
    train, held_out = write(tmp_path / "a.jsonl", range(300)), write(tmp_path / "b.jsonl", range(300, 320))
    benchmark = Files(data=train, eval_data=held_out)
    assert texts(benchmark, "eval") == {f"prompt {i}" for i in range(300, 320)}
    assert texts(benchmark, "train") | texts(benchmark, "judge") == {f"prompt {i}" for i in range(300)}
    assert texts(benchmark, "judge") == texts(Files(data=train), "judge")
    assert benchmark.fingerprint() != Files(data=train).fingerprint()
    assert set(benchmark.notes()) == {"data", "eval_data"}

    shared = Files(data=train, eval_data=write(tmp_path / "c.jsonl", range(299, 320)))
    with pytest.raises(InputError, match=r'c\.jsonl line 1 holds the prompt "prompt 299" of .*a\.jsonl line 449'):
        shared.preferences("train", nothing)
    other = Files(data=train, eval_data=write(tmp_path / "d.jsonl", range(300, 320), labelled=True))
    with pytest.raises(InputError, match=r"a\.jsonl holds pairs and .*d\.jsonl labels: give one kind\."):
        other.prompts("eval")


def test_the_corpus_holds_training_texts_only(tmp_path: Path) -> None:
    benchmark = Files(data=write(tmp_path / "a.jsonl", range(100)))
    stages = benchmark.stages()
    corpus = set(stages.corpus())
    train = benchmark.preferences("train", nothing)
    assert corpus == {t for pair in train for t in (pair.prompt.text, pair.chosen.text, pair.rejected.text)}
    for split in ("judge", "eval"):
        assert not corpus & texts(benchmark, split)
    assert stages.judge_lessons is None


def test_the_small_model_has_the_shape_that_was_asked_for() -> None:
    shape = Files(data="a.jsonl", vocabulary=300, layers=1, width=16, context=64).stages().model
    assert (shape.tokenizer, shape.vocabulary, shape.layers, shape.width, shape.context) == ("bytes", 300, 1, 16, 64)


def kind(*needs: str, trains: str = "policy") -> Any:
    class Kind:
        pass

    Kind.needs, Kind.trains = frozenset(needs), trains  # type: ignore[attr-defined]
    return Kind


def test_one_learning_rate_for_each_kind_of_training() -> None:
    kinds = {
        "offline": [kind("pairs", "reference"), kind("labels", "reference"), kind("pairs")],
        "online": [kind("sampling", "reward", "reference"), kind("sampling", "gold")],
        "demonstrations": [kind("demonstrations")],
        "reward": [kind("pairs", trains="reward")],
    }
    for pretrained, rates in ((False, files.SCRATCH), (True, files.PRETRAINED)):
        benchmark = Files(data="a.jsonl", pretrained=pretrained)
        for name, objectives in kinds.items():
            for objective in objectives:
                assert benchmark.training(objective) == Training(learning_rate=getattr(rates, name))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InputError, match="judge_share and eval_share leave nothing to train on"):
        Files(data="a.jsonl", judge_share=0.6, eval_share=0.4)
    assert Files(data="a.jsonl", eval_data="b.jsonl", judge_share=0.6, eval_share=0.4).judge_share == 0.6
    with pytest.raises(InputError, match="eval_split names a split of eval_data"):
        Files(data="a.jsonl", eval_split="test")
    with pytest.raises(InputError, match=r"eval_share=1\.5 must be at least 0 and at most 1"):
        Files(data="a.jsonl", eval_share=1.5)
    with pytest.raises(InputError, match="no data are named"):
        Files().demonstrations()
    with pytest.raises(InputError, match=r"missing\.jsonl is missing"):
        Files(data="missing.jsonl").fingerprint()


def test_a_split_that_gets_no_record(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", range(2))
    with pytest.raises(InputError, match=r"a\.jsonl leaves no record for the judge split: give more prompts"):
        Files(data=data, judge_share=0.0).preferences("judge", nothing)


def test_it_travels_to_another_process_with_its_data(tmp_path: Path) -> None:
    benchmark = Files(data=write(tmp_path / "a.jsonl", range(50)))
    before = benchmark.preferences("train", nothing)
    copy = pickle.loads(pickle.dumps(benchmark))  # noqa: S301  (our own bytes)
    write(tmp_path / "a.jsonl", range(10))
    assert copy.preferences("train", nothing) == before
    assert copy == benchmark
    assert copy.fingerprint() == benchmark.fingerprint()


def test_a_split_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", range(60))
    write(tmp_path / "data" / "test.jsonl", range(60, 70))
    folder = str(tmp_path / "data")
    benchmark = Files(data=folder, split="train", eval_data=folder, eval_split="test")
    assert texts(benchmark, "eval") == {f"prompt {i}" for i in range(60, 70)}


def test_the_real_transcripts(data_folder: Path) -> None:
    benchmark = Files(data=str(data_folder / HH))
    sizes = {split: len(benchmark.preferences(split, nothing)) for split in ("train", "judge", "eval")}
    assert sum(sizes.values()) == 1495
    assert benchmark.notes()["data"]["summary"].startswith("skipped 5 of 1500 records: line 87 (chosen: empty")
    assert json.dumps(benchmark.notes())
    assert [skip["line"] for skip in benchmark.notes()["data"]["skipped"]] == [87, 517, 926, 1104, 1255]
    prompts = {split: texts(benchmark, split) for split in sizes}
    assert not prompts["train"] & prompts["eval"]
    assert not prompts["judge"] & (prompts["train"] | prompts["eval"])
    assert sum(map(len, prompts.values())) == 1493


def test_the_splits_of_half_a_real_file_are_those_of_the_whole(data_folder: Path, tmp_path: Path) -> None:
    with gzip.open(data_folder / HH, "rt", encoding="utf-8") as file:
        (tmp_path / "half.jsonl").write_text("".join(next(file) for _ in range(750)), encoding="utf-8")
    whole, half = Files(data=str(data_folder / HH)), Files(data=str(tmp_path / "half.jsonl"))
    for split in ("train", "judge", "eval"):
        assert texts(half, split) < texts(whole, split)
