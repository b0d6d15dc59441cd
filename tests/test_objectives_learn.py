"""Every shipped objective solves a trivial problem: completions that begin with one token are the better ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import nn

from alignbench import Tokens, create
from alignbench.engine import LocalEngine
from alignbench.logprobs import LanguageModel
from alignbench.models import RewardModel, as_reward_model
from alignbench.plugins import available
from alignbench.tokens import Dataset
from alignbench.train import train
from tests.small import BOS, VOCABULARY, engine, ids, language_model, live, of_pairs, policy

GOOD, BAD = 10, 20


def pairs(count: int, seed: int) -> Dataset:
    source = random.Random(seed)
    made = []
    for number in range(count):
        prompt = (BOS, *ids(source, 2))
        sides = [Tokens(prompt, (first, *ids(source, 2, end=True)), number) for first in (GOOD, BAD)]
        made.append((sides[0], sides[1]))
    return of_pairs(made)


TRAIN, HELD_OUT = pairs(64, seed=0), pairs(16, seed=99)


def start() -> LanguageModel:
    """A policy that begins with the good token about once in 80 samples."""
    model = language_model()
    with torch.no_grad():
        model.policy.model.get_output_embeddings().weight.mul_(0.3)
    return model


def first_tokens(model: LanguageModel) -> tuple[float, float]:
    """The mean probability that a completion of a held-out prompt begins with the good token, and with the bad one."""
    prompts = torch.tensor([chosen.prompt for chosen, _ in HELD_OUT.pairs])
    with torch.no_grad():
        p = model.policy.model(input_ids=prompts).logits[:, -1].softmax(-1).mean(0)
    return float(p[GOOD]), float(p[BAD])


def rewards_the_good_token() -> RewardModel:
    """A sequence classifier made by hand: 1 where the last token is the good one, less for every other.

    With attention and MLP switched off, the state of a token is its own embedding, scaled to the length sqrt(D).
    """
    base = policy(seed=3)
    head = nn.Linear(base.hidden_size, 1, bias=False)
    with torch.no_grad():
        for layer in base.model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = base.model.model.embed_tokens.weight[GOOD]
        head.weight.copy_(embedding / embedding.norm() / base.hidden_size**0.5)
    return as_reward_model(base, head, "made by hand")


def run(spec: str, **settings: Any) -> LocalEngine:
    """Train from `start()`, which is also the reference."""
    settings = {"batch_size": 16, "budget": 1280, "learning_rate": 5e-3, **settings}
    serving = engine(TRAIN, model=start(), rewards=rewards_the_good_token(), **settings)
    serving.sources.reference = live(start())
    assert sum(1 for _ in train(serving, create(spec))) >= 20
    return serving


POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "preferred_ft": ("preferred_ft", {}),
    "dpo": ("dpo", {}),
    "kto": ("kto", {}),
    # One token a sample: the reward looks at the last one.
    "ppo": (
        "ppo:missing_end_penalty=0:beta=0.01",
        {"max_new_tokens": 1, "batch_size": 64, "budget": 64 * 25, "learning_rate": 1e-2},
    ),
}


def test_every_shipped_objective_is_here() -> None:
    assert {*POLICIES, "reward_model"} == set(available("objective"))


@pytest.mark.parametrize("name", POLICIES)
def test_the_good_token_becomes_likelier_on_prompts_never_seen(name: str) -> None:
    spec, settings = POLICIES[name]
    before, _ = first_tokens(start())
    after, bad = first_tokens(run(spec, **settings).model)
    assert before < 0.02
    assert after > 5 * before
    assert after > 10 * bad


def test_the_reward_model_ranks_pairs_it_never_saw() -> None:
    def accuracy(model: RewardModel) -> float:
        sides = [
            model.score([row.prompt + row.completion for row in side]) for side in zip(*HELD_OUT.pairs, strict=True)
        ]
        return float((sides[0] > sides[1]).float().mean())

    serving = run("reward_model")
    assert isinstance(serving.head, nn.Linear)
    assert accuracy(as_reward_model(serving.model.policy, serving.head, "trained")) > 0.9
    untrained = nn.Linear(serving.hidden_size, 1, bias=False)
    with torch.no_grad():
        untrained.weight.copy_(torch.randn(1, serving.hidden_size, generator=torch.Generator().manual_seed(0)))
    assert accuracy(as_reward_model(start().policy, untrained, "untrained")) < 0.8


def test_the_reward_made_by_hand_is_highest_for_the_good_token() -> None:
    scores = rewards_the_good_token().score([(BOS, 5, token) for token in range(VOCABULARY)])
    assert scores.argmax() == GOOD
    assert scores[GOOD].item() == pytest.approx(1, abs=1e-4)
    assert scores.sort().values[-2] < 0.5
