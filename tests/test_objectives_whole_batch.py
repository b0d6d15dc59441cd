"""Objectives that couple a whole batch: whatever its split, AOT is the sorted loss and BCO has one running mean."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Pairs, create
from alignbench.engine import LocalEngine
from alignbench.train import accumulate, micro_batches
from tests.small import dataset, engine, of_labelled, off

# mypy cannot follow `alignbench.objectives`: the folder is mapped into the package when it is installed.
module: Any = importlib.import_module("alignbench.objectives._whole_batch")
BETA = 0.3


def fresh(batch: Pairs) -> Pairs:
    return batch.select(range(len(batch)))


def sorted_margins(batch: Pairs) -> Tensor:
    """AOT paired on a whole batch, from the paper: the policy's margins and the reference's, each sorted."""
    policy = batch.chosen.logp - batch.rejected.logp
    reference = batch.chosen.ref_logps.sum(1) - batch.rejected.ref_logps.sum(1)
    return -logsigmoid(BETA * (policy.sort().values - reference.sort().values)).mean()


def sorted_ratios(batch: Pairs) -> Tensor:
    """AOT unpaired on a whole batch: the log-ratios of both sides, each sorted."""
    gaps = batch.chosen.log_ratio.sort().values - batch.rejected.log_ratio.sort().values
    return -logsigmoid(BETA * gaps).mean()


def dpo(batch: Pairs) -> Tensor:
    return -logsigmoid(BETA * (batch.chosen.log_ratio - batch.rejected.log_ratio)).mean()


def gradients(serving: LocalEngine) -> Tensor:
    parameters = list(serving.model.policy.model.parameters())
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return flat


WHOLE: dict[str, Callable[[Pairs], Tensor]] = {"aot": sorted_margins, "aot_unpaired": sorted_ratios}


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
@pytest.mark.parametrize("name", WHOLE)
def test_any_split_of_a_batch_has_the_value_and_the_gradient_of_the_sorted_loss(name: str, max_tokens: int) -> None:
    serving, objective = engine(batch_size=9, budget=18), create(f"{name}:beta={BETA}")
    with torch.no_grad():
        batch = next(iter(objective.batches(serving)))
    whole = WHOLE[name](fresh(batch))
    whole.backward()
    expected = gradients(serving)
    serving.model.max_tokens = max_tokens
    assert len(micro_batches(batch, serving.model)) in {1: (9,), 40: range(2, 9), 10_000: (1,)}[max_tokens]
    value, metrics = accumulate(objective, batch, serving)
    assert value == pytest.approx(whole.item(), rel=1e-5)
    assert off(gradients(serving), expected) < 1e-4
    assert set(metrics) >= {"margin", "accuracy"}
    dpo(fresh(batch)).backward()
    assert off(gradients(serving), expected) > 0.05, "no pair met the quantile of another here"


@pytest.mark.parametrize("name", WHOLE)
def test_a_batch_of_one_pair_is_dpo(name: str) -> None:
    serving, objective = engine(batch_size=1, budget=2), create(f"{name}:beta={BETA}")
    with torch.no_grad():
        batch = next(iter(objective.batches(serving)))
    assert accumulate(objective, batch, serving)[0] == pytest.approx(dpo(fresh(batch)).item(), rel=1e-5)
    found = gradients(serving)
    dpo(fresh(batch)).backward()
    assert off(found, gradients(serving)) < 1e-4


def test_partners_have_the_same_rank() -> None:
    values, others = torch.tensor([3.0, -1.0, 2.0, 7.0]), torch.tensor([10.0, 40.0, 30.0, 20.0])
    assert module.partners(values, others).tolist() == [30.0, 10.0, 20.0, 40.0]


@pytest.mark.parametrize("name", ["aot", "aot_unpaired", "bco", "bco_pair"])
def test_the_pass_over_the_whole_batch_is_paid_for_and_leaves_it_unread(name: str) -> None:
    serving = engine(batch_size=4)
    with torch.no_grad():
        batch = next(iter(create(name).batches(serving)))
    read = sum(len(item) for item in batch.rows)
    assert serving.spent.policy_forwards == read and serving.spent.tokens > 0
    assert serving.spent.phases["score"] > 0
    loss = create(name).loss(batch)
    assert loss.requires_grad and not any(tensor.requires_grad for tensor in batch.extra.values())
    assert serving.spent.policy_forwards == 2 * read


def test_the_reward_shift_is_the_middle_of_two_cumulative_means() -> None:
    shift, good = module.RewardShift(), torch.tensor([True, True, False])
    assert shift.update(torch.tensor([2.0, 4.0]), good[:2]).tolist() == [3.0, 3.0]  # no undesirable one yet
    # Desirable (2 + 4 + 6 + 8) / 4 = 5, undesirable -1: 2.
    assert shift.update(torch.tensor([6.0, 8.0, -1.0]), good).tolist() == [2.0] * 3
    # Undesirable (-1 - 3) / 2 = -2, the desirable ones stay as they were: 1.5. Their number does not weigh.
    assert shift.update(torch.tensor([-3.0]), ~good[:1]).tolist() == [1.5]


@pytest.mark.parametrize("name", ["bco", "bco_pair"])
def test_the_running_mean_of_bco_runs_over_batches_at_the_rewards_that_each_had(name: str) -> None:
    serving, objective = engine(batch_size=4, budget=64), create(f"{name}:beta=0.5")
    sides: list[tuple[Tensor, Tensor]] = []  # rewards of the desirable and of the undesirable, batch by batch
    with torch.no_grad():
        for batch in islice(objective.batches(serving), 3):
            if isinstance(batch, Pairs):
                sides.append((0.5 * batch.chosen.log_ratio, 0.5 * batch.rejected.log_ratio))
            else:
                rewards = 0.5 * batch.completions.log_ratio
                sides.append((rewards[batch.desirable], rewards[~batch.desirable]))
            good, bad = (torch.cat(side) for side in zip(*sides, strict=True))
            expected = (good.mean() + bad.mean()) / 2
            assert batch.extra["shift"].shape == (len(batch),)
            assert batch.extra["shift"].tolist() == pytest.approx([expected.item()] * len(batch), rel=1e-4)
            for parameter in serving.model.policy.model.parameters():  # what was met before keeps its reward
                parameter.mul_(0.9)
    assert len(sides) == 3


def test_bco_with_unequal_labels_stands_between_the_two_means() -> None:
    rows = [row for pair in dataset(8).pairs for row in pair]
    serving = engine(of_labelled([(row, i < 2) for i, row in enumerate(rows)]), batch_size=16, budget=16)
    with torch.no_grad():
        batch = next(iter(create("bco").batches(serving)))
        rewards = 0.1 * batch.completions.log_ratio
        middle = (rewards[batch.desirable].mean() + rewards[~batch.desirable].mean()) / 2
        assert off(batch.extra["shift"][:1], middle[None]) < 1e-4
        assert abs(rewards.mean() - middle) > 0.01
