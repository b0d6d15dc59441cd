"""lm-eval around a policy in memory: the same log-likelihoods as our own, no trace left, and errors before training."""

from __future__ import annotations

import copy
import json
import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from alignbench.batch import Tokens
from alignbench.encoding import Encoder
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.errors import InputError
from alignbench.evaluate.capability import change, check_tasks, evaluate_tasks, fingerprint
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.models import Policy, small_model, small_tokenizer
from alignbench.plugins import create, find
from alignbench.results import Json
from alignbench.tokens import tokenize_demonstrations
from alignbench.train import train

from . import small, small_tokenizers

GRAMMAR = "reviews_grammar"
NAMED = {"task": "choice", "output_type": "multiple_choice", "doc_to_text": "text", "doc_to_choice": "choices"}


def mean(name: str) -> Json:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


TASKS: dict[str, Json] = {
    "choice": {"metric_list": [mean("acc"), mean("acc_norm"), {"metric": "f1"}], "tag": ["some"]},
    "choice_too": {"metric_list": [mean("acc")], "tag": ["some"], "process_docs": None},
    "rolling": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "text"},
    "answer": {
        "output_type": "generate_until",
        "generation_kwargs": {"max_gen_toks": 8, "until": ["w00"], "do_sample": True, "temperature": 1.0},
        "metric_list": [mean("exact_match")],
    },
    "long_answer": {"output_type": "generate_until", "generation_kwargs": {"until": ["w00"]}},
    "unsafe": {"unsafe_code": True},
    "broken": {"output_type": "guessing"},
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks in the words of `small.tokenizer`; YAML reads JSON."""
    folder = tmp_path_factory.mktemp("tasks")
    source = random.Random(0)
    rows = []
    for i in range(40):
        words = [f"w{source.randrange(1, 56):02}" for _ in range(7)]
        choices = [" ".join(words[4:6]), words[6]] if i % 4 else [words[4], words[6]]
        rows.append({"text": " ".join(words[:4]), "choices": choices, "label": i % 2, "target": words[4]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"data_files": {"test": str(folder / "rows.jsonl")}, "cache_dir": str(folder / ".cache")}
    for name, settings in TASKS.items():
        task = {**NAMED, "dataset_path": "json", "dataset_kwargs": data, "test_split": "test", "doc_to_target": "label"}
        if settings.get("output_type") == "generate_until":
            del task["doc_to_choice"]
            task["doc_to_target"] = "target"
        (folder / f"{name}.yaml").write_text(json.dumps({**task, **settings, "task": name}), encoding="utf-8")
    aggregate = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    group = {"group": "both", "task": ["choice", "choice_too"], "aggregate_metric_list": aggregate}
    (folder / "both.yaml").write_text(json.dumps(group), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reviews() -> Any:
    return find("benchmark", "reviews")(demonstrations_count=2000, width=64, layers=1)


@pytest.fixture(scope="module")
def grammar(reviews: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(reviews.lm_eval_tasks(tmp_path_factory.mktemp("grammar")))


@pytest.fixture(scope="module")
def untrained(reviews: Any) -> Policy:
    stages = reviews.stages()
    return small_model(small_tokenizer(stages.corpus(), stages.model), stages.model, 0)


@pytest.fixture(scope="module")
def trained(reviews: Any, untrained: Policy) -> Policy:
    """Fine-tuned for a few seconds."""
    policy = Policy(copy.deepcopy(untrained.model), untrained.tokenizer)
    rows = tokenize_demonstrations(reviews.demonstrations(), policy.tokenizer, policy.context)
    objective = create("sft", "objective")
    model, sources = LanguageModel(policy, ScoringPath(True)), Sources(demonstrations=rows)
    list(train(LocalEngine(model, sources, reviews.training(type(objective)), Budget(len(rows)), 0), objective))
    return policy


def run(policy: Policy, names: Sequence[str], folder: Path, report: Any = None) -> Json:
    found = evaluate_tasks(policy, names, [folder], report)
    assert json.loads(json.dumps(found, allow_nan=False)) == found, "plain JSON"
    tasks: Json = found["tasks"]
    return tasks


def test_the_fine_tuned_model_knows_the_grammar_and_a_random_one_guesses(
    trained: Policy, untrained: Policy, grammar: Path
) -> None:
    knows, guesses = (evaluate_tasks(policy, [GRAMMAR], [grammar]) for policy in (trained, untrained))
    entry = knows["tasks"][GRAMMAR]
    accuracy = entry["metrics"]["acc"]
    assert accuracy["n"] == len(entry["samples"]) == 800 and set(entry["samples"]) == {0.0, 1.0}
    assert accuracy["value"] == sum(entry["samples"]) / 800 > 0.65
    assert accuracy["stderr"] == pytest.approx(math.sqrt(accuracy["value"] * (1 - accuracy["value"]) / 799))
    assert 0.44 < guesses["tasks"][GRAMMAR]["metrics"]["acc"]["value"] < 0.56
    assert (entry["main"], entry["n_shot"], entry["cut"], knows["schema"]) == ("acc", 0, 0, 1)
    difference = change(guesses, knows)[GRAMMAR]["acc"]
    assert difference["paired"] and difference["high"] < -0.05


def test_the_scores_are_those_of_our_own_log_likelihoods(trained: Policy, grammar: Path) -> None:
    samples = run(trained, [GRAMMAR], grammar)[GRAMMAR]["samples"]
    encoder = Encoder(trained.tokenizer)
    lines = (grammar / f"{GRAMMAR}.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    documents = [json.loads(line) for line in lines]
    rows = [
        Tokens(encoder.prompt_ids([document["prompt"]])[0], encoder.ids([choice])[0])
        for document in documents
        for choice in document["choices"]
    ]
    with torch.no_grad():
        logps = LanguageModel(trained, ScoringPath(True)).forward(rows).logps
    sums = torch.stack([part.sum() for part in logps.split([len(row.completion) for row in rows])]).view(-1, 2)
    right = [float(int(one.argmax()) == document["label"]) for one, document in zip(sums, documents, strict=True)]
    assert samples[:60] == right and 0 < sum(right) < 60


def test_no_trace_is_left(own: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    from lm_eval.caching import cache

    policy = Policy(small.policy().model, small_tokenizers.words(True))  # no pad token: lm-eval sets one
    for i, parameter in enumerate(policy.model.parameters()):
        parameter.requires_grad_(i % 2 == 0)

    def state() -> Json:
        tokenizer = policy.tokenizer
        numbers = np.random.get_state()  # noqa: NPY002
        return {
            "weights": [p.detach().numpy().tobytes() for p in policy.model.parameters()],
            "same": [(id(p), p.requires_grad) for p in policy.model.parameters()],
            "modes": [module.training for module in policy.model.modules()],
            "settings": (repr(policy.model.config), repr(policy.model.generation_config)),
            "tokenizer": (tokenizer.special_tokens_map, len(tokenizer), tokenizer.padding_side, tokenizer.pad_token),
            "backend": tokenizer.backend_tokenizer.to_str(),
            "generators": (random.getstate(), numbers[1].tobytes(), numbers[2:], torch.get_rng_state().tolist()),  # type: ignore[index]
            "logs": [logging.getLogger(name).level for name in ("lm_eval", "datasets", "transformers")],
            "bars": datasets.are_progress_bars_disabled(),
            "cache": sorted(Path(cache.PATH).rglob("*")) if Path(cache.PATH).exists() else [],
            "grad": torch.is_grad_enabled(),
        }

    capfd.readouterr()
    before = state()
    assert before["tokenizer"][-1] is None
    first = run(policy, ["choice", "answer", "rolling"], own)
    assert state() == before
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert not caplog.records
    assert run(policy, ["choice", "answer", "rolling"], own) == first


def test_it_says_how_far_it_is(own: Path) -> None:
    heard: list[tuple[float, str]] = []
    run(small.policy(), ["answer", "rolling", "choice"], own, lambda fraction, text: heard.append((fraction, text)))
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(set(fractions)) > 3
    assert {text.split()[0] for _, text in heard} == {"choice", "answer", "rolling"}


def test_a_metric_that_is_no_mean_has_a_standard_error_of_resamples_and_no_samples(own: Path) -> None:
    tasks = run(small.policy(), ["choice", "rolling"], own)
    metrics = tasks["choice"]["metrics"]
    assert list(metrics) == ["acc", "acc_norm", "f1"] and len(tasks["choice"]["samples"]) == 40
    share = metrics["acc"]["value"]
    assert metrics["acc"]["stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 39))
    assert 0.03 < metrics["f1"]["stderr"] < 0.2 and metrics["f1"]["n"] == 40
    rolling = tasks["rolling"]
    assert rolling["samples"] == [] and rolling["metrics"]["word_perplexity"]["higher_is_better"] is False
    assert 0 < rolling["metrics"]["word_perplexity"]["stderr"] < rolling["metrics"]["word_perplexity"]["value"]


def test_a_group_is_one_entry_and_a_tag_its_tasks(own: Path) -> None:
    policy = small.policy()
    (name,) = group = run(policy, ["both"], own)
    tasks = run(policy, ["some"], own)
    assert name == "both" and list(tasks) == ["choice", "choice_too"]
    assert group["both"]["samples"] == tasks["choice"]["samples"] + tasks["choice_too"]["samples"]
    assert group["both"]["metrics"]["acc"]["n"] == 80
    assert group["both"]["metrics"]["acc"]["value"] == pytest.approx(sum(group["both"]["samples"]) / 80)


def entry(samples: list[float], value: float, stderr: float | None, documents: str = "same") -> Json:
    metric = {"value": value, "stderr": stderr, "n": 4, "higher_is_better": True}
    task = {"metrics": {"acc": metric, "other": metric}, "main": "acc", "samples": samples, "documents": documents}
    return {"tasks": {"task": task}}


def test_a_change_is_paired_over_the_same_documents() -> None:
    policy, reference = entry([1, 1, 0, 1], 0.75, 0.25), entry([1, 0, 0, 0], 0.25, 0.25)
    found = change(policy, reference)["task"]
    # d = 0, 1, 0, 1: mean 1/2, sd sqrt(1/3); Student's t with 3 degrees of freedom has its .975 quantile at 3.1824.
    error = math.sqrt(1 / 3) / 2
    expected = {"value": 0.5, "stderr": error, "low": 0.5 - 3.1824 * error, "high": 0.5 + 3.1824 * error, "n": 4}
    paired = found["acc"]
    assert {name: paired[name] for name in expected} == pytest.approx(expected, abs=1e-4) and paired["paired"] is True
    error = math.sqrt(2) / 4
    assert found["other"]["paired"] is False and found["other"]["stderr"] == pytest.approx(error)
    assert found["other"]["high"] == pytest.approx(0.5 + 1.959964 * error)


@pytest.mark.parametrize("other", [entry([], 0.25, 0.25), entry([1, 0, 0, 0], 0.25, 0.25, "others")])
def test_it_is_not_paired_without_the_scores_or_over_other_documents(other: Json) -> None:
    found = change(entry([1, 1, 0, 1], 0.75, 0.25), other)["task"]["acc"]
    assert found["paired"] is False and found["stderr"] == pytest.approx(math.sqrt(2) / 4) and found["n"] == 4


def test_a_change_without_a_standard_error_has_no_interval() -> None:
    found = change(entry([], 0.75, None), entry([], 0.25, 0.25))["task"]["acc"]
    assert (found["value"], found["stderr"], found["low"], found["high"]) == (0.5, None, None, None)
    assert change({"tasks": {}}, entry([], 0.25, 0.25)) == {}


REFUSED = {
    "a wrong name near the benchmark's": (["choise"], "no task 'choise', did you mean 'choice'?"),
    "a wrong name near one of lm-eval's": (
        ["hellaswagg"],
        r"did you mean 'hellaswag'\? Names .*`lm-eval ls tasks`",
    ),
    "no network": (["choice", "hellaswag"], "hellaswag: its data cannot be had .*with a network first"),
    "named twice": (["choice", "both"], "task choice is named twice, by choice and by both"),
    "unsafe": (["unsafe"], "runs code that a model has written"),
    "too long": (["long_answer"], "an answer may have 256 tokens, which leaves nothing of the model's context of 64"),
    "broken": (["broken"], "lm-eval cannot load the task .*guessing"),
    "nothing": ([], "names no task"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_refused_before_training(own: Path, case: str) -> None:
    names, said = REFUSED[case]
    with pytest.raises(InputError, match=said) as caught:
        check_tasks(names, [own], small.CONTEXT)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_what_can_be_run_is_let_through_without_a_look_at_lm_evals_own_tasks(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alignbench.evaluate import harness

    monkeypatch.setattr(harness, "_shipped_index", lambda: pytest.fail("10 s for nothing"))
    check_tasks(["both", "answer", "rolling"], [own], small.CONTEXT)
    check_tasks(["long_answer"], [own], 512)


def test_the_fingerprint_is_that_of_the_tasks_and_not_of_their_place(
    reviews: Any, grammar: Path, tmp_path: Path
) -> None:
    again = reviews.lm_eval_tasks(tmp_path / "elsewhere")
    assert fingerprint([again]) == fingerprint([grammar])
    (again / ".cache").mkdir()
    (again / ".cache" / "rows.arrow").write_text("the working copy of the data set library", encoding="utf-8")
    assert fingerprint([again]) == fingerprint([grammar])
    with (again / f"{GRAMMAR}.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    assert fingerprint([again]) != fingerprint([grammar])
