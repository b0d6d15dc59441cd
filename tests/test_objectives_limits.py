"""Where objectives tend to, in a world of a few completions: expected losses over all pairs or lists, minimised."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Labelled, Pairs, Ranked, create

PROMPTS, COUNT, BETA = 3, 5, 0.4
Expected = Callable[[Tensor], Tensor]


@pytest.fixture(params=[0, 1])
def world(request: pytest.FixtureRequest) -> ExactWorld:
    source = torch.Generator().manual_seed(request.param)
    reward, logits = torch.randn(2, PROMPTS, COUNT, generator=source, dtype=torch.float64)
    return ExactWorld(reward, logits.log_softmax(1), BETA)


def minimised(expected: Expected, world: ExactWorld) -> Tensor:
    """The policy of the least expected loss, from the reference on."""
    logits = world.ref.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=1000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = expected(logits.log_softmax(1))
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return logits.detach().log_softmax(1)


def held(policy: Tensor, world: ExactWorld, rows: Tensor) -> Completions:
    """Completions of one token each; `rows [n, 2]`: prompt and completion."""
    p, y = rows.T
    collision = -torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(0)).double()
    return Completions.of(
        policy[p, y][:, None], world.ref[p, y][:, None], torch.ones(len(rows), 1), collision=collision
    )


def over_rankings(spec: str, world: ExactWorld, size: int) -> Expected:
    """Lists of distinct completions of the reference, ordered by Plackett and Luce; of two: pairs by Bradley and Terry."""
    lists = [[(p, y) for y in order] for p in range(PROMPTS) for order in itertools.permutations(range(COUNT), size)]
    rows = torch.tensor(lists)
    reward, ref = (table[rows[..., 0], rows[..., 1]] for table in (world.reward, world.ref))
    left = reward.flip(1).logcumsumexp(1).flip(1)
    weights = (ref.sum(1) + (reward - left).sum(1)).exp()

    def expected(policy: Tensor) -> Tensor:
        if isinstance(create(spec).example()[0], Ranked):  # type: ignore[index]
            loss = create(spec).loss(Ranked(held(policy, world, rows.flatten(0, 1)), (size,) * len(lists)))
        else:
            loss = create(spec).loss(Pairs(*(held(policy, world, rows[:, k]) for k in range(2))))
        return (weights * loss).sum()

    return expected


def close(found: Tensor, limit: Tensor | None) -> None:
    assert limit is not None
    assert limit.exp().sum(1).tolist() == pytest.approx([1.0] * PROMPTS)
    assert (found.exp() - limit.exp()).abs().max() < 1e-6


@pytest.mark.parametrize(("spec", "size"), [
    (f"dpo:beta={BETA}", 2),
    (f"pl_dpo:beta={BETA}", 2),
    (f"pl_dpo:beta={BETA}", 3),
    (f"pl_dpo:beta={BETA}", 5),
    (f"cpo:beta={BETA}:alpha=0", 2),
])  # fmt: skip
def test_the_least_expected_loss_is_at_the_stated_limit(spec: str, size: int, world: ExactWorld) -> None:
    found = minimised(over_rankings(spec, world, size), world)
    close(found, create(spec).limit(world))
    if "dpo" in spec:
        close(found, world.optimum)
    else:
        close(found, (world.reward / BETA).log_softmax(1))


@pytest.mark.parametrize("alignment", ["sampled", "none"])
def test_wpo_rests_at_the_optimum_of_dpo_and_nowhere_on_the_way(alignment: str, world: ExactWorld) -> None:
    """Its weights change with the policy and have no gradient: what is 0 at the limit is the gradient."""
    objective = create(f"wpo:beta={BETA}:alignment={alignment}")
    limit = objective.limit(world)
    assert limit is not None
    expected = over_rankings(f"wpo:beta={BETA}:alignment={alignment}", world, 2)

    def slope(policy: Tensor) -> float:
        logits = policy.clone().requires_grad_()
        expected(logits.log_softmax(1)).backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    assert slope(limit) < 1e-12
    assert slope(world.ref) > 1e-3
    close(limit, world.optimum)
    for share in (0.5, 0.9):
        assert slope(((1 - share) * world.ref + share * limit).log_softmax(1)) > 1e-4
    # Following the gradient leads there.
    logits = world.ref.clone()
    for _ in range(3000):
        leaf = logits.clone().requires_grad_()
        loss = expected(leaf.log_softmax(1))
        (gradient,) = torch.autograd.grad(loss, leaf)
        logits = logits - 10 * gradient
    assert world.kl(logits.log_softmax(1), limit) < 0.05 * world.kl(world.ref, limit)


def labels(world: ExactWorld, shift: Tensor) -> Expected:
    """BCO on completions of the reference, labelled by whether they won against another one of the reference."""
    rows = torch.tensor(list(itertools.product(range(PROMPTS), range(COUNT))))
    p, y = rows.T
    chance = world.ref.exp()[p, y] / PROMPTS
    won = world.preference[p, y]

    def expected(policy: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for label, probability in ((True, won), (False, 1 - won)):
            batch = Labelled.of(held(policy, world, rows), torch.full((len(rows),), label), torch.zeros(1))
            loss = create(f"bco:beta={BETA}").loss(batch.with_extra(shift=shift[p]))
            total = total + (chance * probability * loss).sum()
        return total

    return expected


def test_bco_regresses_the_label_where_each_prompt_has_its_own_shift(world: ExactWorld) -> None:
    """beta log pi/pi_ref - delta = logit p(desirable), with the delta under which probabilities sum to 1."""
    logit = world.preference.logit()
    shift = -BETA * torch.logsumexp(world.ref + logit / BETA, dim=1)
    close(minimised(labels(world, shift), world), world.tilted(logit / BETA))


def test_bco_with_its_running_mean_ends_near_that_and_not_there(world: ExactWorld) -> None:
    """Which is why it states no limit."""
    shift, policy = torch.zeros(PROMPTS, dtype=torch.float64), world.ref
    for _ in range(60):
        policy = minimised(labels(world, shift), world)
        rewards = BETA * (policy - world.ref)
        # The middle of the means of both labels, which are equally frequent: the mean over the reference.
        moved = (world.ref.exp() * rewards).sum(1).mean().expand(PROMPTS)
        shift, last = moved, shift
    assert (shift - last).abs().max() < 1e-5
    near = world.tilted(world.preference.logit() / BETA)
    assert 1e-3 < world.kl(policy, near) < 0.1 * world.kl(world.ref, near)
    assert create("bco").limit(world) is None and create("bco_pair").limit(world) is None


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "rpo", "cpo", "simpo", "orpo", "rrhf", "unlikelihood"])
def test_no_limit_is_stated_where_nobody_knows_it(name: str, world: ExactWorld) -> None:
    assert create(name).limit(world) is None


def test_the_limit_of_dpo_is_not_that_of_simpo(world: ExactWorld) -> None:
    """A margin to be reached is no difference of rewards: SimPO at the same beta ends elsewhere."""
    found = minimised(over_rankings(f"simpo:beta={BETA}", world, 2), world)
    assert world.kl(found, world.optimum) > 1e-3
    assert math.isfinite(world.kl(found, world.optimum))
