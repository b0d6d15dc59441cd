"""bf16: the passes alone are in it, and how far they may be off."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from torch import Tensor, nn

from alignbench.batch import Tokens
from alignbench.cli import main
from alignbench.errors import InputError
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.models import Policy, as_reward_model
from alignbench.plugins import parse_objectives
from alignbench.report import write_report
from alignbench.results import read_json, read_jsonl
from alignbench.run import Config
from alignbench.run.world import World
from alignbench.train import train

from . import small
from .test_run import config, go

# A token's log-prob in a batch of 8 against the same in a batch of 1, nats, in bf16 (epsilon 2^-8 = 0.004), for a model
# of transformers' own initialisation. Measured on a CPU: 0.0046 and 0.0011; float32: 1e-6. Where weights are larger the
# bound grows with what bf16 does to a log-prob at all, which it never exceeds.
WORST, MEAN = 0.01, 0.002
VOCABULARY = 500


def model(family: str, spread: float, dtype: torch.dtype) -> Policy:
    """Four layers, 128 wide."""
    shape: dict[str, Any] = {**small.SPECIAL, "vocab_size": VOCABULARY, "initializer_range": spread}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family == "gpt2":
            made: Any = hf.GPT2LMHeadModel(hf.GPT2Config(**shape, n_embd=128, n_layer=4, n_head=4, n_positions=512))
        else:
            sizes: dict[str, Any] = {
                "hidden_size": 128,
                "intermediate_size": 256,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
            }
            made = hf.LlamaForCausalLM(hf.LlamaConfig(**shape, **sizes, max_position_embeddings=512))
    return Policy(made, small.tokenizer(), dtype)


def sequences(length: int) -> list[Tokens]:
    """Eight, of up to `length` tokens each, a quarter of them the prompt."""
    source = random.Random(length)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(source.randrange(4, VOCABULARY) for _ in range(count))

    return [Tokens(ids(length // 4), ids(length - length // 4 - source.randrange(10)), i) for i in range(8)]


@torch.no_grad()
def scored(policy: Policy, rows: list[Tokens], shared: bool, batch: int) -> Tensor:
    lm = LanguageModel(policy, ScoringPath(shared, "" if shared else "asked for"))
    return torch.cat([lm.forward(rows[i : i + batch]).logps for i in range(0, len(rows), batch)])


@pytest.mark.parametrize("length", [40, 300])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_log_prob_does_not_depend_on_the_size_of_its_batch(family: str, shared: bool, length: int) -> None:
    rows = sequences(length)
    for spread in (0.02, 0.1):
        exact = scored(model(family, spread, torch.float32), rows, shared, 8)
        policy = model(family, spread, torch.bfloat16)
        alone, together = (scored(policy, rows, shared, batch) for batch in (1, 8))
        assert alone.dtype == together.dtype == torch.float32, "log-softmax is in float32"
        by_batch, by_dtype = (alone - together).abs(), (together - exact).abs()
        assert by_batch.max() <= by_dtype.max() and by_batch.mean() <= by_dtype.mean()
        if spread == 0.02:
            assert by_batch.max() <= WORST and by_batch.mean() <= MEAN
            assert by_dtype.mean() > 1e-4 and by_dtype.max() <= 2 * WORST, "bf16 is really used, and close"


def test_products_are_in_bf16_and_what_leaves_a_pass_is_float32() -> None:
    policy = small.policy()
    seen: dict[str, set[torch.dtype]] = {"Linear": set(), "LlamaRMSNorm": set()}
    for module in policy.model.model.modules():
        if type(module).__name__ in seen:
            module.register_forward_hook(lambda m, _, out: seen[type(m).__name__].add(out.dtype))
    lm = LanguageModel(policy, ScoringPath(True))
    assert lm.forward(small.rows()).logps.dtype == torch.float32 and seen["Linear"] == {torch.float32}
    policy.dtype = torch.bfloat16
    seen["Linear"].clear()
    result = lm.forward(small.rows())
    assert seen["Linear"] == {torch.bfloat16} and result.logps.dtype == result.entropy.dtype == torch.float32
    result.logps.sum().backward()
    assert {p.grad.dtype for p in policy.model.parameters() if p.grad is not None} == {torch.float32}


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors(value)


@pytest.mark.parametrize("spec", ["dpo", "kto", "ppo"])
def test_weights_and_optimizer_state_stay_float32(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Optimizer] = []

    class Remembered(torch.optim.AdamW):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            made.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Remembered)
    (chosen,) = parse_objectives(spec)
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        lm = small.language_model()
        lm.policy.dtype = dtype
        engine = small.engine(model=lm, rewards=small.reward_model(), budget=8)
        before = {name: p.detach().clone() for name, p in lm.policy.model.named_parameters()}
        losses[dtype] = [step.loss for step in train(engine, chosen.plugin)]
        for name, parameter in lm.policy.model.named_parameters():
            assert parameter.dtype == torch.float32 and not torch.equal(parameter, before[name]), name
        moments = [t for t in tensors(dict(made[-1].state)) if t.dim()]
        assert {t.dtype for t in moments} == {torch.float32}
        assert len(moments) >= 2 * len(before)
        # Weights that had been bf16 would all have 16 zero bits at their end.
        changed = torch.cat([p.detach().flatten() for p in lm.policy.model.parameters()])
        assert (changed.bfloat16().float() != changed).float().mean() > 0.9
    first = [losses[dtype][0] for dtype in losses]
    assert first[0] != first[1] and first[0] == pytest.approx(first[1], rel=0.2), "bf16 is really used, and close"


def test_a_reward_model_runs_its_trunk_in_bf16_and_scores_in_float32() -> None:
    base = small.policy("llama", 7)
    head = nn.Linear(base.hidden_size, 1, bias=False)
    exact = as_reward_model(base, head, "rm")
    base.dtype = torch.bfloat16
    coarse = as_reward_model(base, head, "rm")
    rows = [row.prompt + row.completion for row in small.rows()]
    one, other = exact.score(rows), coarse.score(rows)
    assert other.dtype == torch.float32 and 1e-4 < (one - other).abs().max() < 0.2
    assert not torch.equal(other, other.bfloat16().float()), "the head's product is in float32"


# --- runs ---


def test_a_run_in_bf16(tmp_path: Path) -> None:
    runs = {}
    for dtype in ("float32", "bf16"):
        wanted = config(tmp_path / dtype, "dpo,ppo", seeds=1, dtype=dtype)
        _, failed = go(wanted)
        assert not failed
        runs[dtype] = World(wanted)
    for name in ("start", "data", "cache", "reward", "judge_reward"):
        assert runs["bf16"].keys[name] != runs["float32"].keys[name], name
    folder = tmp_path / "bf16"
    stored = read_json(folder / "run.json")
    assert stored["config"]["dtype"] == "bf16" == stored["identity"]["dtype"]
    said = [write_report(tmp_path / dtype)["conditional_on"] for dtype in runs]
    assert "bf16" not in said[0] and said[1] == said[0] + " Passes computed in bf16."
    files = sorted(folder.rglob("*.safetensors"))
    assert len(files) >= 5
    for file in files:
        assert {t.dtype for t in load_file(file).values()} <= {torch.float32, torch.int64}, file
    start = [load_file(next((tmp_path / dtype).glob("stages/start-*/model.safetensors"))) for dtype in runs]
    worst = max(float((start[0][name] - start[1][name]).abs().max()) for name in start[0])
    assert 0 < worst < 0.1, "the first stage is trained in bf16 as well, and comes to much the same"
    for cell in folder.glob("cells/*/seed-0"):
        points = [row["evaluation"] for row in read_jsonl(cell / "metrics.jsonl") if "evaluation" in row]
        assert points[0]["kl"] == 0, "policy and reference are scored in one dtype"


def test_the_cache_of_the_reference_is_keyed_by_the_dtype(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By itself, not only through the stages before it, which a model given by the user does not have."""
    given = tmp_path / "given"
    small.policy().save(given)
    keys = [World(config(tmp_path, "dpo", model=str(given), dtype=dtype)).keys for dtype in ("float32", "bf16")]
    monkeypatch.setattr("alignbench.run.world.digest", lambda *parts: repr(parts))
    texts = [World(config(tmp_path, "dpo", dtype=dtype)).keys["cache"] for dtype in ("float32", "bf16")]
    assert keys[0]["cache"] != keys[1]["cache"] and ("'bf16'" in texts[1], "'bf16'" in texts[0]) == (True, False)


def test_an_unknown_dtype_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["alignbench", "run", "--objectives", "dpo", "--dtype", "half"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and capsys.readouterr().err == "alignbench: --dtype half: give float32 or bf16.\n"
    with pytest.raises(InputError, match="--dtype fp8"):
        Config(("dpo",), "reviews", str(tmp_path), dtype="fp8")
