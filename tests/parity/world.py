"""The tiny world that both sides see: one policy, where it moved to, one reference, pairs of unequal lengths."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from alignbench import Tokens
from alignbench.tokens import Dataset
from tests import small

PAIRS, SAMPLES = 8, 4  # preference pairs of a batch; samples of each prompt online
APART = 0.04  # standard deviation of the noise between two sets of weights: log-ratios of a few nats


@dataclass(frozen=True)
class Answer:
    """What one side makes of a batch: the loss that it would step on, and the gradient by parameter."""

    loss: float
    gradient: Mapping[str, Tensor]

    def flat(self, names: list[str]) -> Tensor:
        return torch.cat([self.gradient[name].flatten().double() for name in names])


@dataclass(frozen=True)
class Off:
    """How far two answers are apart: the loss relative to TRL's, the gradient relative to its largest entry.

    The loss counts as not off where it is not compared.
    """

    loss: float
    gradient: float

    @classmethod
    def between(cls, ours: Answer, theirs: Answer, gradient_only: bool = False) -> Off:
        assert ours.gradient.keys() == theirs.gradient.keys(), "the two sides train other parameters"
        names = sorted(theirs.gradient)
        mine, other = ours.flat(names), theirs.flat(names)
        assert other.abs().max() > 1e-4, "a gradient of zero would agree with nearly anything"
        return cls(
            0.0 if gradient_only else abs(ours.loss - theirs.loss) / max(abs(theirs.loss), 1e-2),
            float((mine - other).abs().max() / other.abs().max()),
        )

    @property
    def worst(self) -> float:
        return max(self.loss, self.gradient)


@lru_cache
def weights(name: str) -> dict[str, Tensor]:
    """Weights of the `policy`, of where it has `moved` since it sampled, and of the `reference`."""
    base: dict[str, Tensor] = small.policy("llama", seed=0).model.state_dict()
    if name == "policy":
        return base
    generator = torch.Generator().manual_seed({"moved": 1, "reference": 2}[name])
    apart = APART / 4 if name == "moved" else APART  # ratios on both sides of a clip of 0.2, most of them within
    return {key: value + apart * torch.randn(value.shape, generator=generator) for key, value in base.items()}


def model(name: str) -> Any:
    """A fresh Llama of transformers with these weights, untouched by our side."""
    made = hf.AutoModelForCausalLM.from_config(small.FAMILIES["llama"]())
    made.load_state_dict(weights(name))
    return made


@lru_cache
def head() -> Tensor:
    """`[1, D]`, the linear head of the reward model."""
    return torch.randn(1, 32, generator=torch.Generator().manual_seed(3)) / 3


def classifier() -> Any:
    """A sequence classifier of transformers: the policy's trunk, the head of the reward model, one output."""
    config = small.FAMILIES["llama"]()
    config.num_labels = 1
    made = hf.LlamaForSequenceClassification(config)
    trunk = {name: value for name, value in weights("policy").items() if name != "lm_head.weight"}
    made.load_state_dict({**trunk, "score.weight": head()})
    return made


DATA = ("pairs", "one pair", "equal lengths", "no prompt", "no prompt, equal lengths")


@lru_cache
def dataset(kind: str = "pairs") -> Dataset:
    """Eight pairs (or one) that all end by themselves; lengths are unequal unless said otherwise."""
    assert kind in DATA, kind
    source = random.Random(7)
    made = []
    for number in range(1 if kind == "one pair" else PAIRS):
        words = 0 if kind.startswith("no prompt") else source.randrange(2, 7)
        prompt = (small.BOS, *small.ids(source, words))
        lengths = (5, 5) if "equal lengths" in kind else source.sample(range(2, 9), 2)
        chosen, rejected = (Tokens(prompt, small.ids(source, n, True), number, True) for n in lengths)
        made.append((chosen, rejected))
    return small.of_pairs(made)


@lru_cache
def samples() -> tuple[Tokens, ...]:
    """`SAMPLES` completions of each of four prompts, as if the policy had drawn them; a quarter has no end."""
    source = random.Random(8)
    made = []
    for number in range(4):
        prompt = (small.BOS, *small.ids(source, source.randrange(2, 7)))
        for n in range(SAMPLES):
            ended = n != number
            made.append(Tokens(prompt, small.ids(source, source.randrange(2, 9), ended), number, ended))
    return tuple(made)


def reward(rows: list[Tokens] | tuple[Tokens, ...]) -> list[float]:
    """A made-up reward of each completion, between 0 and 2, no two alike in a group."""
    return [(sum((n + 3) * token for n, token in enumerate(row.completion)) % 97) / 48 for row in rows]


def text(ids: tuple[int, ...]) -> str:
    """The words of some ids; begin and end tokens are left out, TRL adds its own."""
    words = small.tokenizer().convert_ids_to_tokens(list(ids))
    special = set(small.tokenizer().all_special_tokens)
    return " ".join(word for word in words if word not in special)
