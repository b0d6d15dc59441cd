"""LoRA: what is trained, what the reference is, and what a cell leaves behind."""

from __future__ import annotations

import copy
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft import PeftModel
from torch import Tensor

from alignbench.adapters import LoRA, add_adapter, check_target, open_adapter
from alignbench.batch import Tokens
from alignbench.cli import main
from alignbench.engine import LocalEngine, Sources
from alignbench.errors import InputError
from alignbench.logprobs import LanguageModel, probe
from alignbench.models import Policy, load_policy
from alignbench.plugins import parse_objectives
from alignbench.pretrained import adapter_base, skeleton
from alignbench.recompute import recompute_blocks
from alignbench.reference import Reference
from alignbench.results import read_json
from alignbench.sampling import sample
from alignbench.train import train

from . import small

ROWS = small.rows()
FAMILIES = ["llama", "gpt2", "gpt-neox", "opt", "qwen2", "gemma2-cap", "bloom", "cohere"]


def adapted(family: str = "llama", text: str = "r=4", seed: int = 1) -> LanguageModel:
    """A policy with a new adapter, scored the way that fits the family."""
    policy = small.policy(family)
    path = probe(policy, ROWS)
    add_adapter(policy, LoRA.parse(text), seed)
    return LanguageModel(policy, path)


def stirred(model: LanguageModel, by: float = 0.1) -> LanguageModel:
    """Move every weight of the adapter, so that it is no longer nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trained(model.policy).values():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return model


def trained(policy: Policy) -> dict[str, Any]:
    return {name: p for name, p in policy.model.named_parameters() if p.requires_grad}


def scores(model: LanguageModel) -> Tensor:
    with torch.no_grad():
        return model.forward(ROWS).logps


def reference(model: LanguageModel) -> LanguageModel:
    return LanguageModel(model.policy.reference(), model.path)


# --- the option ---


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("r=16", "r=16:alpha=32"),
        ("alpha=8:r=4", "r=4:alpha=8"),
        ("r=3:alpha=1.5", "r=3:alpha=1.5"),
        ("r=4:target=q_proj+v_proj+q_proj", "r=4:alpha=8:target=q_proj+v_proj"),
        ("r=4:target=all-linear", "r=4:alpha=8:target=all-linear"),
    ],
)
def test_the_text_of_an_adapter_is_read_and_written(text: str, canonical: str) -> None:
    assert str(LoRA.parse(text)) == canonical
    assert LoRA.parse(canonical) == LoRA.parse(text)


BAD = {
    "r=0": "at least 1",
    "r=1.5": "whole number",
    "r=four": "whole number",
    "r": "r=VALUE",
    "r=": "r=VALUE",
    "alpha=3": "give the rank",
    "r=4:alpha=0": "above 0",
    "r=4:alpha=nan": "above 0",
    "r=4:r=5": "twice",
    "r=4:tarjet=q_proj": "did you mean 'target'",
    "rank=4": "give r, alpha, target",
    "r=4:target=q_proj+": "joined by +",
    "r=4:target=all-linear+q_proj": "alone",
}
BAD_TARGETS = {
    "r=4:target=q_pro": "did you mean 'q_proj'",
    "r=4:target=lm_head": "no linear layer",
    "r=4:target=embed_tokens": "no linear layer",
    "r=4:target=mlp": "no linear layer",
    "r=4:target=q_proj+nothing": "'nothing' matches no layer",
}


@pytest.mark.parametrize(("text", "said"), {**BAD, **BAD_TARGETS}.items())
def test_a_mistake_is_one_sentence_and_nothing_is_trained(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["alignbench", "run", "--objectives", "dpo", "--lora", text])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and said in shown and "\n" not in shown and shown.endswith((".", "?"))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_checked_without_weights_as_with_them(family: str) -> None:
    bare = skeleton(small.FAMILIES[family](), "x")
    assert {p.device.type for p in bare.parameters()} == {"meta"}
    for model in (bare, small.policy(family).model):
        with pytest.raises(InputError, match="'nothing' matches no layer"):
            check_target(model, LoRA.parse("r=4:target=nothing"))
        check_target(model, LoRA.parse("r=4:target=all-linear"))


# --- what is trained ---


@pytest.mark.parametrize("text", ["r=4", "r=2:alpha=1:target=all-linear"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_adapter_changes_nothing_and_off_it_never_does(family: str, text: str) -> None:
    policy = small.policy(family)
    whole = LanguageModel(policy, probe(policy, ROWS))
    before = scores(whole)
    model = adapted(family, text)
    assert torch.equal(scores(model), before), "B is zero"
    stirred(model)
    assert torch.equal(scores(reference(model)), before)
    assert small.off(scores(model), before) > 1e-3, "it is on again"


def test_the_targets_are_pefts_own_for_the_architecture_or_all_linear() -> None:
    def layers(family: str, text: str = "r=4") -> set[str]:
        return {name.split(".")[-4] for name in trained(adapted(family, text).policy)}

    assert layers("llama") == {"q_proj", "v_proj"} and layers("gpt2") == {"c_attn"}
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert layers("cohere") == every, "peft knows no default for this one"
    assert layers("llama", "r=4:target=all-linear") == every and layers("llama", "r=4:target=o_proj") == {"o_proj"}


def test_only_the_adapter_is_trained_and_the_model_under_it_stays_bit_for_bit() -> None:
    model = adapted()
    original = {name: p.clone() for name, p in model.policy.model.named_parameters() if not p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained(model.policy).items()}
    assert len(start) == 8 and all("lora_" in name for name in start)
    before = scores(model)
    (spec,) = parse_objectives("dpo")
    asked = Reference(lambda rows: reference(model).forward(rows).logps)
    given = small.engine(batch_size=4, budget=24 * 8, learning_rate=0.02, warmup_steps=1)
    engine = LocalEngine(model, Sources(given.sources.dataset, reference=asked), given.training, given.budget, 0)
    losses = [step.loss for step in train(engine, spec.plugin)]
    assert losses[0] == pytest.approx(0.693147, abs=1e-6), "policy and reference agree at step 0"
    assert losses[-1] < losses[0] - 0.05
    for name, parameter in model.policy.model.named_parameters():
        if name in original:
            assert torch.equal(parameter, original[name]) and parameter.grad is None, name
        else:
            assert not torch.equal(parameter, start[name]), name
    assert small.off(scores(model), before) > 1e-3 and torch.equal(scores(reference(model)), before)


def test_the_seed_decides_the_adapter_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (trained(adapted(seed=seed).policy) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


# --- the reference ---


def test_switching_off_leaves_every_requires_grad_as_it_was() -> None:
    model = adapted()
    frozen = next(iter(trained(model.policy).values()))
    frozen.requires_grad_(False)

    def now() -> dict[str, bool]:
        return {name: p.requires_grad for name, p in model.policy.model.named_parameters()}

    before = now()
    scores(reference(model))
    assert now() == before
    with pytest.raises(RuntimeError), model.policy.without_adapter():
        raise RuntimeError
    assert now() == before
    stirred(model)
    with model.policy.without_adapter():
        off = scores(model)
        assert torch.equal(scores(reference(model)), off), "one within the other"
        assert torch.equal(scores(model), off), "and it is still off"
    assert now() == before and small.off(scores(model), off) > 1e-3


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_reference_pass_between_forward_and_backward_changes_no_gradient(recomputed: bool) -> None:
    model = stirred(adapted())
    if recomputed:
        recompute_blocks(model.policy.model)
    model.forward(ROWS).logps.sum().backward()
    expected = small.gradient(iter(trained(model.policy).values()))
    pending = model.forward(ROWS).logps.sum()
    scores(reference(model))
    pending.backward()
    assert torch.equal(small.gradient(iter(trained(model.policy).values())), expected) and expected.abs().max() > 0


def test_samples_of_the_reference_are_those_of_the_model_without_adapter() -> None:
    model = stirred(adapted(), by=1.0)
    prompts = [Tokens(row.prompt, (), row.prompt_id) for row in ROWS]
    plain = sample(small.policy(), prompts, seed=0, max_new_tokens=8)
    assert sample(model.policy.reference(), prompts, seed=0, max_new_tokens=8) == plain
    assert sample(model.policy, prompts, seed=0, max_new_tokens=8) != plain


def test_a_copy_has_its_own_adapter() -> None:
    model = stirred(adapted())
    before = scores(model)
    copied = LanguageModel(copy.deepcopy(model.policy), model.path)
    assert torch.equal(scores(copied), before)
    stirred(copied)
    assert torch.equal(scores(model), before) and not torch.equal(scores(copied), before)


# --- folders ---


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, LanguageModel]:
    """`base/start` with a whole model and `cell/policy` with an adapter on it, and that policy itself."""
    monkeypatch.chdir(tmp_path)
    base = Path("results", "base", "start")
    small.policy().save(base)
    policy = load_policy(base)
    path = probe(policy, ROWS)
    add_adapter(policy, LoRA.parse("r=3:alpha=5:target=all-linear"), 0)
    model = stirred(LanguageModel(policy, path))
    model.policy.save(tmp_path / "results" / "cell" / "policy")
    return tmp_path / "results" / "cell" / "policy", model


def by_peft(folder: Path) -> Iterator[Tensor]:
    """Log-probs of each row from what peft itself makes of a folder."""
    base = hf.AutoModelForCausalLM.from_pretrained(read_json(folder / "adapter_config.json")["base_model_name_or_path"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers gives up
        model = PeftModel.from_pretrained(base, str(folder)).eval()
    with torch.no_grad():
        yield from (small.full_logps(Policy(model.base_model.model, small.tokenizer()), row) for row in ROWS)


def test_a_saved_adapter_is_read_alike_by_peft_and_by_us(
    saved: tuple[Path, LanguageModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = saved
    expected = scores(model)
    monkeypatch.chdir(tmp_path / "results")  # the base model is found from any folder
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "model.safetensors").exists(), "the adapter alone is saved"
    assert small.off(torch.cat(list(by_peft(folder))), expected) < 1e-5
    merged = load_policy(folder)
    assert merged.adapter is None and small.off(scores(LanguageModel(merged, model.path)), expected) < 1e-5
    apart = load_policy(str(adapter_base(folder)))
    open_adapter(apart, folder)
    assert torch.equal(scores(LanguageModel(apart, model.path)), expected)
    assert torch.equal(scores(LanguageModel(apart.reference(), model.path)), scores(reference(model)))
    assert not any("lora_" in name for name in trained(apart)), "it is there to be evaluated"


def test_a_results_folder_may_be_moved(saved: tuple[Path, LanguageModel], tmp_path: Path) -> None:
    _, model = saved
    shutil.move(tmp_path / "results", tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "cell" / "policy"
    assert adapter_base(moved) == str(tmp_path / "elsewhere" / "base" / "start")
    assert small.off(scores(LanguageModel(load_policy(moved), model.path)), scores(model)) < 1e-5
    shutil.rmtree(tmp_path / "elsewhere" / "base")
    assert adapter_base(moved) == str(tmp_path / "results" / "base" / "start"), "what it names, to be complained of"
