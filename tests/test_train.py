"""The training loop: seeds, schedule, clipping, optimizers and what goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from alignbench import Paired, Pairs, TrainingError, create
from alignbench.engine import Budget, LocalEngine
from alignbench.train import accumulate, train
from tests.small import engine, gradient, off, reward_model


def weights(serving: LocalEngine) -> Tensor:
    return torch.cat([p.detach().flatten() for p in serving.model.policy.model.parameters()])


@pytest.mark.parametrize("spec", ["dpo", "kto", "ppo"])
def test_a_seed_twice_is_bit_identical_and_two_seeds_differ(spec: str) -> None:
    runs: list[tuple[Tensor, list[Any]]] = []
    for seed in (3, 3, 4):
        serving = engine(seed=seed, budget=24, rewards=reward_model())
        torch.manual_seed(len(runs))  # the global generator has no say
        before = torch.get_rng_state()
        steps = [(s.loss, s.grad_norm, s.metrics) for s in train(serving, create(spec))]
        assert torch.equal(torch.get_rng_state(), before)
        runs.append((weights(serving), steps))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


def rates(spec: str = "dpo", **settings: Any) -> list[float]:
    serving = engine(learning_rate=0.01, rewards=reward_model(), **settings)
    return [step.learning_rate / 0.01 for step in train(serving, create(spec))]


def test_the_learning_rate_rises_over_the_warm_up_and_falls_with_the_budget() -> None:
    # Batches of 4 of 20 pairs: before them 0, 1/5, ... of the budget are used.
    expected = [1 / 3 * 1, 2 / 3 * 0.8, 0.6, 0.4, 0.2]
    assert rates(budget=40, warmup_steps=3) == pytest.approx(expected)
    assert rates(budget=40, warmup_steps=0) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_steps_end_training_early_and_the_rate_with_it() -> None:
    assert rates(budget=40, warmup_steps=0, steps=2) == pytest.approx([1, 0.5])
    assert rates(budget=40, warmup_steps=0, steps=100) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_inner_epochs_keep_the_rate_of_their_rollout() -> None:
    found = rates("ppo:inner_epochs=2:minibatches=2", budget=12, warmup_steps=0)
    assert found == pytest.approx([1] * 4 + [2 / 3] * 4 + [1 / 3] * 4)


@pytest.mark.parametrize("spec", ["dpo", "ppo:inner_epochs=2"])
def test_a_budget_of_tokens_lowers_the_rate_too(spec: str) -> None:
    found = rates(spec, budget=Budget(1, tokens=600), warmup_steps=0)
    assert found[0] == 1
    assert found[-1] < 0.5
    assert all(later <= earlier for earlier, later in pairwise(found))


def test_the_tokens_that_are_spent_are_those_that_a_step_reads() -> None:
    serving = engine(budget=24)
    list(train(serving, create("dpo")))
    data = serving.sources.dataset
    assert data is not None and serving.spent.completions == 24
    pairs = [len(c.prompt) + len(c.completion) + len(r.completion) for c, r in data.pairs]
    assert serving.spent.tokens == 2 * sum(pairs)  # by the policy, and by the reference, which is in no cache here


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_clipping_and_the_optimizers_against_their_formulas(optimizer: str, clip: float) -> None:
    serving = engine(
        optimizer=optimizer, max_grad_norm=clip, learning_rate=0.01, warmup_steps=0, batch_size=6, budget=24
    )
    steps = list(train(serving, create("dpo")))
    by_hand = engine(batch_size=6, budget=24)
    parameters = list(by_hand.model.policy.model.parameters())
    first, second = torch.zeros(()), torch.zeros(())
    for k, batch in enumerate(by_hand.pairs(), start=1):
        accumulate(create("dpo"), batch, by_hand)
        g = gradient(iter(parameters))
        assert steps[k - 1].grad_norm == pytest.approx(g.norm().item(), rel=1e-4)  # before it is clipped
        assert g.norm() > 0.5
        g = g * min(1.0, clip / g.norm().item())
        rate = 0.01 * (1 - (k - 1) / 2)
        if optimizer == "adamw":  # betas 0.9 and 0.999, no weight decay
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            move = first / (1 - 0.9**k) / ((second / (1 - 0.999**k)).sqrt() + 1e-8)
        else:
            second = 0.99 * second + 0.01 * g**2
            move = g / (second.sqrt() + 1e-8)
        with torch.no_grad():
            for parameter, change in zip(parameters, move.split([p.numel() for p in parameters]), strict=True):
                parameter.sub_(rate * change.view_as(parameter))
    assert (weights(serving) - weights(by_hand)).abs().max() < 1e-5 < 0.01 / 10
    assert len(steps) == 2


# What goes wrong.


@dataclass(frozen=True)
class Broken(Paired):
    """Sound for one step; then `kind` says what breaks."""

    paper = "none"
    kind: str = ""
    calls: ClassVar[int] = 0

    def loss(self, batch: Pairs) -> Tensor:
        type(self).calls += 1
        logp = batch.chosen.logp
        if Broken.calls < 2:
            return -logp
        wrong = {
            "nan": logp * torch.tensor([1.0, math.nan, 1.0, 1.0]),
            "infinite": logp / 0,
            "overflow": logp * 0 + 3e38,
            "gradient": (logp - logp.detach()).abs().sqrt(),  # 0, with an infinite slope
        }
        return wrong[self.kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", r"^step 2: the loss is nan \(1 of 4 elements of Broken\.loss, first at \[1\]\)\.$"),
        ("infinite", r"^step 2: the loss is -inf \(4 of 4 elements of Broken\.loss, first at \[0\]\)\.$"),
        ("overflow", r"^step 2: the loss is inf \(0 of 4 elements of Broken\.loss: their sum is too large\)\.$"),
        ("gradient", r"^step 2: the gradient is not finite \(norm nan\); the loss was 0\.$"),
    ],
)
def test_a_loss_that_is_not_finite_names_the_step_and_the_cause(kind: str, message: str) -> None:
    Broken.calls = 0
    serving = engine(budget=24)
    with pytest.raises(TrainingError, match=message):
        list(train(serving, Broken(kind=kind)))
    assert torch.isfinite(weights(serving)).all()  # the step that failed was not taken


def test_a_diverged_model_names_the_metrics_that_are_lost_too() -> None:
    serving = engine()
    with torch.no_grad():
        serving.model.policy.model.get_output_embeddings().weight.fill_(math.nan)
    with pytest.raises(TrainingError, match="not finite as well: chosen_logp, rejected_logp, margin"):
        next(train(serving, create("dpo")))


def test_no_batch_at_all_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no batch"):
        next(train(engine(budget=Budget(1, seconds=1e-9)), create("dpo")))


def test_the_head_starts_from_the_seed_and_is_trained() -> None:
    def head(seed: int, learning_rate: float) -> Tensor:
        serving = engine(seed=seed, rewards=reward_model(), learning_rate=learning_rate)
        list(train(serving, create("reward_model")))
        assert serving.head is not None
        return next(iter(serving.head.parameters())).detach()

    still = 1e-12
    assert torch.equal(head(0, still), head(0, still))
    assert off(head(1, still), head(0, still)) > 0.1
    assert 1e-3 < off(head(0, 1e-2), head(0, still)) < 0.1
