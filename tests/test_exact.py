"""Worlds that can be enumerated: what `ExactWorld` says, against sums written out and against every rival policy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from alignbench import ExactWorld

P, N, BETA = 2, 6, 0.5


def log_policy(seed: int, spread: float = 1.0, shape: tuple[int, int] = (P, N)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(spread * torch.randn(shape, generator=generator, dtype=torch.float64), 1)


@pytest.fixture
def world() -> ExactWorld:
    reward = torch.randn(P, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reward[0, 2] = reward[0, 4]  # two that are equally good
    return ExactWorld(reward, log_policy(2), BETA)


def tables(*tensors: Tensor) -> list[list[list[float]]]:
    return [tensor.tolist() for tensor in tensors]


def objective(world: ExactWorld, policy: Tensor) -> float:
    """J by the definition, a prompt and a completion at a time."""
    reward, ref, own = tables(world.reward, world.ref, policy)
    total = 0.0
    for x, y in itertools.product(range(P), range(N)):
        total += math.exp(own[x][y]) * (reward[x][y] - BETA * (own[x][y] - ref[x][y]))
    return total / P


def best(world: ExactWorld) -> float:
    """J* = beta E log Z by the definition."""
    reward, ref = tables(world.reward, world.ref)
    z = [sum(math.exp(ref[x][y] + reward[x][y] / BETA) for y in range(N)) for x in range(P)]
    return BETA * sum(map(math.log, z)) / P


def test_the_objective_and_its_maximum_are_what_the_definitions_say(world: ExactWorld) -> None:
    for seed in range(5):
        policy = log_policy(seed, 2.0)
        assert world.objective(policy) == pytest.approx(objective(world, policy), abs=1e-12)
        assert world.gap(policy) == pytest.approx(best(world) - objective(world, policy), abs=1e-12)
    assert world.objective(world.optimum) == pytest.approx(best(world), abs=1e-12)
    assert torch.allclose(world.optimum.exp().sum(1), torch.ones(P, dtype=torch.float64))


def test_no_policy_is_better_than_the_optimum(world: ExactWorld) -> None:
    generator = torch.Generator().manual_seed(3)
    whole = world.objective(world.optimum)
    for size in (1e-3, 1e-2, 0.1, 1.0, 10.0):
        for _ in range(40):
            noise = size * torch.randn(P, N, generator=generator, dtype=torch.float64)
            rival = torch.log_softmax(world.optimum + noise, 1)
            assert world.objective(rival) < whole
            assert world.gap(rival) == pytest.approx(whole - world.objective(rival), abs=1e-12)


def test_the_share_of_the_gain_is_none_at_the_reference_and_all_at_the_optimum(world: ExactWorld) -> None:
    assert world.gain_share(world.ref) == pytest.approx(0, abs=1e-12)
    assert world.gain_share(world.optimum) == pytest.approx(1, abs=1e-12)
    policy = log_policy(7)
    share = (objective(world, policy) - objective(world, world.ref)) / (best(world) - objective(world, world.ref))
    assert world.gain_share(policy) == pytest.approx(share, abs=1e-12)
    away = torch.log_softmax(world.ref - 4 * world.reward, 1)
    assert world.gain_share(away) < 0, "worse than the reference"


def test_win_rates_count_ties_as_half(world: ExactWorld) -> None:
    policy, other = log_policy(4), log_policy(5)
    reward, ours, theirs = tables(world.reward, policy.exp(), other.exp())
    total = 0.0
    for x, y, z in itertools.product(range(P), range(N), range(N)):
        a, b = reward[x][y], reward[x][z]
        total += ours[x][y] * theirs[x][z] * (1.0 if a > b else 0.5 if a == b else 0.0)
    assert world.win_rate(policy, other) == pytest.approx(total / P, abs=1e-12)
    assert world.win_rate(policy) + world.win_rate(world.ref, policy) == pytest.approx(1, abs=1e-12)
    assert world.win_rate(world.ref) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
def test_preferences_are_those_of_bradley_and_terry(spread: float) -> None:
    reward = spread * torch.randn(3, 60, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    world = ExactWorld(reward, log_policy(9, shape=(3, 60)), BETA)
    won = torch.sigmoid(reward[:, :, None] - reward[:, None, :])
    assert torch.allclose(world.preference, (won * world.ref.exp()[:, None, :]).sum(2), atol=1e-10, rtol=0)


def test_the_frontier_is_concave_and_the_optimum_lies_on_it(world: ExactWorld) -> None:
    betas = torch.logspace(1, -1.5, 30, dtype=torch.float64)
    points = world.frontier(betas)
    slopes = [(r2 - r1) / (k2 - k1) for (k1, r1), (k2, r2) in itertools.pairwise(points)]
    assert all(k2 > k1 for (k1, _), (k2, _) in itertools.pairwise(points))
    assert all(s2 < s1 for s1, s2 in itertools.pairwise(slopes))
    # The slope of the frontier is the price: between two points it lies between theirs.
    assert all(one > slope > two for slope, (one, two) in zip(slopes, itertools.pairwise(betas.tolist()), strict=True))
    (own,) = world.frontier(torch.tensor([BETA]))
    assert own == pytest.approx((world.kl(world.optimum), world.expected(world.optimum, world.reward)))


def test_no_policy_lies_above_the_frontier(world: ExactWorld) -> None:
    kls, rewards = map(torch.tensor, zip(*world.frontier(torch.logspace(2, -2, 400, dtype=torch.float64)), strict=True))
    held = 0
    for seed in range(100):
        policy = torch.log_softmax(world.ref + log_policy(seed, 0.03 * seed) + seed % 7 * world.reward / 3, 1)
        beyond = int(torch.searchsorted(kls, world.kl(policy)))  # the first point whose KL is as large
        if beyond < len(kls):
            assert world.expected(policy, world.reward) < rewards[beyond]
            held += 1
    assert held > 80
