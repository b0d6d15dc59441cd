"""What holds for every shipped objective, and the formulas of those that train offline."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from alignbench import Completions, Experience, InputError, Labelled, Objective, Pairs, Prompts, Range, Tokens, create
from alignbench.engine import LocalEngine
from alignbench.models import as_reward_model
from alignbench.objective import NEEDS
from alignbench.plugins import available
from alignbench.train import train
from tests.small import dataset, engine, full_logps, language_model, of_labelled, off, policy, reward_model

OBJECTIVES: dict[str, type[Objective[Any]]] = available("objective")
every = pytest.mark.parametrize("name", sorted(OBJECTIVES))
quiet_kto = pytest.mark.filterwarnings("ignore:KTO")


class Recording(LocalEngine):
    """An engine that writes down what it is asked for, in the words of `needs`, and the rows it scores."""

    def __init__(self, inner: LocalEngine) -> None:
        super().__init__(inner.model, inner.sources, inner.training, inner.budget, inner.seed)
        self.used: set[str] = set()
        self.scored: list[Tokens] = []

    def pairs(self) -> Iterator[Pairs]:
        self.used.add("pairs")
        return super().pairs()

    def labelled(self) -> Iterator[Labelled]:
        self.used.add("labels")
        return super().labelled()

    def demonstrations(self) -> Iterator[Completions]:
        self.used.add("demonstrations")
        return super().demonstrations()

    def sample(self, prompts: Prompts, n: int = 1) -> Completions:
        self.used.add("sampling")
        return super().sample(prompts, n)

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        self.used.add("reward" if source == "model" else "gold")
        return super().reward(samples, source)

    def reference(self, rows: Sequence[Tokens]) -> Tensor:
        self.used.add("reference")
        return super().reference(rows)

    def forward(self, rows: Sequence[Tokens]) -> Any:
        self.scored += rows
        return super().forward(rows)


def example(name: str) -> tuple[Any, Tensor]:
    make: Any = OBJECTIVES[name]  # mypy takes the abstract method to return nothing
    batch, expected = make.example()
    return batch, expected


@every
def test_the_example_worked_by_hand_is_the_loss(name: str) -> None:
    batch, expected = example(name)
    loss = create(name).loss(batch)
    assert loss.shape == expected.shape
    assert_close(loss, expected, atol=1e-5, rtol=0)


@every
@quiet_kto
def test_what_it_needs_is_what_it_uses(name: str) -> None:
    needs = OBJECTIVES[name].needs
    assert needs <= NEEDS
    serving = Recording(engine(rewards=reward_model()))
    if "reference" not in needs:
        serving.sources.reference = None  # so a run gives it: reading it would fail
    steps = list(train(serving, create(name)))
    assert len(steps) >= 2
    assert serving.used == needs


@every
@quiet_kto
def test_losses_and_metrics_are_one_figure_for_each_sequence_or_token(name: str) -> None:
    serving, objective = engine(rewards=reward_model()), create(name)
    serving.head = objective.init(serving)
    with torch.no_grad():
        batch = next(iter(objective.batches(serving)))
    shapes = {(len(batch),), tuple(batch.mask.shape)}
    loss = objective.loss(batch)
    assert tuple(loss.shape) in shapes
    assert loss.requires_grad and loss.dtype == torch.float32
    with torch.no_grad():
        metrics = objective.metrics(batch)
    assert metrics
    for value in metrics.values():
        assert tuple(value.shape) in shapes
        assert not value.requires_grad


def padded(batch: Any, by: int = 3, junk: float = 7.0) -> Any:
    """The same batch of plain tensors with `by` more columns of junk behind the mask."""
    widen = nn.functional.pad
    if isinstance(batch, Pairs):
        return Pairs(padded(batch.chosen, by + 1), padded(batch.rejected, by))
    if isinstance(batch, Labelled):
        return replace(batch, completions=padded(batch.completions))
    if isinstance(batch, Experience):
        tensors = {f: getattr(batch, f) for f in ("old_logps", "advantages", "returns", "old_values")}
        wide: Any = {f: None if x is None else widen(x, (0, by), value=junk) for f, x in tensors.items()}
        return replace(batch, completions=padded(batch.completions), **wide)
    assert isinstance(batch, Completions)
    given = {f: getattr(batch, f, None) for f in ("logps", "ref_logps", "values")}
    wide = {f: None if x is None else widen(x, (0, by), value=junk) for f, x in given.items()}
    return Completions.of(wide["logps"], wide["ref_logps"], widen(batch.mask, (0, by)), wide["values"])


@every
def test_padding_changes_nothing(name: str) -> None:
    batch, expected = example(name)
    wide = padded(batch)
    assert wide.mask.shape[1] > batch.mask.shape[1]
    loss = create(name).loss(wide)
    if loss.dim() == 2:
        assert_close(loss[wide.mask], expected[batch.mask], atol=1e-5, rtol=0)
    else:
        assert_close(loss, expected, atol=1e-5, rtol=0)


@every
def test_the_loss_of_an_item_does_not_depend_on_the_others(name: str) -> None:
    batch, expected = example(name)
    for rows in ([1, 0], [1], [0, 0, 1]):
        loss = create(name).loss(batch.select(rows))
        assert_close(loss, expected[rows][:, : loss.shape[1]] if loss.dim() == 2 else expected[rows], atol=1e-5, rtol=0)


BOUNDS = [
    (name, field, value)
    for name, cls in OBJECTIVES.items()
    for field, hint in get_type_hints(cls, include_extras=True).items()
    for mark in getattr(hint, "__metadata__", ())
    if isinstance(mark, Range)
    for value in [mark.low - (not mark.low_open), mark.high + 1]
    if math.isfinite(value)
]


@pytest.mark.parametrize(("name", "field", "value"), BOUNDS)
def test_a_hyper_parameter_out_of_its_range_is_refused(name: str, field: str, value: float) -> None:
    make: Any = OBJECTIVES[name]
    given = type(getattr(create(name), field))(value)
    with pytest.raises(InputError, match=rf"^{make.__name__}: {field}={given:g} must be (above|at least|at most) "):
        make(**{field: given})


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


@every
def test_a_hyper_parameter_of_no_value_or_no_number_is_refused(name: str) -> None:
    make: Any = OBJECTIVES[name]
    for field in fields(make):
        wrong = ["0.1", None] + [math.nan, math.inf] * (type(field.default) is float)
        for value in wrong:
            with pytest.raises(InputError, match=f"{field.name}={value!r} must be"):
                make(**{field.name: value})


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


def test_supervised_losses_are_the_cross_entropy_of_the_tokens() -> None:
    data = dataset()
    for name in ("sft", "preferred_ft"):
        serving = Recording(engine(data))
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
