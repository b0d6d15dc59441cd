"""The benchmark `imdb`: who reads which review, prompts, pairs of the reference's samples, the gold reward."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from alignbench import Completion, InputError, Pair, Prompt
from alignbench.plugins import create
from tests.film_reviews import BAD, GOOD, made, named, write

_gold: Any = importlib.import_module("alignbench.benchmarks._imdb_gold")
_parts: Any = importlib.import_module("alignbench.benchmarks._imdb_parts")
_source: Any = importlib.import_module("alignbench.benchmarks._imdb_source")
Document, NamedClassifier = _source.Document, _gold.NamedClassifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reviews"))


@pytest.fixture(scope="module")
def imdb(folder: Path) -> Any:
    return made(folder)


class Writer:
    """Stands in for the reference: completions of a few words, some alike and some empty."""

    def __init__(self, words: Sequence[str] = (*GOOD, *BAD)) -> None:
        self.words, self.asked = words, Counter[str]()

    def __call__(self, prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        self.asked[purpose] += n * len(prompts)
        rng = Random(purpose)
        return [[Completion(" " + " ".join(rng.sample(self.words, 2))) for _ in range(n)] for _ in prompts]


# --- who reads what ---


def test_no_review_is_in_two_parts_and_their_order_changes_nothing(imdb: Any, folder: Path, tmp_path: Path) -> None:
    parts = {name: {document.text for document in part} for name, part in imdb._parts.items()}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(imdb._corpus.documents)
    assert all(len(part) > 10 for part in parts.values())
    for name in ("pos", "neg"):
        lines = (folder / f"rt-polarity.{name}").read_text().split("\n")
        (tmp_path / f"rt-polarity.{name}").write_text("\n".join(reversed(lines)))
    other = made(tmp_path)
    assert other._parts == imdb._parts and other.fingerprint() == imdb.fingerprint()


def test_shares_are_of_the_reviews(tmp_path: Path) -> None:
    shares = {"classifier": 0.4, "judge": 0.2, "eval": 0.1}
    parts = made(write(tmp_path, 2000), classifier_share=0.4, judge_share=0.2, eval_share=0.1)._parts
    total = sum(map(len, parts.values()))
    assert {name: pytest.approx(share, abs=0.03) for name, share in shares.items()} == {
        name: len(parts[name]) / total for name in shares
    }


def test_prompts_are_two_to_eight_first_words_and_apart(imdb: Any) -> None:
    seen: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for split in ("train", "judge", "eval"):
        prompts = [prompt.text for prompt in imdb.prompts(split)]
        seen.update(prompts)
        lengths.update(len(text.split()) for text in prompts)
        reviews = [document.text for document in imdb._parts[split]]
        assert all(any(review.startswith(f"{text} ") for review in reviews) for text in prompts)
    assert set(seen.values()) == {1}, "each in one split, once"
    assert set(lengths) == set(range(2, 9)) and min(lengths.values()) > 8


def test_an_opening_of_two_parts_is_a_prompt_of_one() -> None:
    parts = {part: [Document("so it", True), Document(f"{part} is", True)] for part in ("train", "judge", "eval")}
    found = _parts.openings(parts)
    assert [[prompt.text for prompt in found[split]] for split in ("eval", "judge", "train")] == [
        ["so", "eval"], ["judge"], ["train"],
    ]  # fmt: skip


def test_demonstrations_are_the_training_reviews_from_their_third_word(imdb: Any, folder: Path) -> None:
    shown = imdb.demonstrations()
    held_out = [prompt.text for split in ("judge", "eval") for prompt in imdb.prompts(split)]
    everything = {document.text for document in imdb._parts["train"]}
    reviews = {text for text in everything if not any(f"{text} ".startswith(f"{opening} ") for opening in held_out)}
    assert len(shown) == imdb.scratch_reviews and 0 < len(reviews) < len(everything)
    assert {f"{each.prompt.text}{each.completion.text}" for each in shown} == reviews
    assert all(len(each.prompt.text.split()) == 2 and each.completion.text[0] == " " for each in shown)
    assert len(made(folder, pretrained=True).demonstrations()) == len(reviews), "a named model reads each once"
    assert set(imdb.stages().corpus()) == everything


# --- pairs ---


def golds(imdb: Any, pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """The rewards of what is chosen, and of what is rejected."""
    prompts = [pair.prompt for pair in pairs]
    return imdb.gold(prompts, [pair.chosen for pair in pairs]), imdb.gold(prompts, [pair.rejected for pair in pairs])


def test_four_samples_make_six_pairs_and_the_gold_reward_decides(imdb: Any) -> None:
    writer = Writer(tuple(f"{a}{b}" for a in (*GOOD, *BAD, "x", "y") for b in ("", " film", " plot", " cast")))
    pairs = imdb.preferences("train", writer)
    prompts = imdb.prompts("train")[:600]
    assert writer.asked == {"train": 4 * len(prompts)}
    by_prompt: dict[Prompt, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt, []).append(pair)
    full = [found for found in by_prompt.values() if len(found) == 6]
    assert len(full) > len(prompts) / 2
    for found in full:
        assert len({completion for pair in found for completion in pair.completions}) == 4
    assert all(better > worse for better, worse in zip(*golds(imdb, pairs), strict=True))
    assert not any(pair.votes for pair in pairs), "one classifier, no annotators"
    assert imdb.preferences("train", writer) == pairs


def test_ties_and_empty_completions_make_no_pair(imdb: Any) -> None:
    texts = [" lovely", " lovely", " ", "  lovely", " dull"]

    def sample(prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        return [[Completion(text) for text in texts] for _ in prompts]

    pairs = made(Path(imdb.source), samples=5, train_prompts=1).preferences("train", sample)
    assert [(pair.chosen.text.strip(), pair.rejected.text) for pair in pairs] == [("lovely", " dull")] * 2


def test_each_held_out_prompt_has_one_pair(imdb: Any) -> None:
    writer = Writer()
    pairs = imdb.preferences("eval", writer)
    assert len({pair.prompt for pair in pairs}) == len(pairs) <= 256
    assert writer.asked["eval"] == 2 * min(256, len(imdb.prompts("eval")))


def test_noise_makes_annotators(folder: Path) -> None:
    noisy = made(folder, noise=2.0)
    pairs = noisy.preferences("train", Writer())
    margins = [better - worse for better, worse in zip(*golds(noisy, pairs), strict=True)]
    right = sum(margin > 0 for margin in margins) / len(pairs)
    expected = sum(torch.tensor([abs(margin) / 2]).sigmoid().item() for margin in margins) / len(pairs)
    assert right == pytest.approx(expected, abs=0.05) and right < 0.9
    assert all(pair.votes[0] for pair in pairs) and 0.5 < sum(pair.votes[1] for pair in pairs) / len(pairs) < 0.9


def test_how_many_prompts_are_sampled_from(folder: Path) -> None:
    def asked(split: str, **values: Any) -> int:
        writer = Writer()
        made(folder, **values).preferences(split, writer)
        return writer.asked[split]

    there = len(made(folder).prompts("train"))
    assert asked("train", train_prompts=7) == 28 and asked("judge", judge_prompts=5, samples=3) == 15
    assert asked("eval", eval_pairs=3) == 6
    assert asked("train", train_prompts=10_000) == asked("train", pretrained=True) == 4 * there


# --- the gold reward ---


def test_gold_is_the_same_twice_and_rises_with_good_words(imdb: Any, folder: Path) -> None:
    prompt = Prompt("the film")

    def gold(text: str, of: Any = imdb) -> float:
        return float(of.gold([prompt], [Completion(text)])[0])

    ordered = [
        " dull and tedious .",
        " dull with a cast",
        " with a cast",
        " lovely with a cast",
        " lovely and clever .",
    ]
    rewards = [gold(text) for text in ordered]
    assert rewards == sorted(rewards) and rewards[0] < 0 < rewards[-1] and len(set(rewards)) == 5
    assert [gold(text, made(folder)) for text in ordered] == rewards
    assert gold(" lovely lovely lovely") == gold(" lovely"), "a word said twice counts once"
    assert gold("lovely") == gold(" lovely"), "some tokenizers drop the space"
    assert imdb.gold([], []) == []


def test_gold_reads_the_prompt_as_well(imdb: Any) -> None:
    plain, praised = imdb.gold([Prompt("the film"), Prompt("the lovely film")], [Completion(" with a cast")] * 2)
    assert praised > plain


def test_the_classifier_is_right_on_real_sentences(data_folder: Path) -> None:
    real = made(data_folder / "rt-polarity")
    found = real.notes()["classifier"]["accuracy"]
    assert 0.7 < found["low"] < found["value"] < found["high"] < 0.8 and found["n"] == 5000
    assert f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in real.remarks()[-1]
    held_out = {document.text for document in real._parts["classifier"]}
    assert not held_out & {document.text for part in ("train", "judge", "eval") for document in real._parts[part]}


def test_accuracy_has_wilsons_interval() -> None:
    class Always:
        def score(self, texts: Sequence[str]) -> list[float]:
            return [1.0] * len(texts)

    documents = [Document(str(i), i < 8) for i in range(10)]
    # (p + z^2 / 2n) / (1 + z^2 / n) and so on for 8 of 10, z = 1.959964
    assert _gold.accuracy(Always(), documents) == pytest.approx((0.8, 0.490162, 0.943318, 10), abs=1e-6)


# --- what a run asks ---


def test_the_fingerprint_is_of_the_reviews_and_the_classifier(imdb: Any, folder: Path, tmp_path: Path) -> None:
    assert made(folder).fingerprint() == imdb.fingerprint()
    other = made(write(tmp_path / "other", seed=1))
    source = named(tmp_path / "classifier")
    judged = made(folder, classifier=source)
    prints = [imdb.fingerprint(), other.fingerprint(), judged.fingerprint()]
    config = Path(source) / "config.json"
    config.write_text(config.read_text().replace("0.02", "0.03") + "\n")
    prints.append(made(folder, classifier=source).fingerprint())
    assert len(set(prints)) == 4


def test_the_fingerprint_covers_every_file_of_the_benchmark(imdb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = imdb.fingerprint(), list[str]()
    genuine = Path.read_bytes

    def altered(path: Path) -> bytes:
        read.append(path.name)
        return genuine(path) + (b"#" if path.name == "_imdb_parts.py" else b"")

    monkeypatch.setattr(Path, "read_bytes", altered)
    assert imdb.fingerprint() != before
    folder = Path(_gold.__file__).parent
    assert sorted(read) == sorted(["imdb.py", *(path.name for path in folder.glob("_imdb*.py"))])


def test_the_papers_settings_for_a_named_model(folder: Path) -> None:
    paper = made(folder, pretrained=True)
    trained = {name: paper.training(type(create(name))) for name in ("dpo", "kto", "ppo", "reward_model", "sft")}
    dpo, kto = trained["dpo"], trained["kto"]
    assert (dpo.optimizer, dpo.learning_rate, dpo.batch_size) == ("rmsprop", 1e-6, 64)
    assert kto.batch_size == 128 and kto.optimizer == "rmsprop"
    assert {name: trained[name].learning_rate for name in ("ppo", "reward_model", "sft")} == {
        "ppo": 3e-6, "reward_model": 3e-6, "sft": 2e-5,
    }  # fmt: skip
    steps = 6 * len(paper.prompts("train")) // 64
    assert dpo.warmup_steps == steps // 10, "a tenth of less than 1,500"


def test_the_warm_up_of_a_long_run_is_the_papers(folder: Path) -> None:
    long = made(folder, pretrained=True, epochs=200.0)
    assert long.training(type(create("dpo"))).warmup_steps == 150


def test_beta_is_everybodys(imdb: Any, folder: Path) -> None:
    kinds = {name: type(create(name)) for name in ("dpo", "ppo", "orpo")}
    assert [dict(imdb.defaults(kinds[name])) for name in kinds] == [{"beta": 0.1}, {"beta": 0.1}, {}]
    assert made(folder, beta=0.5).defaults(kinds["dpo"]) == {"beta": 0.5}


@pytest.mark.parametrize(
    ("count", "values", "said"),
    [
        (400, {"classifier_share": 0.5, "judge_share": 0.3, "eval_share": 0.2}, "leave no review to train on"),
        (400, {"classifier_share": 0.0}, r"no reviews of both labels to train a classifier on \(0 of "),
        (400, {"judge_share": 0.0}, "leaves no prompt for the judge split"),
        (4, {}, "give more"),
    ],
)
def test_too_little_for_a_part_is_refused(count: int, values: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        made(write(tmp_path, count), **values).remarks()
