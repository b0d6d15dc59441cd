"""The benchmark `reviews`: disjoint prompts, two annotators of their own mind, a judge's prompt that fits."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from alignbench import Completion, Demonstration, Pair, Prompt, comparison_prompt
from alignbench.plugins import create, find


@pytest.fixture(scope="module")
def reviews() -> Any:
    return find("benchmark", "reviews")(pairs=400, judge_pairs=100, eval_pairs=60, demonstrations_count=200, lessons=60)


class Writer:
    """Stands in for the reference: two reviews of the grammar for each prompt."""

    def __init__(self, reviews: Any) -> None:
        self.reviews, self.rng = reviews, Random(3)

    def __call__(self, prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        texts = iter([d.completion for d in self.reviews.demonstrations()] * 20)
        return [[next(texts) for _ in range(n)] for _ in prompts]


def test_prompts_of_the_splits_are_disjoint_and_plenty(reviews: Any) -> None:
    train, judge, evaluation = ({p.text for p in reviews.prompts(split)} for split in ("train", "judge", "eval"))
    assert not train & judge and not train & evaluation and not judge & evaluation
    assert len(train) > 3000 and len(judge) > 2000 and len(evaluation) > 2000
    assert {d.prompt.text for d in reviews.demonstrations()} <= train


def test_the_world_is_the_same_twice_and_another_with_another_number(reviews: Any) -> None:
    again, other = (create(f"reviews:demonstrations_count=200:world={k}", "benchmark") for k in (0, 1))
    assert again.demonstrations() == reviews.demonstrations()
    assert other.demonstrations() != reviews.demonstrations()


def test_two_annotators_follow_the_gold_reward_each_by_himself(reviews: Any) -> None:
    pairs: list[Pair] = reviews.preferences("train", Writer(reviews))
    margins = []
    for pair in pairs:
        good, bad = reviews.gold([pair.prompt] * 2, [pair.chosen, pair.rejected])
        margins.append(good - bad)
        assert pair.votes[0], "the first annotator's vote is the label"
    agreed = sum(pair.votes[1] for pair in pairs) / len(pairs)
    right = sum(margin > 0 for margin in margins) / sum(margin != 0 for margin in margins)
    assert 0.75 < right < 1, "labels are noisy, and better than chance"
    assert 0.7 < agreed < 1, "the second annotator is not the first"
    clear = [pair.votes[1] for pair, margin in zip(pairs, margins, strict=True) if margin > 2]
    assert clear and sum(clear) > 0.95 * len(clear), "nobody misses a clear difference"


def read(lesson: Demonstration) -> tuple[str, str, str, list[str]]:
    """Opening ("" in a lesson about sentences), text of A, text of B, and the words of the answer."""
    lines = dict(line.split(" : ", 1) for line in lesson.prompt.text.split("\n") if " : " in line)
    return lines.get("Prompt", ""), lines["A"], lines["B"], lesson.completion.text.split()


def test_the_judge_is_taught_in_its_own_prompt(reviews: Any) -> None:
    short, whole = reviews.stages().judge_lessons()
    assert (len(short), len(whole)) == (60, 120)
    judged = {p.text for p in reviews.prompts("judge")}
    for lesson in whole:
        opening, a, b, _ = read(lesson)
        assert lesson.prompt.text == comparison_prompt(reviews.question, opening, a, b)
        assert opening in judged, "nothing else is trained on these"
    for lesson in short:
        _, a, b, _ = read(lesson)
        assert comparison_prompt(reviews.question, "", a, b).endswith("\n" + lesson.prompt.text)
        assert a.count(" .") == b.count(" .") == 1, "one sentence each"


def test_each_pair_is_taught_in_both_orders_with_the_grades_of_both(reviews: Any) -> None:
    for phase in reviews.stages().judge_lessons():
        for one, two in zip(phase[::2], phase[1::2], strict=True):
            (opening, a, b, (answer, left, right)), swapped = read(one), read(two)
            assert (answer, swapped) == ("A", (opening, b, a, ["B", right, left]))
            assert not one.completion.ended and {left, right} <= set("12345")


def test_lessons_follow_the_gold_reward(reviews: Any) -> None:
    for phase in reviews.stages().judge_lessons():
        margins, wrong = [], 0
        for lesson in phase[::2]:
            opening, a, b, (_, left, right) = read(lesson)
            good, bad = reviews.gold([Prompt(opening)] * 2, [Completion(a), Completion(b)])
            margins.append(good - bad)
            wrong += (good - bad) * (int(left) - int(right)) < 0
        assert sum(margin > 0 for margin in margins) > 0.9 * len(margins), "the better one was called better"
        assert wrong <= 0.1 * len(margins), "and was given the better grade"
        assert sum(map(abs, margins)) > 0.8 * len(margins), "they are far apart: the best against the worst of some"


def test_the_small_model_knows_every_word_of_the_lessons(reviews: Any) -> None:
    stages = reviews.stages()
    known = {word for text in stages.corpus() for word in text.split()}
    taught = [lesson for phase in stages.judge_lessons() for lesson in phase]
    assert set("AB12345") <= {word for x in taught for word in x.completion.text.split()} <= known
    layout = comparison_prompt(reviews.question, "", "", "").split()
    assert set(layout) <= known


def test_one_learning_rate_for_all_offline_objectives(reviews: Any) -> None:
    rates = {name: reviews.training(find("objective", name)).learning_rate for name in ("dpo", "kto", "preferred_ft")}
    assert len(set(rates.values())) == 1
    named = find("benchmark", "reviews")(pretrained=True)
    assert named.training(find("objective", "dpo")).learning_rate < 1e-5, "a model of the user's is not torn apart"
