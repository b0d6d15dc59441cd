"""Objectives on their own samples reach what they are said to tend to, in a world of one token that is summed over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Tokens, create
from alignbench.logprobs import LanguageModel
from alignbench.train import train
from tests.small import VOCABULARY, dataset, engine, language_model, live

BETA = 0.5
DATA = dataset(8)
REWARD = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def start() -> LanguageModel:
    model = language_model()
    with torch.no_grad():
        model.policy.model.get_output_embeddings().weight.mul_(0.3)
    return model


def gold(rows: Sequence[Tokens]) -> list[float]:
    return [float(REWARD[row.completion[0]]) for row in rows]


@torch.no_grad()
def policy(model: LanguageModel) -> Tensor:
    """`[P, V]`: every completion of every prompt."""
    logits = [model.policy.model(input_ids=torch.tensor([c.prompt])).logits[0, -1] for c, _ in DATA.pairs]
    return torch.stack(logits).double().log_softmax(1)


@lru_cache
def world() -> ExactWorld:
    return ExactWorld(REWARD.expand(len(DATA.pairs), -1), policy(start()), BETA)


def trained(spec: str, steps: int, batch_size: int = 64, learning_rate: float = 1e-2) -> Tensor:
    """The policy after so many rollouts of 64 samples; the greedy completions of ReMax come to those."""
    drawn = 128 if spec.startswith("remax") else 64
    settings: dict[str, Any] = {"batch_size": batch_size, "budget": drawn * steps, "learning_rate": learning_rate}
    made = engine(DATA, model=start(), max_new_tokens=1, **settings)
    made.sources.reference, made.sources.gold, made.sources.reward = live(start()), gold, None
    list(train(made, create(f"{spec}:reward=gold:missing_end_penalty=0")))
    return policy(made.model)


@pytest.mark.parametrize(("spec", "batch_size"), [("rloo", 16), ("remax", 64), ("ppo", 64)])
def test_policy_gradients_on_the_true_reward_tend_to_the_optimum(spec: str, batch_size: int) -> None:
    limit = create(f"{spec}:reward=gold:beta={BETA}").limit(world())
    assert limit is not None
    assert world().gain_share(limit) == pytest.approx(1)
    assert create(f"{spec}:beta={BETA}").limit(world()) is None  # that of a reward model depends on the model
    assert create(f"{spec}:reward=gold:beta=0").limit(world()) is None
    found = trained(f"{spec}:beta={BETA}", 50, batch_size)
    assert world().gain_share(found) > 0.93
    assert world().kl(found, limit) < 0.1 * world().kl(world().ref, limit)


@pytest.mark.parametrize(
    ("spec", "batch_size"),
    [("grpo", 16), ("grpo:normaliser=token", 16), ("dr_grpo", 16), ("online_dpo", 32), ("raft", 16)],
)
def test_the_others_find_what_is_rewarded(spec: str, batch_size: int) -> None:
    before = world().expected(world().ref, REWARD)
    assert before < 0 < 2 < REWARD.max()
    assert world().expected(trained(spec, 40, batch_size), REWARD) > 1


def test_dr_grpo_stops_where_its_docstring_says() -> None:
    """pi = pi_ref b / (k - r), with b = beta n / (n - 1) and the k that makes it a distribution."""
    b = BETA * 4 / 3
    low = REWARD.max().expand(len(DATA.pairs), 1)
    high = low + b
    for _ in range(60):
        middle = (low + high) / 2
        small = (world().ref.exp() * b / (middle - REWARD)).sum(1, keepdim=True) < 1
        low, high = torch.where(small, low, middle), torch.where(small, middle, high)
    stop = world().ref + (b / (middle - REWARD)).log()
    found = trained(f"dr_grpo:beta={BETA}", 150, 16, 5e-3)
    assert world().kl(found, stop) < 0.2 * world().kl(found, world().optimum)


def test_preferred_fine_tuning_tends_to_the_chosen_of_two_samples() -> None:
    """Against all pairs of samples, one by one."""
    small = ExactWorld(world().reward[:, :9], world().ref[:, :9].log_softmax(1), BETA)
    expected = torch.zeros(9, dtype=torch.float64)
    p = small.ref[0].exp()
    for i in range(9):
        for j in range(9):
            wins = torch.sigmoid(REWARD[i] - REWARD[j])
            expected[i] += p[i] * p[j] * wins
            expected[j] += p[i] * p[j] * (1 - wins)
    limit = create("preferred_ft").limit(small)
    torch.testing.assert_close(limit[0].exp(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", ["kto:beta=0.5", "kto:beta=0.1:desirable_weight=1.2", "kto:beta=1"])
def test_no_policy_has_a_lower_loss_of_kto_than_its_limit(spec: str) -> None:
    """The loss in expectation over labels, once z is 0; found by descent from several beginnings."""
    draw = torch.Generator().manual_seed(1)
    small = ExactWorld(1.5 * torch.randn(1, 6, generator=draw).double(), torch.full((1, 6), 1 / 6).double().log(), BETA)
    objective = create(spec)
    limit = objective.limit(small)
    batch_of = type(next(engine().labelled()))

    def loss(logp: Tensor) -> Tensor:
        mask = torch.ones(6, 1)
        total = torch.zeros(())
        for good in (True, False):
            completions = Completions.of(logp.T, small.ref.T, mask)
            labels, drift = torch.full((6,), good), torch.zeros(1)
            share = small.preference[0] if good else 1 - small.preference[0]
            total = total + (share * small.ref[0].exp() * objective.loss(batch_of.of(completions, labels, drift))).sum()
        return total

    best = float(loss(limit))
    assert best < float(loss(small.ref)) - 0.01
    for scale in (0.0, 1.0):
        free = (small.ref + scale * torch.randn(1, 6, generator=draw).double()).requires_grad_()
        descent = torch.optim.Adam([free], lr=0.3)
        for _ in range(300):
            descent.zero_grad()
            loss(free.log_softmax(1)).backward()
            descent.step()
        found = float(loss(free.detach().log_softmax(1)))
        assert best - 1e-6 < found < best + 2e-3
    assert create("kto:beta=2").limit(small) is None
    assert create("kto:desirable_weight=1000").limit(small) is None
