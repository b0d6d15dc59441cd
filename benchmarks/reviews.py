"""Benchmark `reviews`: the controlled-sentiment experiment of the DPO paper in small, with nothing to download."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from alignbench import (
    Benchmark,
    Completion,
    Count,
    Demonstration,
    Objective,
    Pair,
    Positive,
    Prompt,
    Sampler,
    SmallModel,
    Split,
    Stages,
    Training,
    comparison_prompt,
)

from ._rates import PRETRAINED
from ._review_gold import gold
from ._review_grammar import complete, openings

GRADES = ("1", "2", "3", "4", "5")
FROM_SCRATCH = Training(learning_rate=4e-3, batch_size=32, warmup_steps=20)
FINE_TUNING = Training(learning_rate=1e-3, batch_size=32, warmup_steps=20)
OFFLINE = Training(learning_rate=2.5e-4, batch_size=32, warmup_steps=10)
ONLINE = Training(learning_rate=2.5e-4, batch_size=64, warmup_steps=10)
OPENINGS = 12000  # drawn once; every split takes its own part of them


@dataclass(frozen=True)
class Reviews(Benchmark):
    """Film reviews from a grammar: make them favourable. The reference is a small language model of the grammar.

    A prompt is the opening of a review, a completion the rest. Preference pairs are two of the reference's own samples;
    each of two annotators prefers the one of higher gold reward with probability sigmoid((g_1 - g_2) / noise), by
    himself; the first one's vote is the label. The gold reward is sentiment with negation, degree and contrast, less a
    cost for broken and repetitive text; no learner sees it.
    """

    question: ClassVar[str] = "which review is better ?"

    eval_prompts: Count = 256
    max_new_tokens: Count = 40
    reward_epochs: Positive = 2.0
    pairs: Count = 2600
    eval_pairs: Count = 256
    judge_pairs: Count = 2000
    demonstrations_count: Count = 20000
    lessons: Count = 7000
    noise: Positive = 0.3
    layers: Count = 2
    width: Count = 128
    world: int = 0

    def stages(self) -> Stages:
        shape = SmallModel(tokenizer="words", layers=self.layers, width=self.width, heads=4, context=192)
        judged = self._at(FINE_TUNING, PRETRAINED.demonstrations)
        return Stages("sft", "reward_model", shape, self._corpus, self._judge_lessons, judged)

    def demonstrations(self) -> Sequence[Demonstration]:
        return self._demonstrations

    @cached_property
    def _demonstrations(self) -> list[Demonstration]:
        rng = Random(f"{self.world}/demonstrations")
        prompts = self.prompts("train")
        drawn = (complete(prompts[i % len(prompts)].text, rng) for i in range(self.demonstrations_count))
        return [Demonstration(Prompt(review.opening), Completion(review.rest)) for review in drawn]

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Six parts of ten train, two judge, two evaluate; an opening's part depends on nothing but its words."""
        return [Prompt(text) for text in self._openings if _part(text) == split]

    def preferences(self, split: Split, sample: Sampler) -> Sequence[Pair]:
        count = {"train": self.pairs, "judge": self.judge_pairs, "eval": self.eval_pairs}[split]
        prompts = self.prompts(split)[:count]
        rng = Random(f"{self.world}/annotators/{split}")
        pairs = []
        for prompt, (one, two) in zip(prompts, sample(prompts, 2, split), strict=True):
            if one.text and two.text and one.text != two.text:
                pairs.append(self._annotated(prompt, one, two, rng))
        return pairs

    def gold(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        return [gold(x.text, y.text) for x, y in zip(prompts, completions, strict=True)]

    def training(self, objective: type[Objective[Any]]) -> Training:
        """One rule for all: the same batch, optimizer, warm-up and clipping, and one learning rate for each kind.

        From scratch 4e-3: after 30 s of one core the small model stood at 1.58 nats a held-out token, against 1.67 at
        3e-3 (three layers) and 1.69 at 2e-3 (three layers, batches of 64). What starts from it takes a quarter (reward
        model and judge), and policies a sixteenth: OFFLINE for every offline objective alike, ONLINE for online ones,
        whose batches are larger because a rollout of 64 costs little more than one of 32. At an eighth the KL of an
        offline objective swung to 25 nats and back during training, so the rate was halved once, for both kinds. Tuning
        with equal trials for every objective is another command's work; no claim about a winner can be made before.
        A model that the user names takes the rates of `_rates.py`.
        """
        if objective.trains == "reward":
            settings, rate = FINE_TUNING, PRETRAINED.reward
        elif "demonstrations" in objective.needs:
            settings, rate = FROM_SCRATCH, PRETRAINED.demonstrations
        elif "sampling" in objective.needs:
            settings, rate = ONLINE, PRETRAINED.online
        else:
            settings, rate = OFFLINE, PRETRAINED.offline
        return self._at(settings, rate)

    def _at(self, settings: Training, pretrained: float) -> Training:
        return replace(settings, learning_rate=pretrained) if self.pretrained else settings

    def fingerprint(self) -> str:
        """Of the code that makes the world."""
        folder = Path(__file__).parent
        names = ("reviews.py", "_review_gold.py", "_review_grammar.py", "_review_words.py")
        return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()[:16]

    @cached_property
    def _openings(self) -> list[str]:
        return openings(OPENINGS, Random(f"{self.world}/openings"))

    def _annotated(self, prompt: Prompt, one: Completion, two: Completion, rng: Random) -> Pair:
        margin = (gold(prompt.text, one.text) - gold(prompt.text, two.text)) / self.noise
        first, second = (rng.random() < 1 / (1 + math.exp(-margin)) for _ in range(2))
        chosen, rejected = (one, two) if first else (two, one)
        return Pair(prompt, chosen, rejected, votes=(True, first == second))

    def _corpus(self) -> list[str]:
        texts = [f"{d.prompt.text} {d.completion.text}" for d in self.demonstrations()]
        return [
            *texts,
            comparison_prompt(self.question, "", "", ""),
            _grading(self.question, "", "") + " ".join(GRADES),
        ]

    def _judge_lessons(self) -> list[list[Demonstration]]:
        """First grading single reviews, then comparing two: a small model learns to compare only when it can grade.

        The reviews are people's own, on prompts that nothing else is trained on; graders and annotators are as noisy as
        those of the preference data. Each comparison is shown in both orders.
        """
        rng = Random(f"{self.world}/judge lessons")
        prompts = self.prompts("judge")
        grading, comparing = [], []
        for i in range(self.lessons):
            prompt = prompts[i % len(prompts)]
            one, two = (Completion(complete(prompt.text, rng).rest) for _ in range(2))
            grade = round(min(5, max(1, 3 + gold(prompt.text, one.text) + rng.gauss(0, self.noise))))
            asked = Prompt(_grading(self.question, prompt.text, one.text))
            grading.append(Demonstration(asked, Completion(str(grade), ended=False)))
            pair = self._annotated(prompt, one, two, rng)
            for answer, (a, b) in (("A", (pair.chosen, pair.rejected)), ("B", (pair.rejected, pair.chosen))):
                asked = Prompt(comparison_prompt(self.question, prompt.text, a.text, b.text))
                comparing.append(Demonstration(asked, Completion(answer, ended=False)))
        return [grading, comparing]


def _part(text: str) -> Split:
    tenth = hashlib.sha256(text.encode()).digest()[0] % 10
    return "train" if tenth < 6 else "judge" if tenth < 8 else "eval"


def _grading(question: str, prompt: str, text: str) -> str:
    """The judge's prompt as far as its first review, then the question for a grade."""
    return comparison_prompt(question, prompt, text, "").partition("\nB :")[0] + "\nGrade :"
