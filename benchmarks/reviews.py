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
from ._review_lessons import GRADES, lessons
from ._review_pairs import minimal_pairs, write_task

FROM_SCRATCH = Training(learning_rate=4e-3, batch_size=32, warmup_steps=20)
FINE_TUNING = Training(learning_rate=1e-3, batch_size=32, warmup_steps=20)
JUDGING = Training(learning_rate=1e-3, batch_size=16, warmup_steps=20)
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
        judged = self._at(JUDGING, PRETRAINED.demonstrations)
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

    def lm_eval_tasks(self, folder: Path) -> Path:
        """`reviews_grammar`: minimal pairs after openings that nothing is trained on."""
        openings = [prompt.text for prompt in self.prompts("eval")]
        return write_task(folder, minimal_pairs(openings, f"{self.world}/grammar"))

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
        names = ("reviews.py", "_review_gold.py", "_review_grammar.py", "_review_lessons.py", "_review_words.py")
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
        # No lesson says "Grade" any more: without the word every model made from scratch would be another one.
        return [*texts, comparison_prompt(self.question, "", "", ""), " ".join(["Grade :", *GRADES])]

    def _judge_lessons(self) -> list[list[Demonstration]]:
        """Sentences first, the best of a few against the worst of them, then whole reviews (`_review_lessons.lessons`).

        The reviews are people's own, on prompts that nothing else is trained on, each sentence by another reviewer.
        Graders and annotators are as noisy as those of the preference data.

        Measured with three draws and orders of the lessons, on the reference's own held-out pairs, both orders asked:
        agreement with gold .760, .764 and .740, contradictions .08, .11 and .11; on 1,023 more such pairs .790 to .794.
        Before, with 7,000 grades of single reviews and then 14,000 comparisons of any two, answered A or B alone (as
        many tokens, batches of 32): .594, .713 and .670, contradictions .44, .27 and .30, because for long that model
        learned only that A is as frequent as B. The labels of these pairs agree with gold on .89.

        Chosen on 800 other pairs of the reference, one trial each (agreement, contradictions): sentences, then whole
        reviews of any two people .758 and .20, mixed reviews .777 and .15, the best against the worst of four mixed
        ones .783 and .10; mixed without grades in the answer .749 and .12, with twice the sentences .735 and .21.
        """
        rng = Random(f"{self.world}/judge lessons")
        return lessons(self.question, self.prompts("judge"), self.lessons, self.noise, rng)


def _part(text: str) -> Split:
    tenth = hashlib.sha256(text.encode()).digest()[0] % 10
    return "train" if tenth < 6 else "judge" if tenth < 8 else "eval"
