"""The chunked head: the same figures and gradients as the whole one, and never a [tokens, vocabulary] tensor."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alignbench import Completions, Tokens
from alignbench.logprobs import Head, Path, chunked_entropy, chunked_kl, chunked_logps, forward, head, head_of
from tests.small import BOS, engine, language_model, off, policy, rows

ROWS, WIDTH, WORDS = 17, 5, 11


PATHS = [Path(True), Path(True, tiles=False), Path(False), Path(False, chunked=False)]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """states [N, D], weight [V, D], bias [V], targets [N] (one token several times, some never)."""
    source = torch.Generator().manual_seed(0)
    shapes = [(ROWS, WIDTH), (WORDS, WIDTH), (WORDS,)]
    states, weight, bias = (torch.randn(s, generator=source, dtype=torch.float64).to(dtype) for s in shapes)
    return states, weight, bias, torch.randint(WORDS - 3, (ROWS,), generator=source)


def direct(states: Tensor, head: Head, targets: Tensor) -> Tensor:
    return distributions(states, head)[torch.arange(len(targets)), targets]


def distributions(states: Tensor, head: Head) -> Tensor:
    logits = head.scale * (states @ head.weight.T + (0 if head.bias is None else head.bias))
    logits = logits if head.cap is None else head.cap * torch.tanh(logits / head.cap)
    return logits.log_softmax(1)


def chunked(states: Tensor, head: Head, targets: Tensor, chunk: int = head.CHUNK) -> Tensor:
    return chunked_logps(states, head, targets, chunk)[0]


CHANGES: list[dict[str, Any]] = [{}, {"scale": 0.3}, {"cap": 1.5}, {"scale": 2.0, "cap": 3.0}]


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 2 * WORDS, 6 * WORDS + 3, ROWS * WORDS, 10**6])  # 1, 2, 6 and all rows at once
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_chunks_of_any_size_give_the_whole(
    chunk: int, with_bias: bool, changes: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    states, weight, bias, targets = inputs(dtype)
    parameters = [states, weight, *([bias] if with_bias else [])]
    upstream = torch.linspace(-1, 2, ROWS, dtype=dtype)
    results = []
    for compute in (direct, partial(chunked, chunk=chunk)):
        leaves = [parameter.clone().requires_grad_() for parameter in parameters]
        logps = compute(leaves[0], Head(leaves[1], leaves[2] if with_bias else None, **changes), targets)
        results.append([logps.detach(), *torch.autograd.grad((logps * upstream).sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        assert found.dtype == dtype
        assert off(found, expected) < tolerance


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradcheck(with_bias: bool, changes: dict[str, Any]) -> None:
    states, weight, bias, targets = inputs()
    leaves = [x.requires_grad_() for x in (states, weight, bias)][: 2 + with_bias]

    def compute(*given: Tensor) -> Tensor:
        return chunked(given[0], Head(given[1], given[2] if with_bias else None, **changes), targets, chunk=3 * WORDS)

    assert torch.autograd.gradcheck(compute, leaves)


@pytest.mark.parametrize("chunk", [2 * WORDS, 10**6])
def test_a_second_backward_pass_gives_the_same(chunk: int) -> None:
    """The probabilities that were kept are overwritten by the first: the second must not take what it finds there."""
    states, weight, bias, targets = inputs()
    leaves = [x.requires_grad_() for x in (states, weight, bias)]
    logps = chunked(states, Head(weight, bias), targets, chunk)
    first, second = (torch.autograd.grad(logps.sum(), leaves, retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("chunk", [2 * WORDS, 10**6])
def test_gradients_added_to_grad_at_once_are_those_that_are_returned(chunk: int) -> None:
    states, weight, bias, targets = inputs()
    states.requires_grad_()
    expected = torch.autograd.grad(
        chunked(states, Head(weight.requires_grad_(), bias), targets).sum(), [states, weight]
    )
    for times in (1, 2):  # into an empty .grad, and on top of what is there
        chunked(states, Head(weight, bias, into_grad=True), targets, chunk).sum().backward()
        assert weight.grad is not None and states.grad is not None
        assert off(weight.grad, times * expected[1]) < 1e-12
        assert off(states.grad, times * expected[0]) < 1e-12


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_entropy_of_a_pass_with_gradient_is_that_of_the_formula(with_bias: bool, changes: dict[str, Any]) -> None:
    states, weight, bias, targets = inputs(torch.float32)
    head = Head(weight.requires_grad_(), bias if with_bias else None, **changes)
    entropy = chunked_logps(states, head, targets, 3 * WORDS)[1]
    logps = distributions(states, head)
    assert entropy is not None and not entropy.requires_grad
    assert off(entropy, -(logps.exp() * logps).sum(1).detach()) < 1e-6


def test_a_frozen_head_gets_no_gradient_and_its_input_does() -> None:
    states, weight, bias, targets = inputs()
    chunked(states.requires_grad_(), Head(weight, bias), targets).sum().backward()
    assert weight.grad is None and bias.grad is None
    expected = torch.autograd.grad(direct(states, Head(weight, bias), targets).sum(), states)
    assert_close(states.grad, expected[0])


def test_log_softmax_is_in_float32_for_bfloat16_weights() -> None:
    states, weight, bias, targets = inputs(torch.bfloat16)
    logps = chunked(states, Head(weight, bias), targets, chunk=2 * WORDS)
    logits = states.double() @ weight.double().T + bias
    exact = logits.log_softmax(1)[torch.arange(ROWS), targets]
    assert logps.dtype == torch.float32
    assert off(logps.double(), exact) < 1e-6
    rounded = logits.bfloat16().log_softmax(1)[torch.arange(ROWS), targets]
    assert off(rounded.double(), exact) > 1e-4, "bfloat16 is too good here to tell the difference"


@pytest.mark.parametrize("path", PATHS)
def test_both_paths_work_out_bfloat16_models_in_float32(path: Path) -> None:
    model = policy(dtype=torch.bfloat16)
    passed = path.score(model, rows(), head_of(model.model))
    assert passed.logps.dtype == passed.entropy.dtype == passed.collision.dtype == torch.float32
    total = passed.log_softmax(slice(None)).double().exp().sum(1)
    assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        self.numel = max([self.numel, *sizes])
        return made


def test_no_tensor_of_tokens_times_vocabulary() -> None:
    n, width, words, chunk = 400, 8, 1000, 10_000
    source = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(s, width, generator=source).requires_grad_() for s in (n, words))
    targets = torch.randint(words, (n,), generator=source)
    with Largest() as whole:
        direct(states, Head(weight), targets).sum().backward()
    with Largest() as parts:
        chunked(states, Head(weight), targets, chunk=chunk).sum().backward()
    assert whole.numel == n * words
    assert parts.numel == chunk


@pytest.mark.parametrize("path", PATHS[:3])
def test_nor_in_a_pass_through_a_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = policy()
    model.model.resize_token_embeddings(4000, mean_resizing=False)
    monkeypatch.setattr(forward, "chunked_logps", partial(chunked_logps, chunk=40_000))
    monkeypatch.setattr(head, "CHUNK", 40_000)
    many = [Tokens((BOS, 4 + i), tuple(range(5, 25))) for i in range(20)]
    weight = model.model.get_output_embeddings().weight
    tokens = sum(len(row.completion) for row in many)
    with Largest() as largest:
        passed = path.score(model, many, head_of(model.model))
        passed.logps.sum().backward()
        assert passed.entropy.shape == passed.collision.shape == (tokens,)
    # The embedding and its gradient are the largest that there is.
    assert largest.numel == weight.numel() < tokens * 4000 / 10


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunk", [1, 500, head.CHUNK])
def test_entropy_and_kl_against_the_formula(path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK", chunk)
    model, other = policy(seed=0), policy(seed=1)
    passed, reference = (path.score(each, rows(), head_of(each.model)) for each in (model, other))
    p, q = (_distributions(m) for m in (model, other))
    entropy, (kl, own, theirs) = chunked_entropy(passed), chunked_kl(passed, reference)
    assert off(own, passed.logps) < 1e-6 and off(theirs, reference.logps) < 1e-6
    assert off(entropy, -(p * p.log()).sum(1)) < 1e-5
    assert off(kl, (p * (p / q).log()).sum(1)) < 1e-5
    assert off(chunked_kl(reference, passed)[0], (q * (q / p).log()).sum(1)) < 1e-5  # the first is the one sampled from
    assert off(passed.entropy, entropy) < 1e-5
    assert not entropy.requires_grad and not kl.requires_grad and not passed.entropy.requires_grad


@pytest.mark.parametrize("with_gradient", [True, False])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunk", [1, 500, head.CHUNK])
def test_collision_against_the_formula(
    path: Path, chunk: int, with_gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "CHUNK", chunk)
    model = policy()
    with torch.set_grad_enabled(with_gradient):
        passed = path.score(model, rows(), head_of(model.model))
        collision = passed.collision
    assert off(collision, _distributions(model).square().sum(1).log()) < 1e-6
    assert not collision.requires_grad


@pytest.mark.parametrize("changes", CHANGES)
def test_collision_of_a_head_that_scales_and_caps(changes: dict[str, Any]) -> None:
    states, weight, bias, targets = inputs(torch.float32)
    row = Tokens((BOS,), tuple(targets.tolist()))
    after = torch.zeros(1, WIDTH)  # the state after the last token, which no token is drawn from
    passed = forward.ChunkedForward(torch.cat([states, after]), [row], Head(weight, bias, **changes))
    double = Head(weight.double(), bias.double(), **changes)
    assert off(passed.collision, distributions(states.double(), double).exp().square().sum(1).log()) < 1e-6


def test_collision_is_computed_in_float32_for_bfloat16_weights() -> None:
    """Products of bfloat16 weights, sums in float32: no bit of the result is lost to the smaller type."""
    states, weight, bias, targets = inputs(torch.bfloat16)
    row = Tokens((BOS,), tuple(targets.tolist()))
    passed = forward.ChunkedForward(torch.cat([states, states[:1]]), [row], Head(weight, bias))
    exact = distributions(states.double(), Head(weight.double(), bias.double())).exp().square().sum(1).log()
    assert passed.collision.dtype == torch.float32
    assert off(passed.collision.double(), exact) < 1e-6


def test_collision_of_certain_and_of_flat_distributions() -> None:
    """log 1 where one token has all the probability, -log V where all have the same; neither overflows."""
    weight = torch.eye(WORDS)
    states = torch.stack([1e4 * weight[3], torch.zeros(WORDS), torch.zeros(WORDS)])
    passed = forward.ChunkedForward(states, [Tokens((BOS,), (3, 3))], Head(weight))
    assert_close(passed.collision, -torch.tensor([0.0, WORDS]).clamp(min=1).log())


def test_the_collision_of_completions_is_padded_and_counted_as_scoring() -> None:
    serving = engine()
    with torch.no_grad():
        pairs = next(serving.pairs())
        before = serving.spent.phases["score"]
        unlearned = pairs.chosen.collision
        assert serving.spent.phases["score"] > before
    assert not unlearned[~pairs.chosen.mask].any() and (unlearned[pairs.chosen.mask] < 0).all()
    learned = pairs.select(range(len(pairs))).chosen
    assert learned.logps.requires_grad and not learned.collision.requires_grad
    assert off(learned.collision, unlearned) < 1e-6
    for row, values in zip(learned.tokens, learned.collision, strict=True):
        alone = Completions.from_rows([row], serving).collision[0]
        assert off(values[: len(row.completion)], alone) < 1e-5


def _distributions(model: Any) -> Tensor:
    """`[sum T, V]` in float64, from plain full logits."""
    parts = []
    for row in rows():
        logits = model.model(input_ids=torch.tensor([row.prompt + row.completion])).logits[0]
        parts.append(logits[len(row.prompt) - 1 : -1].detach().double().softmax(1))
    return torch.cat(parts)


@pytest.mark.parametrize("shared", [True, False])
def test_kl_of_a_model_against_itself_is_0(shared: bool) -> None:
    model = language_model(shared=shared, max_tokens=20)
    assert model.divergence(model, rows())[0].abs().max() == 0
    same, other = language_model(shared=not shared), language_model(seed=1)
    assert model.divergence(same, rows())[0].abs().max() < 1e-5  # the two paths differ by rounding alone
    apart = model.divergence(other, rows())[0]
    assert (apart > 0).all()
    assert apart.mean() > 0.5


def test_kl_is_that_of_the_completions_own_tokens() -> None:
    """One figure for each token of each row, whatever packs they fall into."""
    first, second = language_model(0, max_tokens=20), language_model(1)
    alone = torch.cat([first.divergence(second, [row])[0] for row in rows()])
    assert off(first.divergence(second, rows())[0], alone) < 1e-5
