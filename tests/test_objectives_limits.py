"""Where objectives tend to, in a world of a few completions: expected losses over all pairs or lists, minimised."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Labelled, Pairs, Ranked, create

PROMPTS, COUNT, BETA = 2, 4, 0.5
Expected = Callable[[Tensor], Tensor]


@pytest.fixture
def world() -> ExactWorld:
    source = torch.Generator().manual_seed(0)
    reward, logits = torch.randn(2, PROMPTS, COUNT, generator=source, dtype=torch.float64)
    return ExactWorld(reward, logits.log_softmax(1), BETA)


def minimised(expected: Expected, start: Tensor) -> Tensor:
    """The policy of the least expected loss, from a policy on."""
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=150, tolerance_grad=1e-10, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = expected(logits.log_softmax(1))
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits.detach().log_softmax(1)


def held(policy: Tensor, world: ExactWorld, rows: Tensor) -> Completions:
    """Completions of one token each; `rows [n, 2]`: prompt and completion."""
    p, y = rows.T
    logps, ref_logps, collision = (table[p, y][:, None] for table in (policy, world.ref, 0.7 * world.ref.flip(1)))
    return Completions.of(logps, ref_logps, torch.ones(len(rows), 1), collision=collision)


def over_rankings(spec: str, world: ExactWorld, size: int) -> Expected:
    """Lists of distinct completions of the reference, ordered by Plackett and Luce: two, by Bradley and Terry."""
    objective = create(spec)
    lists = [[(p, y) for y in order] for p in range(PROMPTS) for order in itertools.permutations(range(COUNT), size)]
    rows = torch.tensor(lists)
    reward, ref = (table[rows[..., 0], rows[..., 1]] for table in (world.reward, world.ref))
    left = reward.flip(1).logcumsumexp(1).flip(1)
    weights = (ref.sum(1) + (reward - left).sum(1)).exp()

    def expected(policy: Tensor) -> Tensor:
        if "rankings" in objective.needs:
            loss = objective.loss(Ranked(held(policy, world, rows.flatten(0, 1)), (size,) * len(lists)))
        else:
            loss = objective.loss(Pairs(held(policy, world, rows[:, 0]), held(policy, world, rows[:, 1])))
        total: Tensor = (weights * loss).sum()
        return total

    return expected


def close(found: Tensor, limit: Tensor | None) -> None:
    assert limit is not None
    assert limit.exp().sum(1).tolist() == pytest.approx([1.0] * PROMPTS)
    assert (found.exp() - limit.exp()).abs().max() < 1e-6


@pytest.mark.parametrize(("spec", "size"), [("dpo", 2), ("pl_dpo", 2), ("pl_dpo", 3), ("pl_dpo", 4)])
def test_on_pairs_and_on_lists_of_any_length_the_least_expected_loss_is_at_the_optimum(
    spec: str, size: int, world: ExactWorld
) -> None:
    spec = f"{spec}:beta={BETA}"
    found = minimised(over_rankings(spec, world, size), world.ref)
    close(found, create(spec).limit(world))
    close(found, world.optimum)


def test_cpo_without_its_supervised_term_tilts_the_uniform_policy(world: ExactWorld) -> None:
    spec = f"cpo:beta={BETA}:alpha=0"
    found = minimised(over_rankings(spec, world, 2), world.ref)
    close(found, create(spec).limit(world))
    close(found, (world.reward / BETA).log_softmax(1))


@pytest.mark.parametrize("alignment", ["sampled", "none"])
def test_wpo_rests_at_the_optimum_of_dpo_and_not_on_the_way(alignment: str, world: ExactWorld) -> None:
    """Its weights change with the policy and have no gradient: what is 0 at the limit is the gradient."""
    spec = f"wpo:beta={BETA}:alignment={alignment}"
    limit, expected = create(spec).limit(world), over_rankings(spec, world, 2)
    assert limit is not None

    def slope(policy: Tensor) -> Tensor:
        logits = policy.clone().requires_grad_()
        expected(logits.log_softmax(1)).backward()
        assert logits.grad is not None
        return logits.grad

    assert slope(limit).abs().max() < 1e-12
    close(limit, world.optimum)
    for share in (0.0, 0.5, 0.9):
        there = ((1 - share) * world.ref + share * limit).log_softmax(1)
        assert (slope(there) * (limit - there)).sum(1).max() < -1e-7  # everywhere else down is that way


def labels(world: ExactWorld, shift: Tensor) -> Expected:
    """BCO on completions of the reference, labelled by whether they won against another one of the reference."""
    objective, rows = create(f"bco:beta={BETA}"), torch.tensor(list(itertools.product(range(PROMPTS), range(COUNT))))
    p, y = rows.T
    chance, won = world.ref.exp()[p, y] / PROMPTS, world.preference[p, y]

    def expected(policy: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for label, probability in ((True, won), (False, 1 - won)):
            batch = Labelled.of(held(policy, world, rows), torch.full((len(rows),), label), torch.zeros(1))
            total = total + (chance * probability * objective.loss(batch.with_extra(shift=shift[p]))).sum()
        return total

    return expected


def test_bco_regresses_the_label_where_each_prompt_has_its_own_shift(world: ExactWorld) -> None:
    """beta log pi/pi_ref - delta = logit p(desirable), with the delta under which probabilities sum to 1."""
    logit = world.preference.logit()
    shift = -BETA * torch.logsumexp(world.ref + logit / BETA, dim=1)
    close(minimised(labels(world, shift), world.ref), world.tilted(logit / BETA))


def test_bco_with_its_running_mean_ends_near_that_and_not_there(world: ExactWorld) -> None:
    """Which is why it states no limit."""
    shift, last, policy = torch.zeros(PROMPTS).double(), torch.ones(PROMPTS).double(), world.ref
    for _ in range(100):
        if (shift - last).abs().max() < 1e-5:
            break
        policy = minimised(labels(world, shift), policy)
        # The middle of the means of both labels, which are equally frequent: the mean over the reference.
        mean = (world.ref.exp() * BETA * (policy - world.ref)).sum(1).mean()
        shift, last = mean.expand(PROMPTS), shift
    assert (shift - last).abs().max() < 1e-5
    near = world.tilted(world.preference.logit() / BETA)
    assert 1e-4 < world.kl(policy, near) < 0.1 * world.kl(world.ref, near)
    assert create("bco").limit(world) is None and create("bco_pair").limit(world) is None


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "rpo", "cpo", "simpo", "orpo", "rrhf", "unlikelihood"])
def test_no_limit_is_stated_where_nobody_knows_it(name: str, world: ExactWorld) -> None:
    assert create(name).limit(world) is None
