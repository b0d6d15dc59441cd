"""Small models, rows and engines for several tests: random weights, wide enough that no distribution is flat."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

from alignbench import SmallModel, Tokens, Training
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.logprobs import LanguageModel, Path
from alignbench.models import Policy, RewardModel, as_reward_model, small_tokenizer
from alignbench.reference import Reference
from alignbench.tokens import Dataset

PAD, BOS, EOS, VOCABULARY, CONTEXT = 0, 1, 2, 60, 64

SPECIAL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
SHAPE: dict[str, Any] = {**SPECIAL, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
LLAMA: dict[str, Any] = {**SHAPE, "intermediate_size": 48, "max_position_embeddings": CONTEXT, "initializer_range": 0.3}
GROUPED: dict[str, Any] = {**LLAMA, "num_key_value_heads": 2}
EAGER: dict[str, Any] = {"attn_implementation": "eager"}
GEMMA: dict[str, Any] = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8}

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**GROUPED),
    "llama-dynamic": lambda: hf.LlamaConfig(
        **{**GROUPED, "max_position_embeddings": 6},
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    ),
    "llama-eager": lambda: hf.LlamaConfig(**GROUPED, **EAGER),
    "gpt2": lambda: hf.GPT2Config(
        **SPECIAL, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, initializer_range=0.3
    ),
    "gpt-neo": lambda: hf.GPTNeoConfig(
        **SHAPE, num_layers=2, attention_types=[[["global"], 2]], max_position_embeddings=CONTEXT, initializer_range=0.3
    ),
    "gpt-neox": lambda: hf.GPTNeoXConfig(**LLAMA),
    "opt": lambda: hf.OPTConfig(
        **SHAPE, ffn_dim=48, max_position_embeddings=CONTEXT, word_embed_proj_dim=32, init_std=0.3
    ),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED),
    "mistral": lambda: hf.MistralConfig(**GROUPED, sliding_window=None),
    "mistral-window": lambda: hf.MistralConfig(**GROUPED, sliding_window=8),
    "gemma2": lambda: hf.Gemma2Config(**GEMMA, sliding_window=CONTEXT, final_logit_softcapping=None),
    "gemma2-cap": lambda: hf.Gemma2Config(**GEMMA, sliding_window=CONTEXT, final_logit_softcapping=5.0),
    "gemma2-window": lambda: hf.Gemma2Config(**GEMMA, sliding_window=8),
    "cohere": lambda: hf.CohereConfig(**GROUPED, logit_scale=0.25),
    "granite": lambda: hf.GraniteConfig(**GROUPED, logits_scaling=4.0),
    "bloom": lambda: hf.BloomConfig(**SPECIAL, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3),
    "falcon-alibi": lambda: hf.FalconConfig(**SHAPE, alibi=True, initializer_range=0.3),
}


@lru_cache
def tokenizer() -> Any:
    """`VOCABULARY` words, the special tokens among them."""
    words = " ".join(f"w{i:02}" for i in range(VOCABULARY - 4))
    return small_tokenizer([words], SmallModel("words", vocabulary=VOCABULARY, context=CONTEXT))


def policy(family: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32) -> Policy:
    """A model of that family with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForCausalLM.from_config(FAMILIES[family]())
    if dtype == torch.float64:
        _double_norms(model)
    return Policy(model.to(dtype), tokenizer())


def _double_norms(model: nn.Module) -> None:
    """The RMS norms of transformers work in float32 whatever their input, which would hide a float64 comparison."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                old: Any = child
                norm = nn.RMSNorm(old.weight.shape[0], old.variance_epsilon)
                norm.weight = old.weight
                setattr(parent, name, norm)


def language_model(seed: int = 0, shared: bool = True, max_tokens: int = 8192, family: str = "llama") -> LanguageModel:
    return LanguageModel(policy(family, seed), Path(shared, "" if shared else "asked for"), max_tokens)


def ids(source: random.Random, length: int, end: bool = False) -> tuple[int, ...]:
    """Random ordinary tokens, with the end token as the last one if asked."""
    words = [source.randrange(4, VOCABULARY) for _ in range(length - end)]
    return (*words, EOS) if end else tuple(words)


def rows(seed: int = 0) -> list[Tokens]:
    """Four prompts with one to four completions each, all of unequal lengths, not in the order of the prompts."""
    source = random.Random(seed)
    made = []
    for prompt_id, (length, completions) in enumerate([(3, (4, 7, 1)), (9, (2,)), (1, (5, 5)), (6, (3, 8, 2, 6))]):
        prompt = (BOS, *ids(source, length - 1))
        made += [Tokens(prompt, ids(source, n, n % 2 == 0), prompt_id, n % 2 == 0) for n in completions]
    source.shuffle(made)
    return made


def full_logps(model: Policy, row: Tokens) -> Tensor:
    """`[T]`, the log-probs of a completion from the model's plain full logits: what every other path is held against.

    Written from the definition alone: one row, no padding, no mask, no cache.
    """
    logits = model.model(input_ids=torch.tensor([row.prompt + row.completion]), use_cache=False).logits[0]
    distributions = torch.log_softmax(logits, dim=-1)
    return torch.stack([distributions[len(row.prompt) + t - 1, token] for t, token in enumerate(row.completion)])


def gradient(parameters: Iterator[nn.Parameter]) -> Tensor:
    """All gradients, flat (zeros where there is none), which are then forgotten."""
    parts = []
    for parameter in parameters:
        parts.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        parameter.grad = None
    return torch.cat([part.flatten() for part in parts])


def off(actual: Tensor, expected: Tensor) -> float:
    """The largest error over the largest entry."""
    actual, expected = actual.detach(), expected.detach()
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max())


def dataset(pairs: int = 12, seed: int = 0, repeated: int = 1, end: bool = True) -> Dataset:
    """Preference pairs of distinct completions; every prompt has `repeated` pairs."""
    source = random.Random(seed)
    made = []
    for number in range(pairs // repeated):
        prompt = (BOS, *ids(source, source.randrange(1, 6)))
        for _ in range(repeated):
            lengths = source.sample(range(2, 7), 2)
            chosen, rejected = (Tokens(prompt, ids(source, n, end), number, end) for n in lengths)
            made.append((chosen, rejected))
    return of_pairs(made)


def of_pairs(pairs: Sequence[tuple[Tokens, Tokens]]) -> Dataset:
    prompts = {chosen.prompt_id: Tokens(chosen.prompt, (), chosen.prompt_id) for chosen, _ in pairs}
    return Dataset("pairs", tuple(pairs), (), tuple(prompts.values()), {}, CONTEXT, 0, ())


def of_labelled(labelled: Sequence[tuple[Tokens, bool]]) -> Dataset:
    prompts = {row.prompt_id: Tokens(row.prompt, (), row.prompt_id) for row, _ in labelled}
    return Dataset("labels", (), tuple(labelled), tuple(prompts.values()), {}, CONTEXT, 0, ())


def live(model: LanguageModel) -> Reference:
    """A reference that is not cached."""

    def logps(rows: Sequence[Tokens]) -> Tensor:
        with torch.no_grad():
            return model.forward(rows).logps

    return Reference(logps)


def reward_model(seed: int = 7) -> RewardModel:
    """A random trunk with a random linear head, as a sequence classifier."""
    base = policy("llama", seed)
    head = nn.Linear(base.hidden_size, 1, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.randn(1, base.hidden_size, generator=torch.Generator().manual_seed(seed)) / 3)
    return as_reward_model(base, head, "random")


def engine(
    data: Dataset | None = None,
    *,
    model: LanguageModel | None = None,
    seed: int = 0,
    batch_size: int = 4,
    budget: Budget | int = 16,
    max_new_tokens: int = 6,
    reference_seed: int = 1,
    rewards: RewardModel | None = None,
    **training: Any,
) -> LocalEngine:
    """An engine with every source there is: data, its chosen completions as demonstrations, a reference, rewards."""
    data = dataset() if data is None else data
    sources = Sources(
        dataset=data,
        demonstrations=[chosen for chosen, _ in data.pairs],
        reference=live(language_model(reference_seed)),
        reward=None if rewards is None else lambda rows: rewards.score([row.prompt + row.completion for row in rows]),
        gold=lambda rows: [float(len(row.completion)) for row in rows],
        max_new_tokens=max_new_tokens,
    )
    settings = Training(batch_size=batch_size, **training)
    limit = Budget(budget) if isinstance(budget, int) else budget
    return LocalEngine(model or language_model(), sources, settings, limit, seed)
