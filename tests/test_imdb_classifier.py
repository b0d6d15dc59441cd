"""A sequence classifier that the user names as the gold reward of the benchmark `imdb`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from alignbench import Completion, InputError, Prompt
from tests.film_reviews import made, named, write

_gold: Any = importlib.import_module("alignbench.benchmarks._imdb_gold")
NamedClassifier = _gold.NamedClassifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reviews"))


def test_a_named_classifier_gives_its_log_odds_whatever_else_is_in_the_batch(tmp_path: Path) -> None:
    source = named(tmp_path, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1})
    classifier = NamedClassifier(source)
    texts = ["the film", "a lovely and clever film with a cast", "x " * 100]
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    model = hf.AutoModelForSequenceClassification.from_pretrained(source).eval()
    with torch.no_grad():
        probabilities = [
            model(torch.tensor([tokenizer(text)["input_ids"][:32]])).logits.softmax(1)[0].tolist() for text in texts
        ]
    expected = [torch.tensor(p / q).log().item() for q, p in probabilities]
    assert classifier.score(texts) == pytest.approx(expected, abs=1e-4)
    assert [classifier.score([text])[0] for text in texts] == pytest.approx(expected, abs=1e-4)


def test_which_class_is_positive_is_read_from_its_name(tmp_path: Path) -> None:
    first, second = ({0: a, 1: b} for a, b in (("Positive", "Negative"), ("neg", "pos")))
    configs: tuple[dict[str, Any], ...] = ({"id2label": first}, {"id2label": second}, {})
    turned, plain, unnamed = (NamedClassifier(named(tmp_path / str(i), **config)) for i, config in enumerate(configs))
    score = plain.score(["a lovely film"])[0]
    assert score != 0 and turned.score(["a lovely film"]) == [-score] and unnamed.score(["a lovely film"]) == [score]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_labels": 3}, "it has 3 outputs, one or two can be read"),
        ({"id2label": {0: "happy", 1: "sad"}}, r"labels are happy and sad, .* name one of them positive"),
    ],
)
def test_a_classifier_that_cannot_be_read_is_refused(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        NamedClassifier(named(tmp_path, **config))


def test_a_named_classifier_is_the_gold_reward(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gold, "WordClassifier", None)
    source = named(tmp_path)
    judged = made(folder, classifier=source)
    assert judged.gold([Prompt("the film")], [Completion("is lovely")]) == NamedClassifier(source).score(
        ["the film is lovely"]
    )
    found = judged.notes()
    assert found["classifier"]["of"] == source and found["classifier"]["accuracy"]["n"] == 100
    assert found["documents"]["classifier"] == 0, "it reads none, and the language models the more"
    assert found["documents"]["train"] > len(made(folder)._parts["train"])
    assert judged._classifier._model.model.device.type == "cpu"
    assert made(folder, classifier=source, device="meta")._classifier._model.model.device.type == "meta"
    assert judged.remarks()[-1].startswith(f"the gold reward is that of {source}")


def test_a_classifier_that_is_not_there_is_one_sentence(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        made(folder, classifier="./nowhere").remarks()
