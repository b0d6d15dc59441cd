"""The conformance kit over every shipped objective, and the formulas of those that train offline."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from alignbench import Completions, InputError, Labelled, Objective, Pairs, Tokens, create
from alignbench.check import CHECKS, Subject, ask
from alignbench.engine import LocalEngine
from alignbench.models import as_reward_model
from alignbench.plugins import available, recreate
from tests.small import dataset, engine, full_logps, language_model, of_labelled, off, policy

OBJECTIVES: dict[str, type[Objective[Any]]] = available("objective")
every = pytest.mark.parametrize("name", sorted(OBJECTIVES))


@lru_cache(maxsize=2)
def subject(name: str) -> Subject:
    """One for all checks of an objective: they share what it was served."""
    return Subject(recreate(name))


@pytest.mark.parametrize("check", CHECKS)
@every
def test_every_objective_passes_the_kit(name: str, check: str) -> None:
    outcome = ask(subject(name), check)
    assert outcome.good, f"{name}: {outcome.sentence}"


# What a kit cannot ask of every objective, the authors' own ones included.


@every
def test_a_head_starts_with_a_spread_of_1_over_the_root_of_d_plus_1(name: str) -> None:
    """N+ implementation details of RLHF with PPO, for reward and value heads alike."""
    serving = engine()
    head = create(name).init(serving)
    if head is None:
        return
    weight, *biases = (parameter.detach() for parameter in head.parameters())
    assert weight.shape == (1, serving.hidden_size)
    assert weight.square().mean().sqrt() == pytest.approx((serving.hidden_size + 1) ** -0.5, rel=0.5)
    assert all((bias == 0).all() for bias in biases)


def test_a_hyper_parameter_of_no_value_or_beyond_its_range_is_refused_in_one_sentence() -> None:
    make: Any = OBJECTIVES["dpo"]
    for value, said in [
        ("0.1", "'0.1' must be of type float"),
        (math.nan, "nan must be a finite number"),
        (-1, "must be above 0"),
    ]:
        with pytest.raises(InputError, match=f"^DPO: beta=.*{said}"):
            make(beta=value)


# The formulas.
def test_dpo_at_the_reference_is_log_2() -> None:
    serving = engine(model=language_model(seed=1), reference_seed=1)
    batch = next(serving.pairs())
    for beta in (0.1, 3):
        assert_close(create(f"dpo:beta={beta}").loss(batch).detach(), torch.full((4,), math.log(2)), atol=1e-5, rtol=0)


def leaf(*values: float) -> tuple[Completions, Tensor]:
    """Completions of one token with these log-ratios, and the tensor to differentiate by."""
    logps = torch.tensor([[value] for value in values], requires_grad=True)
    return Completions.of(logps, torch.zeros(len(values), 1), torch.ones(len(values), 1)), logps


def test_dpo_raises_the_chosen_and_lowers_the_rejected_most_where_it_is_wrong() -> None:
    (chosen, up), (rejected, down) = leaf(-3.0, 0.0, 3.0), leaf(0.0, 0.0, 0.0)
    create("dpo:beta=0.5").loss(Pairs(chosen, rejected)).sum().backward()
    expected = -0.5 * torch.sigmoid(-0.5 * torch.tensor([[-3.0], [0.0], [3.0]]))  # -beta sigmoid(-beta margin)
    assert_close(up.grad, expected)
    assert_close(down.grad, -expected)


def labelled(drift: list[float]) -> tuple[Labelled, Tensor]:
    completions, logps = leaf(-1.0, 2.0)
    return Labelled.of(completions, torch.tensor([True, False]), torch.tensor(drift, requires_grad=True)), logps


def test_kto_raises_the_desirable_and_lowers_the_undesirable() -> None:
    batch, logps = labelled([1.0])
    create("kto:beta=0.5:desirable_weight=2:undesirable_weight=3").loss(batch).sum().backward()
    sigmoid = torch.sigmoid(0.5 * torch.tensor([[-1.0 - 1], [1.0 - 2]]))
    assert_close(logps.grad, 0.5 * torch.tensor([[-2.0], [3.0]]) * sigmoid * (1 - sigmoid))


def test_the_drift_of_kto_is_a_mean_clamped_at_0_without_gradient() -> None:
    def loss(*drift: float) -> list[float]:
        found: list[float] = create("kto").loss(labelled(list(drift))[0]).tolist()
        return found

    assert loss(4.0, -2.0) == loss(1.0)  # the mean first, then the clamp: not (4 + 0) / 2
    assert loss(-5.0, 1.0) == loss(0.0) != loss(1.0)
    batch, _ = labelled([1.0, 2.0])
    assert not batch.mismatched_log_ratio.requires_grad
    real = next(engine().labelled())
    assert real.completions.log_ratio.requires_grad and not real.mismatched_log_ratio.requires_grad


@pytest.mark.parametrize(("good", "bad", "spec", "warned"), [
    (5, 5, "kto", False),
    (8, 6, "kto", False),
    (4, 6, "kto", True),
    (9, 6, "kto", True),
    (4, 6, "kto:desirable_weight=1.5", False),
    (6, 6, "kto:undesirable_weight=0.5", True),
    (6, 0, "kto", True),
])  # fmt: skip
def test_kto_warns_of_unbalanced_weights(good: int, bad: int, spec: str, warned: bool) -> None:
    rows = [row for pair in dataset(12).pairs for row in pair]
    serving = engine(of_labelled([(row, i < good) for i, row in enumerate(rows[: good + bad])]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        create(spec).batches(serving)
    assert [str(w.message).startswith("KTO: lambda_D n_D / (lambda_U n_U) is ") for w in caught] == [True] * warned


class Watching(LocalEngine):
    """An engine that keeps the rows it scores."""

    def __init__(self, inner: LocalEngine) -> None:
        super().__init__(inner.model, inner.sources, inner.training, inner.budget, inner.seed)
        self.scored: list[Tokens] = []

    def forward(self, rows: Sequence[Tokens]) -> Any:
        self.scored += rows
        return super().forward(rows)


def test_supervised_losses_are_the_cross_entropy_of_the_tokens() -> None:
    data = dataset()
    for name in ("sft", "preferred_ft"):
        serving = Watching(engine(data))
        batch = next(iter(create(name).batches(serving)))
        expected = torch.cat([-full_logps(serving.model.policy, row) for row in batch.tokens])
        assert off(create(name).loss(batch)[batch.mask], expected) < 1e-5
        chosen = {c for c, _ in data.pairs}
        assert set(serving.scored) == set(batch.tokens) <= chosen  # the rejected side is never run


def test_the_reward_model_reads_the_state_after_the_last_token_and_serves_what_it_trained() -> None:
    base = policy()
    head = nn.Linear(base.hidden_size, 1, bias=False)
    serving = engine()
    serving.head = head
    batch = next(serving.pairs())
    served = as_reward_model(base, head, "served")
    chosen, rejected = (
        served.score([row.prompt + row.completion for row in side.tokens]) for side in (batch.chosen, batch.rejected)
    )
    assert len({row.completion[-1] for row in batch.chosen.tokens}) == 1  # the end token
    margin = create("reward_model").metrics(batch)["margin"]
    assert off(margin, chosen - rejected) < 1e-5
    loss = create("reward_model:centring=0.3").loss(batch)
    assert off(loss, torch.log1p(torch.exp(rejected - chosen)) + 0.3 * (chosen + rejected) ** 2) < 1e-5
