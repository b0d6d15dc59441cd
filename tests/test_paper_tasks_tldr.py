"""Benchmark `tldr`: columns of the published sets, votes, demonstrations, the shift to news."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alignbench import Completion, Demonstration, InputError, Pair, Prompt
from alignbench.plugins import create_benchmark, parse_objectives
from tests.paper_layouts import Row, comparison, named, save, tldr_prompt

TLDR: Any = importlib.import_module("alignbench.benchmarks.tldr").TLDR


def nobody(*_: object) -> list[list[Any]]:
    raise AssertionError("the data set brings its own completions")


def pairs(benchmark: Any, split: str) -> Sequence[Pair]:
    found: Sequence[Pair] = benchmark.preferences(split, nobody)
    return found


def held_out(tmp_path: Path, rows: list[Row]) -> dict[str, Pair]:
    """The usable pairs of some rows, by the title of their post."""
    source = save(tmp_path, {"train.parquet": named(30, comparison, "t"), "test.parquet": rows})
    return {
        pair.prompt.text.split("\n\n")[1].removeprefix("TITLE: About "): pair
        for pair in pairs(TLDR(source=source), "eval")
    }


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The export of openai/summarize_from_feedback; ten posts of the validation split are training posts as well."""
    return save(
        tmp_path / "openai",
        {
            "comparisons/train/0000.parquet": named(100, comparison, "a"),
            "comparisons/train/0001.parquet": named(50, comparison, "b"),
            "comparisons/validation/0000.parquet": named(10, comparison, "a") + named(20, comparison, "c"),
            "axis/test/0000.parquet": [{"summary": "no comparison"}],
        },
    )


def test_the_layout_of_the_hub(folder: str) -> None:
    benchmark = TLDR(source=folder)
    sizes = {split: len(pairs(benchmark, split)) for split in ("train", "judge", "eval")}
    assert sizes["train"] + sizes["judge"] == 140
    assert sizes["eval"] == 30
    assert benchmark.notes()["shared_prompts"] == 10
    trained = {pair.prompt for split in ("train", "judge") for pair in pairs(benchmark, split)}
    assert not trained & set(benchmark.prompts("eval"))
    assert TLDR(source=f"{folder}/comparisons").fingerprint() == benchmark.fingerprint()


def test_the_choice_says_which_summary_is_chosen(tmp_path: Path) -> None:
    found = held_out(tmp_path, [comparison("zero", 0), comparison("one", 1)])
    assert found["zero"] == Pair(
        Prompt("SUBREDDIT: r/all\n\nTITLE: About zero\n\nPOST: I am zero.\n\nTL;DR:"),
        Completion(" first zero"), Completion(" second zero"), (True,), 1,
    )  # fmt: skip
    assert (found["one"].chosen.text, found["one"].rejected.text) == (" second one", " first one")


def test_annotators_of_the_same_summaries_vote(tmp_path: Path) -> None:
    other = (" third", " fourth")
    rows = [
        *[comparison("many", choice, worker) for choice, worker in ((0, "v"), (1, "w"), (1, "x"))],
        comparison("many", 0, "w"),  # w has said something about these two before
        # The same two the other way round: 1 is what 0 was.
        comparison("turned", 0, "v"), comparison("turned", 1, "w", (" second turned", " first turned")),
        comparison("tied", 0, "v"), comparison("tied", 1, "w"),
        comparison("apart", 0, "v"), comparison("apart", 0, "v", other),
    ]  # fmt: skip
    found = held_out(tmp_path, rows)
    assert (found["many"].chosen.text, found["many"].votes) == (" second many", (False, True, True))
    assert (found["turned"].chosen.text, found["turned"].votes) == (" first turned", (True, True))
    assert "tied" not in found
    benchmark = TLDR(source=str(tmp_path))
    assert len(pairs(benchmark, "eval")) == 4
    assert "skipped 1 of 5 records: line 7 (choice: its 2 annotators are of two minds)" in benchmark.remarks()[0]


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    reasons = {
        "info: a news article, not a post": comparison("a", article="News."),
        "info.post: empty": comparison("b", post="  "),
        "info.title: missing": comparison("c", title=None),
        "choice: neither 0 nor 1": comparison("d", choice=2),
        "summaries: the two summaries are equal": comparison("e", texts=(" same", "same ")),
        "summaries[1].text: empty": comparison("f", texts=("one", " ")),
        "summaries: not two summaries": {**comparison("g"), "summaries": [{"text": "one"}]},
        "info: missing": {**comparison("h"), "info": None},
    }
    source = save(tmp_path, {"all.jsonl": [*named(40, comparison), *reasons.values()]})
    skipped = TLDR(source=source).notes()["files"][0]["skipped"]
    assert {f"{each['field']}: {each['reason']}": each["line"] for each in skipped} == dict(
        zip(reasons, range(41, 49), strict=True)
    )
    with pytest.raises(InputError, match=r"b\.jsonl holds no usable comparison: skipped 1 of 1 records: line 1 \(info"):
        TLDR(source=save(tmp_path / "b", {"b.jsonl": [comparison("a", article="News.")]})).prompts("eval")


def test_pairs_with_a_prompt_of_their_own(tmp_path: Path) -> None:
    """CarperAI's comparisons: no ending in the prompt, but before the summaries; trl-lib's: the whole prompt."""
    carper = [{"prompt": tldr_prompt("a", "\n", ""), "chosen": "TL;DR: good", "rejected": "TL;DR: bad"}]
    trl = [{"prompt": tldr_prompt("b"), "chosen": " good", "rejected": " bad"}]
    free = [{"prompt": "Some text.\nTL;DR:", "chosen": "good", "rejected": "bad"}]
    train = [{"prompt": tldr_prompt(f"t{i}"), "chosen": "x", "rejected": "y"} for i in range(30)]
    source = save(tmp_path, {"data/train-00000-of-00001.parquet": train, "data/valid1-00000-of-00001.parquet": train,
                             "data/test-00000-of-00001-ab.parquet": carper + trl + free})  # fmt: skip
    found = pairs(TLDR(source=source), "eval")
    assert {pair.prompt.text for pair in found} == {tldr_prompt("a"), tldr_prompt("b"), "Some text.\n\nTL;DR:"}
    assert {(pair.chosen.text, pair.rejected.text, pair.votes) for pair in found} == {(" good", " bad", ())}


def test_demonstrations(folder: str, tmp_path: Path) -> None:
    preferred = TLDR(source=folder, pretrained=True)
    assert preferred.demonstrations() == [Demonstration(p.prompt, p.chosen) for p in pairs(preferred, "train")]
    assert preferred.notes()["demonstrations"] == "the preferred summaries"
    written = [{"prompt": tldr_prompt(f"c{i}", "\n"), "label": f"mine {i}"} for i in range(25)]
    other = {"subreddit": "all", "title": "About z", "post": "I am z.", "summary": " mine"}
    posts = save(tmp_path / "posts", {"data/train-00000-of-00001-e8.parquet": written,
                                      "data/valid-00000-of-00001-0e.parquet": written[:3]})  # fmt: skip
    benchmark = TLDR(source=folder, posts=posts, scratch_passes=1)
    # c0 to c19 are held-out posts.
    assert benchmark.demonstrations() == [
        Demonstration(Prompt(tldr_prompt(f"c{i}")), Completion(f" mine {i}")) for i in range(20, 25)
    ]
    assert benchmark.fingerprint() != preferred.fingerprint()
    judged = [{"prompt": p.prompt.text, "label": "mine"} for p in pairs(benchmark, "judge")]
    beside = save(
        tmp_path / "judged", {"train.jsonl": [*judged, other | {"prompt": tldr_prompt("z"), "label": "mine"}]}
    )
    shown = TLDR(source=folder, posts=beside, scratch_passes=1).demonstrations()
    assert judged and [each.prompt.text for each in shown] == [tldr_prompt("z")], "what the judge reads is not shown"
    filtered = TLDR(source=folder, posts=save(tmp_path / "oai", {"train.jsonl": [other]}), pretrained=True)
    assert filtered.demonstrations() == [Demonstration(Prompt(tldr_prompt("z")), Completion(" mine"))]
    with pytest.raises(InputError, match=r"holds no post to learn from \(skipped 1 of 1 records: line 1 \(label: miss"):
        TLDR(source=folder, posts=save(tmp_path / "bad", {"a.jsonl": [{"prompt": "x"}]})).demonstrations()


def test_the_hub_brings_its_own_posts(folder: str) -> None:
    benchmark = TLDR()
    assert benchmark._demonstrations_from == "CarperAI/openai_summarize_tldr"
    with pytest.raises(
        InputError, match=r"^openai/summarize_from_feedback is no folder here, the hub cannot be reached"
    ):
        benchmark.demonstrations()
    with pytest.raises(InputError, match=r"^CarperAI/other is no folder here.*give posts=FOLDER"):
        TLDR(source=folder, posts="CarperAI/other").demonstrations()


def test_the_shift_to_news_trains_nothing(folder: str, tmp_path: Path) -> None:
    def articles(word: str, count: int) -> list[Row]:
        return [{"article": f"{word} {i}.\n", "highlights": f"h {i}", "id": str(i)} for i in range(count)]

    news = save(
        tmp_path / "news",
        {
            "3.0.0/test-00000-of-00001.parquet": [*articles("Test", 12), {"article": " ", "highlights": "h", "id": ""}],
            "3.0.0/validation-00000-of-00001.parquet": articles("Validation", 5),
            "3.0.0/train-00000-of-00003.parquet": articles("Train", 5),
            "1.0.0/test-00000-of-00001.parquet": articles("Old", 5),
        },
    )
    plain, shifted = TLDR(source=folder), TLDR(source=folder, shift=news)
    assert {prompt.text for prompt in shifted.prompts("eval")} == {f"Test {i}.\n\nTL;DR:" for i in range(12)}
    assert [prompt.text for prompt in shifted.prompts("eval")] != [f"Test {i}.\n\nTL;DR:" for i in range(12)]
    assert "shift" in TLDR.evaluation_fields
    assert shifted.fingerprint() == plain.fingerprint()
    for split in ("train", "judge", "eval"):
        assert pairs(shifted, split) == pairs(plain, split)
    assert shifted.prompts("train") == plain.prompts("train")
    assert shifted.notes()["shift_prompts"] == 12
    skipped, passed_over = shifted.remarks()[-2:]
    assert skipped == f"{news}: skipped 1 of 13 records: line 13 (article: empty)."
    assert passed_over.startswith(f"{news}: 12 articles, of which those that do not fit the model's context beside 64 ")
    assert plain.remarks() == shifted.remarks()[:-2]
    assert "shift" not in plain.notes()
    trained = save(tmp_path / "trained", {"train.jsonl": articles("Train", 5)})
    with pytest.raises(InputError, match="holds no data file of a split test or validation "):
        TLDR(source=folder, shift=trained).prompts("eval")
    with pytest.raises(InputError, match=r"^abisee/cnn_dailymail is no folder here.*give shift=FOLDER"):
        TLDR(source=folder, shift="abisee/cnn_dailymail").prompts("eval")
    with pytest.raises(
        InputError, match=r"holds no article to evaluate on \(skipped 1 of 1 records: line 1 \(article: m"
    ):
        TLDR(source=folder, shift=save(tmp_path / "bad", {"a.jsonl": [{"text": "x"}]})).prompts("eval")


def test_the_settings_of_the_paper() -> None:
    assert [spec.params["beta"] for spec in parse_objectives("dpo,kto,ppo", TLDR().defaults)] == [0.5] * 3
    assert TLDR.temperatures == (0.0, 0.25, 0.5, 0.75)
    assert TLDR.question == TLDR().question
    concise, simple = TLDR(), TLDR(judged_by="simple")
    assert "leaves out" in concise.question
    assert "leaves out" not in simple.question
    with pytest.raises(InputError, match="judged_by='long' must be concise or simple"):
        TLDR(judged_by="long")


def test_splits_that_hold_nothing_to_train_on(tmp_path: Path) -> None:
    source = save(tmp_path, {f"{name}.jsonl": named(3, comparison) for name in ("test", "valid")})
    with pytest.raises(InputError, match="has the splits test, validation: give a train and a test split, or one file"):
        TLDR(source=source).prompts("train")


def test_a_spec_names_hub_ids_and_folders() -> None:
    spec = create_benchmark("tldr:shift=abisee/cnn_dailymail:posts=a/b/c:judged_by=simple")
    assert (spec.plugin.shift, spec.plugin.posts, spec.plugin.judged_by) == ("abisee/cnn_dailymail", "a/b/c", "simple")
