"""Gradient checkpointing: the same numbers, fewer tensors kept."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import Tensor

from alignbench.batch import Tokens
from alignbench.cli import main
from alignbench.errors import InputError
from alignbench.logprobs import LanguageModel, probe
from alignbench.models import Policy, load_policy
from alignbench.pretrained import skeleton
from alignbench.recompute import blocks, check_blocks, recompute_blocks
from alignbench.sampling import sample

from . import small
from .test_run import config, go

ROWS = small.rows()
DTYPES = [torch.float32, torch.bfloat16]


def scored(policy: Policy) -> LanguageModel:
    return LanguageModel(policy, probe(policy, ROWS))


def step(model: LanguageModel) -> tuple[Tensor, Tensor]:
    """The log-probs of all rows, and the gradient of their sum over rows of unequal weight."""
    logps = model.forward(ROWS).logps
    (logps * torch.linspace(0.5, 1.5, len(logps))).sum().backward()
    return logps.detach(), small.gradient(model.policy.model.parameters())


def kept(model: LanguageModel) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights left out, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.policy.model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = model.forward(ROWS).logps  # while it is there, no storage of it is used for another
    assert alive.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", sorted(small.FAMILIES))
def test_values_and_gradients_are_the_same_bit_for_bit(family: str, dtype: torch.dtype) -> None:
    plain, model = scored(small.policy(family)), scored(small.policy(family))
    recompute_blocks(model.policy.model)
    plain.policy.dtype = model.policy.dtype = dtype
    assert model.path == plain.path
    expected, gradient = step(plain)
    logps, found = step(model)
    assert torch.equal(logps, expected) and torch.equal(found, gradient) and gradient.abs().max() > 0


def deep(layers: int) -> Policy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Policy(
            hf.LlamaForCausalLM(hf.LlamaConfig(**{**small.LLAMA, "num_hidden_layers": layers})), small.tokenizer()
        )


def test_a_block_keeps_its_input_alone() -> None:
    plain = {layers: kept(scored(deep(layers))) for layers in (2, 6)}
    recomputed = {}
    for layers in (2, 6):
        model = scored(deep(layers))
        recompute_blocks(model.policy.model)
        recomputed[layers] = kept(model)
    width, tokens = 32, model.tokens(ROWS)
    each, each_recomputed = ((found[6] - found[2]) / 4 for found in (plain, recomputed))
    assert each_recomputed <= 4 * width * tokens * 1.5, "its input, with room for a row that is padded"
    assert each > 5 * each_recomputed and recomputed[6] < plain[6] / 2


def test_the_blocks_run_a_second_time_and_only_where_there_is_a_gradient() -> None:
    model = scored(small.policy())
    calls: list[int] = []
    for module in model.policy.model.modules():
        if type(module).__name__ == "LlamaMLP":
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.forward(ROWS)
    assert len(calls) == 2
    recompute_blocks(model.policy.model)
    with torch.no_grad():
        model.forward(ROWS)
    assert len(calls) == 4
    step(model)
    assert len(calls) == 4 + 2 * 2


def test_sampling_keeps_its_cache() -> None:
    policy = small.policy()
    prompts = [Tokens(row.prompt, (), row.prompt_id) for row in ROWS]
    expected = sample(policy, prompts, seed=0, max_new_tokens=8)
    recompute_blocks(policy.model)
    assert sample(policy, prompts, seed=0, max_new_tokens=8) == expected
    ids = torch.tensor([[1, 10, 11, 12]])
    with_gradient = policy.model(input_ids=ids, use_cache=True)
    more = policy.model(input_ids=ids[:, :1], past_key_values=with_gradient.past_key_values, use_cache=True)
    more.logits.sum().backward()
    assert more.past_key_values.get_seq_length() == 5, "nothing was added to the cache a second time"


def test_a_copy_runs_its_own_blocks_and_both_are_saved(tmp_path: Path) -> None:
    model = scored(small.policy())
    recompute_blocks(model.policy.model)
    copied = LanguageModel(copy.deepcopy(model.policy), model.path)
    expected, gradient = step(model)
    with torch.no_grad():
        for parameter in model.policy.model.parameters():
            parameter.zero_()
    logps, found = step(copied)
    assert torch.equal(logps, expected) and torch.equal(found, gradient)
    assert all(p.grad is None for p in model.policy.model.parameters()), "the copy's gradient is its own"
    copied.policy.save(tmp_path)
    loaded = LanguageModel(load_policy(tmp_path), model.path)
    assert torch.equal(loaded.forward(ROWS).logps.detach(), expected)


def test_a_model_without_such_blocks_is_refused() -> None:
    model = skeleton(small.FAMILIES["llama"](), "x")
    check_blocks(model, "mine")
    model.model.layers = torch.nn.ModuleList()
    assert not blocks(model)
    with pytest.raises(InputError, match=r"^--grad-checkpoint: mine has no blocks that .* leave the option out\.$"):
        check_blocks(model, "mine")


def test_the_command_line_refuses_such_a_model_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alignbench.recompute.blocks", lambda model: [])
    monkeypatch.setattr(sys, "argv", ["alignbench", "run", "--objectives", "dpo", "--grad-checkpoint"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--grad-checkpoint: the small model has no blocks" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_run_with_recomputed_blocks_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the results: the folder, so that a run that ran out of memory goes on with the option."""
    seen: list[object] = []

    def watched(model: object) -> None:
        seen.append(model)
        recompute_blocks(model)

    monkeypatch.setattr("alignbench.run.policies.recompute_blocks", watched)
    weights = []
    for name, more in (("plain", {}), ("recomputed", {"grad_checkpoint": True})):
        assert not seen
        _, failed = go(config(tmp_path / name, "dpo", seeds=1, **more))
        assert not failed
        (file,) = (tmp_path / name).glob("cells/*/seed-0/policy/model.safetensors")
        weights.append((file.relative_to(tmp_path / name), file.read_bytes()))
    assert seen and weights[0] == weights[1]
    log, _ = go(config(tmp_path / "plain", "dpo", seeds=1, grad_checkpoint=True))
    assert not log.worked
