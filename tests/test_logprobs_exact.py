"""Any set of prompts and completions: every path gives the log-probs and gradients of the model's own plain pass."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignbench import Tokens, attention
from alignbench.attention import Tile, Tiles, attend
from alignbench.fused import fuse_activations
from alignbench.logprobs import LanguageModel, OwnForward, Path, head_of, layout
from alignbench.logprobs.layout import lay_out
from alignbench.models import Policy
from tests.small import BOS, CONTEXT, gradient, ids, off, policy

FAMILIES = ["gpt2", "llama", "qwen2", "mistral", "gpt-neox", "opt", "gemma2-cap", "cohere"]
LONGEST = 40


@st.composite
def groups(draw: st.DrawFn) -> list[Tokens]:
    """1 to 8 prompts of 1 to 24 tokens, each with 1 to 6 completions of 1 to 40, in any order; some come twice."""
    source = random.Random(draw(st.integers(0, 2**32)))
    made: list[Tokens] = []
    for number in range(draw(st.integers(1, 8))):
        prompt = (BOS, *ids(source, draw(st.integers(1, CONTEXT - LONGEST)) - 1))
        lengths = draw(st.lists(st.integers(1, LONGEST), min_size=1, max_size=6))
        made += [Tokens(prompt, ids(source, length), number) for length in lengths]
    made += made[: draw(st.integers(0, 2))]
    source.shuffle(made)
    return made


@lru_cache
def model_of(family: str) -> Policy:
    return policy(family)


def scores(model: Policy, rows: list[Tokens], path: Path, into_grad: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probs, and the gradient of a sum of them in which each has a weight of its own."""
    language = LanguageModel(model, path)
    language.into_grad = into_grad
    logps = language.forward(rows).logps
    weights = torch.randn(len(logps), generator=torch.Generator().manual_seed(3))
    (logps * weights).sum().backward()
    return logps.detach(), gradient(model.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(rows=groups())
def test_any_groups_are_scored_as_by_the_models_own_plain_pass(family: str, rows: list[Tokens]) -> None:
    model = model_of(family)
    expected, slope = scores(model, rows, Path(False, "asked for", chunked=False))
    for path in (Path(True), Path(True, tiles=False), Path(False, "asked for")):
        for into_grad in (False, True):
            logps, found = scores(model, rows, path, into_grad)
            assert off(logps, expected) < 1e-5
            assert off(found, slope) < 1e-5


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(rows=groups(), one_tile=st.booleans())
def test_a_layout_holds_every_token_once_and_short_groups_waste_little(rows: list[Tokens], one_tile: bool) -> None:
    laid = lay_out(rows, filler=0, device=torch.device("cpu"), one_tile=one_tile)
    found = laid.states.split([len(row.completion) + 1 for row in rows])
    for row, places in zip(rows, found, strict=True):
        own = places[1:]
        assert tuple(laid.ids[own].tolist()) == row.completion
        assert laid.positions[own].tolist() == list(range(len(row.prompt), len(row.prompt) + len(row.completion)))
        start = int(places[0]) - len(row.prompt) + 1
        assert tuple(laid.ids[start : int(places[0]) + 1].tolist()) == row.prompt
    read = layout.packed_tokens(rows)
    assert read <= len(laid.ids) == sum(laid.tiles.sizes)
    if not one_tile:
        long = sum(group.size for group in layout.group_by_prompt(rows) if group.size > layout.ALONE)
        # Only rows of short groups are padded. Any two bins of a first-fit packing overflow one: under half is padding.
        assert len(laid.ids) - long <= max(2 * (read - long), 1) + 2 * layout.ALONE


def test_a_completion_sees_its_prompt_and_itself_only() -> None:
    rows = [Tokens((1, 5), (6, 7), 0), Tokens((1, 5), (8,), 0), Tokens((1, 9, 10), (11,), 1)]
    (tile,) = lay_out(rows, 0, torch.device("cpu"), one_tile=True).tiles.tiles
    assert tile.owner.tolist() == [[0, 0, 0, 0, 0], [2, 2, 2, 2, -1]]
    seen = [[row.nonzero().flatten().tolist() for row in block[0]] for block in tile.allowed]
    assert seen[0] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4]]
    assert seen[1] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [4]]  # padding sees itself: no row of a softmax is empty


def attention_inputs(heads: int = 4, shared: int = 2, size: int = 8) -> tuple[list[Tensor], Tiles]:
    source = random.Random(0)
    prompt = (BOS, *ids(source, 30))
    rows = [Tokens(prompt, ids(source, n), 0) for n in (40, 50, 60)]
    rows += [Tokens((BOS, *ids(source, 3 + k)), ids(source, 9), k) for k in range(1, 6)]
    tiles = lay_out(rows, 0, torch.device("cpu")).tiles
    assert len(tiles.tiles) == 2 and len(tiles.tiles[1].owner) >= 1
    generator, total = torch.Generator().manual_seed(0), sum(tiles.sizes)
    return [torch.randn(1, h, total, size, generator=generator) for h in (heads, shared, shared)], tiles


def one_by_one(query: Tensor, key: Tensor, value: Tensor, tiles: Tiles, softcap: float | None = None) -> Tensor:
    """`[1, L, H, d]` from the definition: a whole square of scores, and what may not be seen left out."""
    owner = torch.cat([tile.owner.flatten() for tile in tiles.tiles])
    segment = torch.cat([tile.segment.flatten() for tile in tiles.tiles])
    order = torch.arange(len(owner))
    allowed = (owner[:, None] == owner) & ((segment == 0) | (segment == segment[:, None])) & (order <= order[:, None])
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    logits = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return (logits.masked_fill(~allowed, -torch.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("how", ["products", "fused", "capped"])
def test_every_way_to_attend_gives_the_definition(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, tiles = attention_inputs()
    softcap = 2.0 if how == "capped" else None
    if how == "fused":
        monkeypatch.setattr(attention, "EXPLICIT", 0)
    real = torch.cat([tile.owner.flatten() for tile in tiles.tiles]) >= 0

    def attending(*leaves: Tensor) -> Tensor:
        return attend(None, leaves[0], leaves[1], leaves[2], None, tiles=tiles, softcap=softcap)[0]

    ways: list[Callable[..., Tensor]] = [partial(one_by_one, tiles=tiles, softcap=softcap), attending]
    results = []
    for compute in ways:
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        out = compute(*leaves)[:, real]
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        assert off(found, expected) < 1e-5


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_rule_given_to_flex_attention_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, and with a gradient, it runs on a GPU only; here its own reference implementation applies the rule."""
    from torch.nn.attention.flex_attention import flex_attention

    inputs, tiles = attention_inputs()
    monkeypatch.setattr(attention, "_compiled", lambda: flex_attention)
    key, value = (x.repeat_interleave(2, 1) for x in inputs[1:])
    found = attention._flex(inputs[0], key, value, tiles, 8**-0.5).transpose(1, 2)
    real = torch.cat([tile.owner.flatten() for tile in tiles.tiles]) >= 0
    assert off(found[:, real], one_by_one(inputs[0], inputs[1], inputs[2], tiles)[:, real]) < 1e-5


def test_attention_that_would_lose_something_is_refused() -> None:
    inputs, tiles = attention_inputs()
    with pytest.raises(RuntimeError, match="s_aux"):
        attend(None, inputs[0], inputs[1], inputs[2], None, tiles=tiles, s_aux=torch.zeros(4))


def test_a_layer_that_never_trains_its_padding_row_still_does_not() -> None:
    model = policy("llama")  # its padding token is 0
    rows = [Tokens((BOS, 0, 5), (0, 7), 0)]
    for into_grad in (False, True):
        model.model.get_input_embeddings().weight.grad = None
        language = LanguageModel(model, Path(True))
        language.into_grad = into_grad
        states = language.forward(rows).states
        states.square().sum().backward()
        grad = model.model.get_input_embeddings().weight.grad
        assert grad[0].abs().max() == 0 and grad[5].abs().max() > 0
        model.model.zero_grad()


def test_the_fused_activation_is_the_one_that_was_written_out() -> None:
    rows = [Tokens((BOS, 5, 6), (7, 8, 9), 0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignbench.models.fuse_activations", lambda model: None)
        model = policy("gpt2")
    names = {type(module).__name__ for module in model.model.modules()}
    assert "NewGELUActivation" in names
    before = OwnForward(model, rows).logps.detach()
    fuse_activations(model.model)
    assert "NewGELUActivation" not in {type(module).__name__ for module in model.model.modules()}
    assert off(OwnForward(model, rows).logps.detach(), before) < 1e-6
    assert head_of(model.model) is not None


def test_tiles_on_their_own_share_no_mask() -> None:
    first, second = (Tile(torch.zeros(1, n, dtype=torch.long), torch.zeros(1, n, dtype=torch.long)) for n in (2, 3))
    assert first.bias(torch.float32).shape == (1, 1, 2, 2)
    assert second.bias(torch.float32).shape == (1, 1, 3, 3)
    assert second.bias(torch.float64).dtype == torch.float64
