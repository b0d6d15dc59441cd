"""What the small language-model judge of the benchmark `reviews` learns from: two reviews, which is better, why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random

from alignbench import Completion, Demonstration, Prompt, comparison_prompt

from ._review_gold import gold
from ._review_grammar import complete

GRADES = ("1", "2", "3", "4", "5")
REVIEWERS = 4  # for each opening; the best and the worst of what they say are compared
SENTENCE = 2.0  # a sentence is worth about half as much as a review, and is graded on a scale of its own

Phases = list[list[Demonstration]]


def lessons(question: str, prompts: Sequence[Prompt], count: int, noise: float, rng: Random) -> Phases:
    """Two phases: sentences on half as many openings as there are lessons, then `count` pairs of whole reviews.

    Each pair is shown in both orders. The answer goes on with the grades of A and of B ("A 4 2"), of which the judge
    that is asked never gets to speak: they say why, and give a lesson three tokens to learn from instead of one. Grades
    are 3 + gold, and which is better follows the gold rewards with probability sigmoid((g_1 - g_2) / noise); graders
    are off by a normal error of standard deviation `noise`.
    """
    teacher = _Teacher(question, noise, rng)
    short: list[Demonstration] = []
    whole: list[Demonstration] = []
    for i in range(count):
        opening = prompts[i % len(prompts)].text
        reviews = [_sentences(complete(opening, rng).rest) for _ in range(REVIEWERS)]
        if i % 2 == 0:
            short += teacher.compared("", [said for review in reviews for said in review[1:]], SENTENCE)
        whole += teacher.compared(opening, _mixed(reviews))
    return [short, whole]


class _Teacher:
    def __init__(self, question: str, noise: float, rng: Random) -> None:
        self.question, self.noise, self.rng = question, noise, rng

    def compared(self, opening: str, texts: Sequence[str], scale: float = 1.0) -> Iterator[Demonstration]:
        """The best of the texts against the worst, in both orders; without an opening the prompt is left out."""
        scored = sorted((gold(opening, text), text) for text in texts)
        (low, bad), (high, good) = scored[0], scored[-1]
        right = self.rng.random() < 1 / (1 + math.exp((low - high) / self.noise))
        better, worse = (good, bad) if right else (bad, good)
        grades = {text: self._grade(scale * value) for value, text in (scored[0], scored[-1])}
        for answer, a, b in (("A", better, worse), ("B", worse, better)):
            asked = comparison_prompt(self.question, opening, a, b)
            asked = asked if opening else asked[asked.index("\nA :") + 1 :]
            yield Demonstration(Prompt(asked), Completion(f"{answer} {grades[a]} {grades[b]}", ended=False))

    def _grade(self, value: float) -> str:
        return GRADES[round(min(4, max(0, 2 + value + self.rng.gauss(0, self.noise))))]


def _sentences(text: str) -> list[str]:
    return [f"{sentence.strip()} ." for sentence in text.split(" .") if sentence.strip()]


def _mixed(reviews: Sequence[Sequence[str]]) -> list[str]:
    """As many reviews, each sentence by another reviewer; first sentences stay first, since they go on from openings.

    A reviewer is of one mind, so that one clause gives his review away; a language model's reviews are not.
    """
    texts = []
    for first, review in enumerate(reviews):
        places = range(len(review))
        sources = [reviews[(first + place) % len(reviews)] for place in places]
        texts.append(
            " ".join(source[min(place, len(source) - 1)] for place, source in zip(places, sources, strict=True))
        )
    return texts
