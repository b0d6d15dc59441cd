"""Batches: what is computed, when, once, with which gradient; and how they are split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, Experience, Labelled, Pairs, Prompts, Tokens
from alignbench.batch import Coupled

A = Tokens((7,), (1, 2, 3), prompt_id=0)
B = Tokens((7,), (4,), prompt_id=0, ended=False)
C = Tokens((8, 9), (5, 6), prompt_id=1)
D = Tokens((8, 9), (2, 2, 2, 2), prompt_id=1)


@dataclass
class Model:
    """A scorer that writes down what it is asked: log pi(token) = -weight * token, log pi_ref(token) = -token."""

    weight: Tensor = field(default_factory=lambda: torch.tensor(2.0, requires_grad=True))
    head: Tensor = field(default_factory=lambda: torch.tensor(10.0, requires_grad=True))
    asked: list[str] = field(default_factory=list)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def forward(self, rows: Sequence[Tokens]) -> Pass:
        return Pass(self, self.note("forward", rows))

    def reference(self, rows: Sequence[Tokens]) -> Tensor:
        assert not torch.is_grad_enabled()
        return -flat(self.note("reference", rows), 0)

    def values(self, states: Tensor) -> Tensor:
        self.asked.append("values")
        return self.head * states[..., 0]

    def note(self, what: str, rows: Sequence[Tokens]) -> Sequence[Tokens]:
        self.asked.append(f"{what} {' '.join(''.join(map(str, row.completion)) for row in rows)}")
        return rows


@dataclass
class Pass:
    model: Model
    rows: Sequence[Tokens]

    @cached_property
    def logps(self) -> Tensor:
        return -self.model.weight * flat(self.rows, 0)

    @cached_property
    def states(self) -> Tensor:  # the token itself, then 1; after the last token 0
        tokens = flat(self.rows, 1)
        return torch.stack([self.model.weight * tokens, torch.ones_like(tokens)], dim=-1)

    @cached_property
    def entropy(self) -> Tensor:
        self.model.asked.append("entropy")
        return flat(self.rows, 0) / 10

    @cached_property
    def collision(self) -> Tensor:
        self.model.asked.append("collision")
        return -flat(self.rows, 0) / 5


def flat(rows: Sequence[Tokens], extra: int) -> Tensor:
    return torch.tensor([float(token) for row in rows for token in (*row.completion, *[0] * extra)])


def test_nothing_is_computed_before_it_is_read() -> None:
    model = Model()
    pairs = Pairs.from_rows([A, C], [B, D], model)
    pairs.select([1])
    assert (len(pairs), pairs.mask.shape, list(pairs.rows)) == (2, (2, 3 + 4), [(A, B), (C, D)])
    assert pairs.chosen.length.tolist() == [3, 2]
    assert pairs.rejected.ended.tolist() == [False, True]
    assert model.asked == []


@pytest.mark.parametrize(
    ("read", "asked"),
    [
        (["logps"], ["forward 123 4"]),
        (["logp", "mean_logp", "logps"], ["forward 123 4"]),
        (["ref_logps"], ["reference 123 4"]),
        (["log_ratio", "logp"], ["forward 123 4", "reference 123 4"]),
        (["states", "logps"], ["forward 123 4"]),
        (["values", "logps", "states", "values"], ["forward 123 4", "values"]),
        (["entropy", "logp"], ["forward 123 4", "entropy"]),
        (["collision", "logp"], ["forward 123 4", "collision"]),
    ],
)
def test_an_objective_pays_only_for_what_it_reads_and_once(read: list[str], asked: list[str]) -> None:
    model = Model()
    completions = Completions.from_rows([A, B], model)
    for name in [*read, *read]:
        getattr(completions, name)
    assert model.asked == asked


def test_chosen_and_rejected_are_scored_in_one_pass() -> None:
    model = Model()
    pairs = Pairs.from_rows([A, C], [B, D], model)
    # Chosen log-ratios -(2 - 1) * (1 + 2 + 3) = -6 and -11, rejected -4 and -8.
    assert_close(pairs.chosen.log_ratio - pairs.rejected.log_ratio, torch.tensor([-6.0 + 4, -11.0 + 8]))
    assert model.asked == ["forward 123 56 4 2222", "reference 123 56 4 2222"]


def test_figures_by_hand() -> None:
    completions = Completions.from_rows([A, B], Model())
    assert_close(completions.logps.detach(), torch.tensor([[-2.0, -4.0, -6.0], [-8.0, 0.0, 0.0]]))
    assert_close(completions.ref_logps, torch.tensor([[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]]))
    assert_close(completions.logp.detach(), torch.tensor([-12.0, -8.0]))
    assert_close(completions.mean_logp.detach(), torch.tensor([-4.0, -8.0]))
    assert_close(completions.log_ratio.detach(), torch.tensor([-6.0, -4.0]))
    # One state before each token and one after the last: 10 * 2 * token.
    assert_close(completions.values.detach(), torch.tensor([[20.0, 40.0, 60.0, 0.0], [80.0, 0.0, 0.0, 0.0]]))
    assert completions.states.shape == (2, 4, 2)
    assert completions.mask.tolist() == [[True, True, True], [True, False, False]]


def test_padding_is_zero() -> None:
    rejected = Pairs.from_rows([D, A], [B, C], Model()).rejected  # its width is its own, not that of the chosen
    assert rejected.mask.shape == (2, 2)
    for tensor in (rejected.logps, rejected.ref_logps, rejected.entropy, rejected.collision):
        assert tensor.shape == rejected.mask.shape
        assert torch.equal(tensor != 0, rejected.mask)
    after = torch.cat([torch.ones(2, 1, dtype=torch.bool), rejected.mask], dim=1)
    assert torch.equal(rejected.states[..., 1] != 0, after)
    assert not rejected.values[~after].any()
    garbage = torch.full((1, 2), 9.0)
    made = Completions.of(garbage, garbage, torch.tensor([[1, 0]]), entropy=garbage, collision=garbage)
    assert [t.tolist() for t in (made.logps, made.ref_logps, made.entropy, made.collision)] == [[[9.0, 0.0]]] * 4
    assert made.mean_logp.tolist() == [9.0]


def test_only_the_policy_has_a_gradient() -> None:
    model = Model()
    completions = Completions.from_rows([A, B], model)
    assert not completions.ref_logps.requires_grad
    (completions.log_ratio.sum() + completions.values.sum()).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.item() == -10.0 + 100.0  # -(1 + 2 + 3 + 4) and ten times as much through the values
    assert model.head.grad is not None
    assert model.head.grad.item() == 20.0


def test_select_scores_anew_and_keeps_no_gradient() -> None:
    model = Model()
    whole = Pairs.from_rows([A, C], [B, D], model)
    with torch.no_grad():
        assert not whole.chosen.logps.requires_grad
        model.weight += 1
    part = whole.select([1])
    assert (part.chosen.tokens, part.rejected.tokens) == ((C,), (D,))
    assert part.chosen.logp.item() == -33.0  # the weight of now, 3, and not that of the first reading
    assert part.chosen.logps.requires_grad
    assert part.rejected.logps.shape == (1, 4)
    assert model.asked == ["forward 123 56 4 2222", "forward 56 2222"]


def test_select_may_reorder_and_narrow() -> None:
    part = Completions.from_rows([D, A, B], Model()).select([2, 1])
    assert part.tokens == (B, A)
    assert part.mask.shape == (2, 3)
    assert part.rows == [(B,), (A,)]


def test_select_keeps_given_references_and_drops_given_log_probs() -> None:
    model = Model()
    known = Completions.from_rows([D, A, B], model).with_scores(
        logps=torch.full((3, 4), 5.0), ref_logps=torch.arange(12.0).reshape(3, 4), values=torch.ones(3, 5)
    )
    assert known.logps[0, 0] == 5
    assert known.values.sum() == 15
    assert model.asked == []
    part = known.select([1])
    assert part.ref_logps.tolist() == [[4.0, 5.0, 6.0]]
    assert part.logp.item() == -12.0
    assert part.values[0, 0].item() == 20.0
    assert model.asked == ["forward 123", "values"]


def test_micro_batches_give_the_gradient_of_the_whole() -> None:
    model = Model()
    whole = Pairs.from_rows([A, C, D], [B, D, A], model)

    def gradient(batches: list[Pairs]) -> Tensor:
        model.weight.grad = None
        for batch in batches:
            margin = batch.chosen.log_ratio - batch.rejected.log_ratio
            (torch.nn.functional.softplus(-margin).sum() / len(whole)).backward()
        assert model.weight.grad is not None
        return model.weight.grad

    assert_close(gradient([whole.select([i]) for i in range(3)]), gradient([whole.select(range(3))]))


def test_batches_of_plain_tensors() -> None:
    logps = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    mask = torch.tensor([[1, 1], [1, 0]])
    plain = Completions.of(logps, None, mask, values=torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert len(plain) == 2
    assert plain.length.tolist() == [2, 1]
    part = plain.select([1])
    assert (part.logp.item(), part.values.tolist()) == (-3.0, [[4.0, 5.0, 6.0]])
    assert part.logp.requires_grad  # so that an example can be differentiated
    for unknown in ("ref_logps", "states", "entropy", "collision"):
        with pytest.raises(AttributeError, match=unknown):
            getattr(plain, unknown)
    pairs = Pairs(plain, Completions.of(logps.detach(), None, mask)).select([0])
    assert (pairs.chosen.logp.item(), pairs.rejected.logp.item()) == (-3.0, -3.0)


def test_plain_tensors_with_scores_are_still_plain() -> None:
    plain = Completions.of(torch.tensor([[-1.0], [-3.0]]), None, torch.ones(2, 1))
    scored = plain.with_scores(ref_logps=torch.zeros(2, 1))
    assert scored.select([1]).log_ratio.item() == -3.0
    with pytest.raises(AttributeError, match="plain tensors without 'values'"):
        _ = scored.values


def test_what_couples_a_labelled_batch_is_computed_once_for_all_of_it() -> None:
    model, computed = Model(), 0

    def drift() -> Tensor:
        nonlocal computed
        computed += 1
        return Completions.from_rows([C, A], model).log_ratio

    batch = Labelled(Completions.from_rows([A, C], model), torch.tensor([True, False]), Coupled(drift))
    parts = [batch.select([1]), batch.select([0])]
    assert (len(batch), parts[0].rows, parts[0].desirable.tolist()) == (2, [(C,)], [False])
    assert computed == 0
    for labelled in (parts[0], batch, parts[1].select([0])):
        assert labelled.mismatched_log_ratio.tolist() == [-11.0, -6.0]  # of the whole batch, whichever part asks
        assert not labelled.mismatched_log_ratio.requires_grad
    assert computed == 1
    assert parts[0].completions.logps.requires_grad
    drawn = torch.tensor([1.0], requires_grad=True)
    made = Labelled.of(Completions.of(torch.zeros(1, 1), None, torch.ones(1, 1)), torch.tensor([1]), drawn)
    assert made.desirable.dtype == torch.bool
    assert not made.mismatched_log_ratio.requires_grad
    assert made.mask.shape == (1, 1)


def test_experience_is_split_with_what_was_known_when_it_was_sampled() -> None:
    model = Model()
    completions = Completions.from_rows([D, A, B], model)
    table = torch.arange(12.0).reshape(3, 4)
    experience = Experience(
        completions, table, table + 1, returns=table + 2, scores=torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    )
    part = experience.select([2, 1])
    assert (len(experience), len(part), part.rows, part.mask.shape) == (3, 2, [(B,), (A,)], (2, 3))
    assert part.old_logps.tolist() == [[8.0, 9.0, 10.0], [4.0, 5.0, 6.0]]
    assert_close(part.advantages, part.old_logps + 1)
    assert part.returns is not None
    assert_close(part.returns, part.old_logps + 2)
    assert part.old_values is None
    assert part.scores is not None
    assert part.scores.tolist() == [3.0, 2.0]
    assert not part.scores.requires_grad
    assert model.asked == []
    assert part.completions.logps.requires_grad
    assert model.asked == ["forward 4 123"]


def test_prompts_have_a_length() -> None:
    assert len(Prompts((Tokens((1,), ()), Tokens((2,), ())))) == 2
