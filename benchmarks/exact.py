"""Benchmark `exact`: a world in which every completion can be enumerated, so that the best policy is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import exp
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from alignbench import (
    Benchmark,
    Completion,
    Count,
    Demonstration,
    Enumeration,
    InputError,
    Objective,
    Pair,
    Positive,
    Prompt,
    Range,
    Sampler,
    SmallModel,
    Split,
    Stages,
    Training,
)

WORDS = tuple("abcdefghijkl")
PROMPTS, PROMPT_LENGTH = 8, 4

FROM_SCRATCH = Training(learning_rate=2e-3, batch_size=64, warmup_steps=20)
FINE_TUNING = Training(learning_rate=2e-3, batch_size=64, warmup_steps=20)
OFFLINE = Training(learning_rate=1e-3, warmup_steps=10)
ONLINE = Training(learning_rate=2e-3, warmup_steps=10)
STEP = 128  # completions that every optimizer step reads, whatever makes them: 64 pairs, 128 labels, 32 groups of 4


@dataclass(frozen=True)
class Exact(Benchmark):
    """A closed world of 8 prompts and 20,736 completions of each: all are enumerated, and the best policy is known.

    A prompt is four of 12 words and a completion `max_new_tokens` = 4 of the same. No token begins or ends a sequence,
    so that the probabilities of all completions sum to 1. The gold reward has a term for each word at each place and
    one for each pair of neighbours, the last word of the prompt and the first of the completion among them:

        r(x, y) = (sum_t u[t, y_t] + v[y_(t-1), y_t] - m) / s,    y_0 = the last word of x,    u, v ~ N(0, 1),

    with m and s the mean and the standard deviation under the uniform distribution over prompts and completions: r has
    mean 0 and standard deviation 1 there. Nothing else is chosen: `world` is the seed of every table.

    The reference imitates demonstrations of a Markov chain, p(y_t | y_(t-1)) proportional to exp(w[y_(t-1), y_t]) with
    w ~ N(0, 1) drawn apart from the reward: it is neither uniform nor good. Pairs are two of the reference's own
    samples; each of two annotators prefers the first with probability sigmoid(r_1 - r_2), by himself, and the first
    one's vote is the label. Two samples that are the same sequence say nothing and are left out (of 20,000 pairs, 10
    or so), so that there are a few less than `pairs`.

    The 8 prompts are all there are, and they are the prompts of every split; the pairs of "train", "judge" and "eval"
    are draws of their own. `beta` is the price of the KL in the objective J that policies are held against, and the
    beta of every objective that has a field of that name.
    """

    question: ClassVar[str] = "which sequence is better ?"

    eval_prompts: Count = PROMPTS
    curve_prompts: Count = PROMPTS
    max_new_tokens: Annotated[int, Range(1, 4)] = 4
    beta: Positive = 0.5
    pairs: Count = 20000
    eval_pairs: Count = 2000
    judge_pairs: Count = 5000
    demonstrations_count: Count = 40000
    layers: Count = 2
    width: Count = 64
    world: int = 0

    def stages(self) -> Stages:
        shape = SmallModel("symbols", len(WORDS), self.layers, self.width, heads=4, context=16)
        return Stages("sft", "reward_model", shape, lambda: [" ".join(WORDS)])

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """The same 8 for every split. Their last words differ, or two of them would have one and the same reward."""
        return self._prompts

    @cached_property
    def _prompts(self) -> tuple[Prompt, ...]:
        rng = Random(f"{self.world}/prompts")
        last = rng.sample(WORDS, PROMPTS)
        return tuple(Prompt(" ".join([*rng.choices(WORDS, k=PROMPT_LENGTH - 1), word])) for word in last)

    def demonstrations(self) -> Sequence[Demonstration]:
        table = _normal(len(WORDS), f"{self.world}/chain").exp().tolist()
        rng = Random(f"{self.world}/demonstrations")
        drawn = []
        for i in range(self.demonstrations_count):
            words = self._prompts[i % PROMPTS].text.split()
            for _ in range(self.max_new_tokens):
                words += rng.choices(WORDS, weights=table[WORDS.index(words[-1])])
            drawn.append(Demonstration(self._prompts[i % PROMPTS], Completion(" ".join(words[PROMPT_LENGTH:]))))
        return drawn

    def preferences(self, split: Split, sample: Sampler) -> Sequence[Pair]:
        count = {"train": self.pairs, "judge": self.judge_pairs, "eval": self.eval_pairs}[split]
        each = -(-count // PROMPTS)
        rng = Random(f"{self.world}/annotators/{split}")
        drawn = sample(self._prompts, 2 * each, split)
        asked = [(p, drawn[p][2 * i], drawn[p][2 * i + 1]) for i in range(each) for p in range(PROMPTS)][:count]
        return [self._annotated(p, one, two, rng) for p, one, two in asked if one.text != two.text]

    def _annotated(self, prompt: int, one: Completion, two: Completion, rng: Random) -> Pair:
        x = self._prompts[prompt]
        margin = self.gold([x], [one])[0] - self.gold([x], [two])[0]
        first, second = (rng.random() < 1 / (1 + exp(-margin)) for _ in range(2))
        chosen, rejected = (one, two) if first else (two, one)
        return Pair(x, chosen, rejected, votes=(True, first == second))

    def gold(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Raises `InputError` for a text that is not of this world."""
        return [self._rewards[self._row(x)][self._place(y)] for x, y in zip(prompts, completions, strict=True)]

    def _row(self, prompt: Prompt) -> int:
        if prompt not in self._prompts:
            raise InputError(f"benchmark exact: {prompt.text!r} is none of its {PROMPTS} prompts: give one of those.")
        return self._prompts.index(prompt)

    def _place(self, completion: Completion) -> int:
        words = completion.text.split()
        if len(words) != self.max_new_tokens or not set(words) <= set(WORDS):
            raise InputError(
                f"benchmark exact: the completion {completion.text!r} is not {self.max_new_tokens} of the words "
                f"{' '.join(WORDS)}: only a model made for this benchmark can be compared here."
            )
        place = 0
        for word in words:
            place = place * len(WORDS) + WORDS.index(word)
        return place

    @cached_property
    def _rewards(self) -> list[list[float]]:
        rows: list[list[float]] = self._reward.tolist()
        return rows

    @cached_property
    def _reward(self) -> Tensor:
        """r(x, y), `[P, V ** T]` float64."""
        size = len(WORDS)
        place = _normal(self.max_new_tokens, f"{self.world}/places")
        pair = _normal(size, f"{self.world}/neighbours")
        total = pair[[WORDS.index(x.text.split()[-1]) for x in self._prompts]] + place[0]
        for t in range(1, self.max_new_tokens):
            total = total.view(PROMPTS, -1, size, 1) + pair + place[t]
        total = total.view(PROMPTS, -1)
        return (total - total.mean()) / total.std(correction=0)

    def exact(self) -> Enumeration:
        return Enumeration(self._prompts, WORDS, self.max_new_tokens, self.beta, self._reward)

    def defaults(self, objective: type[Objective[Any]]) -> Mapping[str, object]:
        """This world's beta, wherever there is a field of that name."""
        has_beta = any(field.name == "beta" for field in fields(objective))  # type: ignore[arg-type]
        return {"beta": self.beta} if has_beta else {}

    def training(self, objective: type[Objective[Any]]) -> Training:
        """One rule for all: one optimizer, warm-up and clipping, `STEP` completions a step, a rate for each kind.

        Policies and reward models read every pair once (`epochs`, `reward_epochs`), so that nobody learns more often
        from the same data. A group of samples is as large as its class has it by default.

        Rates are those beyond which, doubling from 2.5e-4, something gets worse, tried in world 0. Demonstrations: the
        KL from the chain to the reference was .0100, .0083, .0087 and .0098 nats at 1e-3, 2e-3, 4e-3 and 8e-3. Reward
        model, 4 epochs: right on .674, .699 and .677 of held-out pairs at 1e-3, 2e-3 and 4e-3 (the true reward is right
        on .724); on .652 after two epochs. Offline: DPO's held-out loss was .614, .608, .604, .599, .600 and .655 from
        2.5e-4 to 8e-3, but KTO overshot its KL at 2e-3 with two seeds of three and fell apart at 4e-3, so 1e-3. Online,
        J by the true reward that was trained on: from 2e-3 to 4e-3 PPO and ReMax lose while RLOO still gains. Online
        rates and KTO's trouble could only be seen in trained policies, with batches of 64 to 256 prompts. The same
        rates serve a model that the user names, which must have been made by a run of this benchmark.
        """
        if objective.trains == "reward":
            return FINE_TUNING
        if "demonstrations" in objective.needs:
            return FROM_SCRATCH
        if "sampling" in objective.needs:
            return replace(ONLINE, batch_size=STEP // getattr(objective, "n", 1))
        return replace(OFFLINE, batch_size=STEP // (1 if "labels" in objective.needs else 2))

    def fingerprint(self) -> str:
        """Of the code that makes the world."""
        return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def _normal(rows: int, seed: str) -> Tensor:
    """`[rows, V]` of N(0, 1), float64, the same on every machine."""
    rng = Random(seed)
    return torch.tensor([[rng.gauss() for _ in WORDS] for _ in range(rows)], dtype=torch.float64)
