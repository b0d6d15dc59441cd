from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from alignbench.doctor import examine, view
from alignbench.doctor.bags import matrices, words_of
from alignbench.doctor.markers import markers as separate
from alignbench.doctor.words import _balanced as balanced
from alignbench.doctor.words import _held_out, _mean, _Problem
from alignbench.doctor.words import shortcut as learn
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt, Ranking
from tests.doctor_records import WORDS, found, labels, pairs, planted, text

Records = Sequence[Pair] | Sequence[LabelledCompletion] | Sequence[Ranking]


# --- planted shortcuts ---


@pytest.mark.parametrize("kind", ["pairs", "labels", "rankings"])
def test_a_planted_word_is_named_first(kind: str) -> None:
    made = planted(pairs(160), "zebra")
    rankings = [
        Ranking(p.prompt, (p.chosen, *q.completions, p.rejected), p.line)
        for p, q in zip(made, pairs(160, 9), strict=True)
    ]
    records: Records = {"pairs": made, "labels": labels(made), "rankings": rankings}[kind]  # type: ignore[assignment]
    examination = examine(records)
    shortcut = found(examination, "shortcut")
    one, other = ("desirable", "undesirable") if kind == "labels" else ("chosen", "rejected")
    assert shortcut.level == ("look" if kind == "rankings" else "bad"), shortcut.said
    assert f'the strongest is "zebra" (160 {one}, 0 {other}) for {one}' in shortcut.said
    assert shortcut.lines == tuple(record.line for record in records if kind != "labels" or record.desirable)  # type: ignore[union-attr]
    assert examination.figures["words"][0]["word"] == "zebra"
    marks_ = found(examination, "markers")
    assert marks_.level == "bad" and marks_.said.startswith(f'The word "zebra" marks {one}: right in 100.0 %')
    assert marks_.lines == shortcut.lines
    figures = examination.figures["shortcut"]
    # A ranking's second pair has no zebra.
    accuracy = 0.75 if kind == "rankings" else 1.0
    assert (
        figures["accuracy"] == pytest.approx(accuracy, abs=0.07)
        and figures["low"] <= figures["accuracy"] <= figures["high"] <= 1
    )
    assert figures["baseline"] < 0.65


def test_a_word_of_the_rejected_side_and_a_name() -> None:
    records = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in planted(pairs(120), "Athene")]
    examination = examine(records)
    assert 'the strongest is "athene" (0 chosen, 120 rejected) for rejected' in found(examination, "shortcut").said
    assert found(examination, "markers").said.startswith('The name "Athene" marks rejected: ')
    words = examination.figures["words"]
    assert min(words, key=lambda word: word["weight"])["word"] == "athene" and len(words) <= 24


def test_half_a_shortcut_is_looked_at() -> None:
    records = planted(pairs(400), "zebra", 0.5)
    records[:9] = [replace(p, chosen=Completion("Zebra."), rejected=Completion("A zebra.")) for p in records[:9]]
    examination = examine(records)
    having = tuple(pair.line for pair in records[9:] if "zebra" in pair.chosen.text)
    assert found(examination, "markers").lines == found(examination, "shortcut").lines == having
    assert found(examination, "shortcut").level == "look"  # .75 on average: its interval begins below
    assert examination.figures["shortcut"]["accuracy"] == pytest.approx(0.75, abs=0.05)


def test_what_is_rare_is_not_named_although_it_is_certain() -> None:
    records = planted(pairs(2600), "zebra", 0.008)
    having = sum("zebra" in pair.chosen.text for pair in records)
    assert 18 <= having <= 25  # two to the power of -17 is beyond chance, and less than 1 % of the pairs
    assert separate(view.View(records))[0].level == "fine"


# --- nothing to find ---


def _swapped(records: list[Pair], seed: int) -> list[Pair]:
    rng = random.Random(seed)
    return [replace(p, chosen=p.rejected, rejected=p.chosen) if rng.random() < 0.5 else p for p in records]


def test_random_labels_name_nothing() -> None:
    """Twelve draws of labels, on texts that hold plenty of words: no false alarm, accuracies about one half."""
    alarms, accuracies = [], []
    for seed in range(12):
        seen = view.View(_swapped(planted(pairs(150, seed % 3), "zebra"), seed))
        shortcut, _, figures = learn(seen)
        assert figures is not None
        accuracies.append(figures["accuracy"])
        alarms += [finding.check for finding in (shortcut, separate(seen)[0]) if finding.level != "fine"]
    assert alarms == []
    # 1,800 held-out verdicts: a standard error of .012, and a little more because folds share their data.
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.04)


def test_random_labels_of_prompts_with_many_pairs_name_nothing() -> None:
    """Each prompt's completions have a word of their own, and its eight pairs the same order: 20 votes, not 160."""
    for seed in range(6):
        rng = random.Random(seed)
        made = []
        for i, pair in enumerate(pairs(160, seed, each=8)):
            own, other = (Completion(f"{pair.completions[k].text} {'zebra' if k == 0 else 'lion'}") for k in (0, 1))
            side = random.Random(1000 * seed + i // 8).random() < 0.5
            made.append(replace(pair, chosen=own if side else other, rejected=other if side else own))
        rng.shuffle(made)
        seen = view.View(made)
        assert separate(seen)[0].level == "fine"
        assert learn(seen)[0].level == "fine"


def test_words_of_a_prompt_are_not_told_by_its_own_pairs() -> None:
    """A word for each prompt tells its side: folds that shared prompts would learn it, held-out ones know nothing."""
    made = []
    for i, pair in enumerate(pairs(200, each=10)):
        side = random.Random(i // 10).random() < 0.5
        mine, theirs = (
            Completion(f"{y.text} {word}{i // 10}") for y, word in zip(pair.completions, ("own", "not"), strict=True)
        )
        made.append(replace(pair, chosen=mine if side else theirs, rejected=theirs if side else mine))
    _, _, figures = learn(view.View(made))
    assert figures is not None and figures["accuracy"] < 0.65


def test_length_alone_is_the_baseline() -> None:
    rng = random.Random(0)
    made = [
        Pair(Prompt(f"p {i}"), Completion(text(rng, 20)), Completion(" ".join(text(rng, 20) for _ in range(2))))
        for i in range(200)
    ]
    examination = examine(made)
    figures, finding = examination.figures["shortcut"], found(examination, "shortcut")
    gaps = [len(p.rejected.text.split()) - len(p.chosen.text.split()) for p in made]
    shorter = np.mean([0.5 if gap == 0 else gap > 0 for gap in gaps])
    assert figures["baseline"] == pytest.approx(shorter) and 0.85 < shorter < 0.97
    half = 1.96 * float(shorter * (1 - shorter) / 200) ** 0.5
    ends = (figures["baseline_low"], figures["baseline_high"])
    assert ends == pytest.approx((shorter - half, shorter + half), abs=0.015)
    # The words are but a way to count: none is named.
    assert figures["low"] > 0.75 and figures["gain_low"] <= 0 and (finding.level, finding.lines) == ("look", ())
    assert figures["gain"] == pytest.approx(figures["accuracy"] - figures["baseline"])
    assert finding.said.endswith("]; the words are not seen to tell more than the length does.")
    assert "length gap" in finding.advice and found(examination, "length_gap").level == "bad"
    # One that tells what the length does not is.
    told = learn(view.View(planted(made, "zebra")))[0]
    assert told.level == "bad" and '"zebra" (200 chosen, 0 rejected)' in told.said


@pytest.mark.parametrize("fewer", [0, 1])
def test_labels_of_equal_number_are_told_as_others(fewer: int) -> None:
    """Desirable are 30 words long, undesirable 10: a threshold, which no line through 0 finds."""
    rng = random.Random(0)
    given = [(" ".join(rng.choices(WORDS, k=30 if i < 150 else 10)), i < 150) for i in range(300 - fewer)]
    records = [LabelledCompletion(Prompt(f"p {i}"), Completion(y), good) for i, (y, good) in enumerate(given)]
    _, _, figures = learn(view.View(records))
    assert figures is not None and figures["accuracy"] > 0.95 and figures["baseline"] == 1.0


def test_which_side_is_called_chosen_changes_no_accuracy() -> None:
    made = planted(pairs(100), "zebra", 0.5)
    turned = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in made]
    (_, words, figures), (_, against, also) = (learn(view.View(given)) for given in (made, turned))
    assert figures == also and words[0]["weight"] == pytest.approx(-min(word["weight"] for word in against))


def test_labels_that_stand_under_few_prompts() -> None:
    """All undesirable ones under one prompt: no fold holds them out and learns them."""
    both = labels(pairs(60))
    one = [label if label.desirable else replace(label, prompt=Prompt("one")) for label in both]
    assert learn(view.View(one))[0].said == (
        "60 undesirable completions of 1 prompt are too few to learn which words tell the sides apart "
        "(50 of 10 prompts are needed)."
    )
    # Where a fold lacks a label it learns nothing: what it should tell counts half.
    y, group = np.repeat([1, -1], 5), np.array([0, 1, 2, 3, 4, *[5] * 5])
    problem = _Problem(None, np.arange(10.0)[:, None], y, group, np.ones(10), paired=False)
    assert list(_held_out(problem, problem.length)[5:]) == [0.5] * 5


def test_completions_of_several_prompts_are_told() -> None:
    """A third of the pairs has one canned answer: who has seen it knows it."""
    made = [
        replace(p, chosen=Completion("So, no.")) if i % 3 == 0 else p for i, p in enumerate(planted(pairs(120), "ox"))
    ]
    said, _, figures = learn(view.View(made))
    assert figures is not None and figures["known"] == pytest.approx(1 / 3)
    assert "; in 33.3 % of them a completion also stands under another prompt" in said.said
    same = [replace(p, prompt=made[0].prompt) if i % 3 == 0 else p for i, p in enumerate(made)]
    _, _, figures = learn(view.View(same))
    assert figures is not None and figures["known"] == 0


def test_an_accuracy_of_labels_is_balanced() -> None:
    """Six desirable to one: who always says desirable is right for .86 and has learnt nothing."""
    right, labelled = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0]), np.array([1, 1, 1, 1, -1, -1])
    assert balanced(right, labelled) == pytest.approx((3 / 4 + 1 / 2) / 2)
    always = _Problem(None, right[:, None], labelled, np.arange(6), np.ones(6), paired=False)
    assert _mean(always, (labelled > 0).astype(float), "always desirable", (0, 1)).value == 0.5
    both = labels(pairs(420))
    few = [label for label in both if label.desirable or (label.line or 0) % 12 == 0]
    assert (len(few), sum(label.desirable for label in few)) == (490, 420)
    figures = examine(few).figures["shortcut"]
    assert figures["accuracy"] == pytest.approx(0.5, abs=0.12) and figures["low"] < 0.5 < figures["high"]
    assert figures["baseline"] == pytest.approx(0.5, abs=0.12)
    fewer = found(examine(few[:300]), "shortcut")
    assert fewer.level == "unknown" and "42 undesirable completions of 42 prompts" in fewer.said


def test_too_few_pairs_or_prompts_or_words() -> None:
    for records in (pairs(49), pairs(90, each=10)):
        assert found(examine(records), "shortcut").level == "unknown"
    rare = [Pair(Prompt(f"p {i}"), Completion(f"a{i}"), Completion(f"b{i}")) for i in range(60)]
    assert "No word stands in 5 completions" in found(examine(rare), "shortcut").said
    assert found(examine(rare[:9]), "markers").level == "unknown"


# --- bags ---


def test_words_in_several_scripts() -> None:
    assert words_of("Don’t stop, it's 3pm_now!") == ["don't", "stop", "it's", "3pm", "now"]
    assert words_of("我喜欢猫 très ЁЖ") == ["我", "喜", "欢", "猫", "très", "ёж"]
    assert words_of("...") == []


def test_counts_by_hand() -> None:
    first, second, names = matrices([["a", "b", "a"], []], [["c"], ["a", "c"]])
    assert names == ["a", "b", "c"]
    assert first.toarray().tolist() == [[2, 1, 0], [0, 0, 0]] and second.toarray().tolist() == [[0, 0, 1], [1, 0, 1]]
