"""PPO through a real engine with a real reward model: every figure of a rollout against one worked out slowly."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, Experience, Tokens, create
from alignbench.engine import LocalEngine
from alignbench.tokens import Dataset
from alignbench.train import accumulate, train
from tests.rollouts import likes_to_end
from tests.small import BOS, EOS, engine, full_logps, ids, language_model, of_pairs, off, reward_model

BETA, PENALTY, LENGTH = 0.3, 1.5, 5


def prompts_with_an_end_token() -> Dataset:
    """Every other prompt holds the end token, somewhere or at its very end."""
    source = random.Random(0)
    made = []
    for number in range(16):
        prompt: tuple[int, ...] = (BOS, *ids(source, source.randrange(1, 5)))
        if number % 2:
            prompt = (*prompt, EOS) if number % 4 == 1 else (*prompt, EOS, *ids(source, 2))
        sides = [Tokens(prompt, ids(source, 3, True), number) for _ in range(2)]
        made.append((sides[0], sides[1]))
    return of_pairs(made)


def rollout(**fields: Any) -> tuple[LocalEngine, Any, Experience]:
    """An engine, the objective, and its first batch: 16 samples, some of which ended by themselves."""
    spec = "".join(f":{name}={value}" for name, value in fields.items())
    objective = create(f"ppo:beta={BETA}:missing_end_penalty={PENALTY}{spec}")
    serving = engine(
        prompts_with_an_end_token(),
        model=likes_to_end(),
        batch_size=16,
        budget=32,
        rewards=reward_model(),
        max_new_tokens=LENGTH,
        seed=2,
    )
    torch.manual_seed(0)
    serving.head = objective.init(serving)
    with torch.no_grad():
        batch = next(objective.batches(serving))
    ended = batch.completions.ended
    assert 4 < int(ended.sum()) < 12
    assert any(EOS in row.prompt and row.ended for row in batch.completions.tokens)
    assert len(set(batch.completions.length.tolist())) > 2
    return serving, objective, batch


def reward_alone(row: Tokens) -> float:
    """The classifier's own output for one sequence, which it reads at the last token."""
    with torch.no_grad():
        return float(reward_model().model(input_ids=torch.tensor([row.prompt + row.completion])).logits)


@torch.no_grad()
def slow_figures(serving: LocalEngine, row: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """KL penalties, rewards and values of one sample, `[length]` each, from plain full logits and states."""
    model, reference = serving.model.policy, language_model(1).policy
    kl = full_logps(model, row) - full_logps(reference, row)
    rewards = -BETA * kl
    rewards[-1] += reward_alone(row) - (0 if row.completion[-1] == EOS else PENALTY)
    sequence = torch.tensor([row.prompt + row.completion])
    states = model.model(input_ids=sequence, output_hidden_states=True).hidden_states[-1][0]
    assert serving.head is not None
    values = serving.head(states[len(row.prompt) - 1 : -1]).squeeze(-1)
    return kl, rewards, values


def slow_gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """The double sum of arXiv:1506.02438, eq. 16, term by term."""
    T = len(rewards)
    following = [*values[1:].tolist(), 0.0]
    deltas = [rewards[t].item() + gamma * following[t] - values[t].item() for t in range(T)]
    return torch.tensor([sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, T)) for t in range(T)])


def real(batch: Experience, tensor: Tensor | None) -> list[Tensor]:
    """The real tokens of each row, after a look at the others: they are all 0."""
    assert tensor is not None and not tensor.requires_grad
    assert (tensor[~batch.mask] == 0).all()
    return [values[mask] for values, mask in zip(tensor, batch.mask, strict=True)]


def test_the_first_ratio_is_1() -> None:
    _, objective, batch = rollout()
    with torch.enable_grad():
        figures = objective.metrics(batch)
    assert batch.completions.logps.requires_grad  # scored anew, in another pass than that of the rollout
    assert (figures["ratio"][batch.mask] - 1).abs().max() < 1e-6
    assert figures["clip_fraction"][batch.mask].max() == 0
    assert figures["approx_kl"][batch.mask].abs().max() < 1e-6


def test_rewards_returns_and_values_of_every_sample() -> None:
    """With gamma = lam = 1 the differences of the returns are the rewards of the tokens, and nothing else."""
    serving, _, batch = rollout(gamma=1, lam=1)
    assert batch.scores is not None
    figures = zip(
        batch.completions.tokens,
        batch.scores.tolist(),
        real(batch, batch.returns),
        real(batch, batch.old_values),
        real(batch, batch.old_logps),
        strict=True,
    )
    for row, score, returns, values, old_logps in figures:
        _, rewards, expected_values = slow_figures(serving, row)
        assert score == pytest.approx(reward_alone(row), abs=1e-5)  # as the model gave it, not penalised
        assert_close(returns - torch.cat([returns[1:], torch.zeros(1)]), rewards, atol=1e-4, rtol=0)
        assert_close(values, expected_values, atol=1e-5, rtol=0)
        assert off(old_logps, full_logps(serving.model.policy, row)) < 1e-5


def test_a_sample_that_ends_with_its_last_token_is_not_penalised() -> None:
    serving, objective, batch = rollout()
    samples = batch.completions
    rewards = objective.rewards(serving.score(samples), torch.zeros(len(samples)))
    kl = serving.score(samples).logps - samples.ref_logps
    assert_close(rewards, -BETA * kl)
    assert (rewards[~batch.mask] == 0).all()
    for row, penalised in zip(samples.tokens, samples.ended.tolist(), strict=True):
        assert penalised == (row.completion[-1] == EOS)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (1.0, 0.0), (0.0, 0.5)])
def test_gae_against_the_sum_term_by_term_and_whitening_over_real_tokens(gamma: float, lam: float) -> None:
    serving, _, batch = rollout(gamma=gamma, lam=lam)
    rows = [slow_figures(serving, row)[1:] for row in batch.completions.tokens]
    advantages = [slow_gae(rewards, values, gamma, lam) for rewards, values in rows]
    expected_returns = torch.cat([a + values for a, (_, values) in zip(advantages, rows, strict=True)])
    assert_close(torch.cat(real(batch, batch.returns)), expected_returns, atol=1e-4, rtol=0)
    flat = torch.cat(advantages)
    expected = (flat - flat.mean()) / flat.std(unbiased=False)
    found = torch.cat(real(batch, batch.advantages))
    assert_close(found, expected, atol=1e-4, rtol=0)
    assert found.mean().item() == pytest.approx(0, abs=1e-5)
    assert found.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_the_advantage_of_one_token_alone_whitens_to_0() -> None:
    whiten = vars(sys.modules[type(create("ppo")).__module__])["whiten"]
    assert whiten(torch.tensor([[5.0, 9.0]]), torch.tensor([[True, False]])).tolist() == [[0.0, 0.0]]


def test_the_kl_that_is_logged_is_the_kl_that_is_trained_on() -> None:
    serving, objective, batch = rollout()
    with torch.no_grad():
        figures = objective.metrics(batch)
    logged, scores = figures["kl"], figures["score"].tolist()
    assert scores == pytest.approx([reward_alone(row) for row in batch.completions.tokens], abs=1e-5)
    expected = [slow_figures(serving, row)[0].sum().item() for row in batch.completions.tokens]
    assert logged.tolist() == pytest.approx(expected, abs=1e-4)
    with torch.no_grad():  # and it stays that of the rollout while the policy moves on
        serving.model.policy.model.get_output_embeddings().weight.mul_(1.5)
        moved = objective.metrics(batch.select(range(len(batch))))
    assert moved["kl"].tolist() == pytest.approx(expected, abs=1e-4)
    assert (moved["ratio"][batch.mask] - 1).abs().max() > 0.01


def test_the_loss_and_its_figures_count_real_tokens_only() -> None:
    """After the policy and the values have moved, against the formula token by token."""
    serving, objective, batch = rollout(value_coef=0.7, value_clip=0.1)
    assert serving.head is not None
    with torch.no_grad():
        serving.model.policy.model.get_output_embeddings().weight.mul_(1.6)
        next(iter(serving.head.parameters())).mul_(1.3)
    batch = batch.select(range(len(batch)))
    policy_terms, value_terms, clipped, kls = [], [], [], []
    columns = [real(batch, x) for x in (batch.old_logps, batch.advantages, batch.returns, batch.old_values)]
    for row, old, advantages, returns, before in zip(batch.completions.tokens, *columns, strict=True):
        with torch.no_grad():
            now = full_logps(serving.model.policy, row)
        values = slow_figures(serving, row)[2]
        for t in range(len(row.completion)):
            rho, a = (now[t] - old[t]).exp().item(), advantages[t].item()
            policy_terms.append(max(-a * rho, -a * min(max(rho, 0.8), 1.2)))
            v, b, target = values[t].item(), before[t].item(), returns[t].item()
            near = min(max(v, b - 0.1), b + 0.1)
            value_terms.append(0.5 * max((v - target) ** 2, (near - target) ** 2))
            clipped.append(abs(rho - 1) > 0.2)
            kls.append(rho - 1 - (now[t] - old[t]).item())
    n = sum(len(row.completion) for row in batch.completions.tokens)
    assert len(policy_terms) == n < batch.mask.numel()
    assert 0 < sum(clipped) < n
    loss, metrics = accumulate(objective, batch, serving)
    assert loss == pytest.approx(sum(policy_terms) / n + 0.7 * sum(value_terms) / n, abs=1e-4)
    assert metrics["value_loss"] == pytest.approx(sum(value_terms) / n, abs=1e-4)
    assert metrics["clip_fraction"] == pytest.approx(sum(clipped) / n, abs=1e-6)
    assert metrics["approx_kl"] == pytest.approx(sum(kls) / n, abs=1e-4)
    assert metrics["approx_kl"] > 0


def test_the_value_after_the_last_token_is_trained_by_nothing() -> None:
    _, objective, batch = rollout()
    values = batch.completions.values.detach().requires_grad_()
    moved = replace(batch, completions=batch.completions.with_scores(values=values))
    objective.loss(moved).masked_fill(~batch.mask, 0).sum().backward()
    assert values.grad is not None
    assert ((values.grad[:, :-1] != 0) == batch.mask).all()
    assert (values.grad[:, -1] == 0).all()


def test_ratios_that_explode_stay_finite() -> None:
    mask = torch.ones(2, 1, dtype=torch.bool)
    completions = Completions.of(torch.tensor([[0.0], [-300.0]]), None, mask, values=torch.zeros(2, 2))
    old, advantages = torch.tensor([[-300.0], [0.0]]), torch.tensor([[-1.0], [1.0]])
    loss = create("ppo").loss(Experience(completions, old, advantages, old, old))
    assert torch.isfinite(loss).all()


@pytest.mark.parametrize(("inner_epochs", "minibatches"), [(1, 1), (3, 1), (2, 4)])
def test_each_inner_epoch_sees_every_sample_once_in_an_order_of_its_own(inner_epochs: int, minibatches: int) -> None:
    serving, _, _ = rollout()
    objective = create(f"ppo:inner_epochs={inner_epochs}:minibatches={minibatches}")
    with torch.no_grad():
        batches = list(objective.batches(serving))  # the 16 samples that are left of the budget
    assert [len(batch) for batch in batches] == [16 // minibatches] * (inner_epochs * minibatches)
    epochs = [
        [row for batch in batches[e * minibatches : (e + 1) * minibatches] for row in batch.completions.tokens]
        for e in range(inner_epochs)
    ]
    assert all(sorted(map(repr, epoch)) == sorted(map(repr, epochs[0])) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == inner_epochs


def test_samples_come_from_the_policy_of_now() -> None:
    """The ratio is 1 at the first inner epoch of *every* rollout, and no longer at the second."""
    serving = engine(
        model=language_model(), batch_size=8, budget=24, learning_rate=0.01, warmup_steps=0, rewards=reward_model()
    )
    ratios = [abs(step.metrics["approx_kl"]) for step in train(serving, create("ppo:inner_epochs=2"))]
    assert len(ratios) == 6
    assert max(ratios[0::2]) < 1e-6
    assert min(ratios[1::2]) > 1e-4
