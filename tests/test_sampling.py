"""Sampling: from the very distribution that is scored, from a seed of its own, to the end token and no further."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers as hf
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from alignbench import Tokens, decoding, sampling
from alignbench.errors import TrainingError
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.models import Policy, load_policy
from alignbench.sampling import sample
from tests.small import BOS, EOS, FAMILIES, GROUPED, SPECIAL, VOCABULARY, full_logps, ids, off, policy

PROMPTS = [
    Tokens((BOS, 7), (), 1),
    Tokens((BOS, 9, EOS, 11, 12), (), 2),  # the end token stands in the prompt
    Tokens((BOS, *ids(random.Random(0), 12)), (), 3),
]


def soft(seed: int = 0, family: str = "llama") -> Policy:
    """A policy whose distributions are flatter: the ten least likely of the 60 tokens hold 5 %, the likeliest 5 %."""
    model = policy(family, seed)
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(0.4)
    return model


def next_probabilities(model: Policy, prompt: tuple[int, ...], temperature: float = 1.0) -> Tensor:
    """`[V]`, in float64, from plain full logits."""
    with torch.no_grad():
        logits: Tensor = model.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    return (logits.double() / temperature).softmax(0)


def p_value(counts: Sequence[int], probabilities: Tensor) -> float:
    """Of a chi-square test; cells of fewer than 5 expected are taken together.

    Fair samples fall below 0.001 for one seed in a thousand; the seeds here are fixed.
    """
    n, total = sum(counts), float(probabilities.sum())
    assert total == pytest.approx(1, abs=1e-5)
    expected = (probabilities.double() / total * n).tolist()
    cells = [(c, e) for c, e in zip(counts, expected, strict=True) if e >= 5]
    rest = [(c, e) for c, e in zip(counts, expected, strict=True) if e < 5]
    if rest:
        cells.append((sum(c for c, _ in rest), sum(e for _, e in rest)))
    assert len(cells) > 20
    return float(stats.chisquare([c for c, _ in cells], [e for _, e in cells]).pvalue)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy from a folder with sampling defaults of its own, which must all be ignored."""
    folder = tmp_path_factory.mktemp("model")
    soft().save(folder)
    defaults: dict[str, object] = {"do_sample": True, "top_k": 5, "temperature": 0.1, "repetition_penalty": 3.0}
    defaults |= {"top_p": 0.5, "min_p": 0.05, "suppress_tokens": [7, 8], "min_new_tokens": 2, "max_length": 3}
    (folder / "generation_config.json").write_text(json.dumps(defaults))
    return load_policy(folder)


@pytest.fixture(scope="module")
def drawn(loaded: Policy) -> list[Tokens]:
    """Two tokens each: 24,000 samples of the first prompt, 8,000 of the others, of unequal length and in one batch."""
    return sample(loaded, [*PROMPTS, PROMPTS[0], PROMPTS[0]] * 8000, seed=0, max_new_tokens=2, batch_size=5000)


def test_first_tokens_are_as_frequent_as_they_are_probable(loaded: Policy, drawn: list[Tokens]) -> None:
    for prompt in PROMPTS:
        counts = Counter(row.completion[0] for row in drawn if row.prompt_id == prompt.prompt_id)
        p = next_probabilities(loaded, prompt.prompt)
        assert float(p.sort().values[:10].sum()) > 0.01, "cutting to the 50 likeliest would not be seen"
        assert p_value([counts[token] for token in range(VOCABULARY)], p) > 0.001


def test_completions_are_as_frequent_as_their_score_says(loaded: Policy, drawn: list[Tokens]) -> None:
    """Sequences of two tokens, scored by the path that the losses use."""
    scorer = LanguageModel(loaded, ScoringPath(True), max_tokens=1000)
    prompt = PROMPTS[0]
    every = [Tokens(prompt.prompt, (EOS,))]
    every += [Tokens(prompt.prompt, (a, b)) for a in range(VOCABULARY) for b in range(VOCABULARY) if a != EOS]
    with torch.no_grad():
        logps = scorer.forward(every).logps.split([len(row.completion) for row in every])
    p = torch.stack([part.double().sum().exp() for part in logps])
    counts = Counter(row.completion for row in drawn if row.prompt_id == prompt.prompt_id)
    assert set(counts) <= {row.completion for row in every}
    assert p_value([counts[row.completion] for row in every], p) > 0.001


def test_temperature() -> None:
    model, prompt = soft(), PROMPTS[0]
    for temperature in (0.6, 2.0):
        rows = sample(model, [prompt] * 5000, 3, 1, temperature, batch_size=5000)
        counts = Counter(row.completion[0] for row in rows)
        seen = [counts[token] for token in range(VOCABULARY)]
        assert p_value(seen, next_probabilities(model, prompt.prompt, temperature)) > 0.001
        assert p_value(seen, next_probabilities(model, prompt.prompt)) < 1e-6


# Kinds of caches that no family of tests/small has: two kinds of layers, one of the model's own, and none of keys.
MIXED: dict[str, Any] = {**GROUPED, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 4}
CACHES: dict[str, Callable[[], Any]] = {
    "convolutions": lambda: hf.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]),
    "own": lambda: hf.MiniMaxConfig(**MIXED, layer_types=["linear_attention", "full_attention"]),
    "states": lambda: hf.MambaConfig(**SPECIAL, hidden_size=32, num_hidden_layers=2, initializer_range=0.3),
}


class Recorder:
    """Of each step the log-probabilities of the tokens drawn, `[rows in the batch]`; ids and logits of each pass."""

    def __init__(self, model: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[Tensor] = []
        self.passes: list[Tensor] = []
        self.logits: list[Tensor] = []
        draw = sampling._draw

        def recording(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
            tokens = draw(logits, uniforms, temperature)
            self.drawn.append(logits.float().log_softmax(1).gather(1, tokens[:, None]).squeeze(1))
            return tokens

        def hook(_module: Any, _args: Any, given: dict[str, Any], output: Any) -> None:
            self.passes.append(given["input_ids"])
            self.logits.append(output.logits)

        monkeypatch.setattr(sampling, "_draw", recording)
        model.model.register_forward_hook(hook, with_kwargs=True)


def in_order(rows: Sequence[Tokens]) -> list[Tokens]:
    """As they stand in a batch: by length, equal prompts together."""
    return sorted(rows, key=lambda row: (len(row.prompt), row.prompt))


@pytest.mark.parametrize("family", [*(f for f in FAMILIES if f != "llama-dynamic"), *CACHES])  # it hangs on the batch
def test_what_is_drawn_from_is_what_is_scored(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token, for all kinds of models, with left padding, shared prompts, and rows leaving as they finish."""
    monkeypatch.setitem(FAMILIES, family, {**FAMILIES, **CACHES}[family])
    monkeypatch.setattr(sampling, "DROP", 1e-9)
    monkeypatch.setattr(decoding, "ROOM", 5)  # exceeded twice
    model = policy(family)
    vars(model)["ends"] = (*range(EOS, EOS + 6),)
    seen = Recorder(model, monkeypatch)
    rows = in_order(sample(model, PROMPTS * 4, seed=0, max_new_tokens=14))
    assert len({len(row.completion) for row in rows}) > 3
    with torch.no_grad():
        scored = {id(row): full_logps(model, row) for row in rows}
    for t, drawn in enumerate(seen.drawn):
        unfinished = torch.stack([scored[id(row)][t] for row in rows if len(row.completion) > t])
        assert off(drawn, unfinished) < 1e-4  # of the same length too: nothing was run that had finished


def test_finished_rows_and_known_prompts_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = policy()
    vars(model)["ends"] = (*range(EOS, EOS + 12),)
    seen = Recorder(model, monkeypatch)
    rows = sample(model, PROMPTS * 80, seed=0, max_new_tokens=30)
    assert seen.passes[0].shape == (3, 13), "each prompt is read once, for all its samples"
    assert {part.shape[1] for part in seen.passes[1:]} == {1}
    assert {logits.shape[1] for logits in seen.logits} == {1}, "no logits of whole prompts"
    run = sum(len(part) for part in seen.passes[1:])
    needed = sum(len(row.completion) - 1 for row in rows)
    assert needed <= run < needed / (1 - sampling.DROP)
    assert len(seen.passes) == max(len(row.completion) for row in rows), "and no step after the last has finished"


def test_prompts_of_like_length_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model = policy()
    seen = Recorder(model, monkeypatch)
    prompts = [Tokens((BOS, *ids(random.Random(i), 1 + i % 4)), (), i) for i in range(40)]
    rows = sample(model, prompts, seed=0, max_new_tokens=1, batch_size=10)
    assert [part.shape for part in seen.passes] == [(10, width) for width in (2, 3, 4, 5)]
    assert [(row.prompt, row.prompt_id) for row in rows] == [(row.prompt, row.prompt_id) for row in prompts]


def test_neither_batches_nor_rows_that_left_change_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = likes_to_end(), PROMPTS * 20
    samples = sample(model, prompts, seed=0, max_new_tokens=12)
    for drop, batch_size in ((1e-9, 256), (2, 256), (1 / 8, 7), (1 / 8, 1)):
        monkeypatch.setattr(sampling, "DROP", drop)
        assert sample(model, prompts, seed=0, max_new_tokens=12, batch_size=batch_size) == samples


def test_in_bf16_logits_are_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = policy()
    model.dtype = torch.bfloat16
    seen = Recorder(model, monkeypatch)
    rows = in_order(sample(model, PROMPTS * 20, seed=0, max_new_tokens=1))
    with torch.no_grad():
        scored = LanguageModel(model, ScoringPath(False), max_tokens=1000).forward(rows).logps
        assert float((seen.drawn[0] - scored).abs().max()) < 1e-4  # rounded, 1e-2
        with model.computing():  # and afterwards the model is as it was
            assert model.model(input_ids=torch.tensor([[BOS, 7]])).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("size", [300, 2000])
def test_large_and_small_vocabularies_are_drawn_from_alike(size: int) -> None:
    """The inverse of the distribution function: shares of [0, 1), in order, exactly as wide as the probabilities."""
    logits = 3 * torch.randn(1, size, generator=torch.Generator().manual_seed(0))
    logits[0, :200] = logits[0, -50:] = float("-inf")  # more than a block of impossible ones first
    uniforms = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    tokens = sampling._draw(logits.expand(20_000, size), uniforms, 1.0)
    assert bool((tokens.diff() >= 0).all())
    counts = torch.bincount(tokens, minlength=size)
    assert float((counts - 20_000 * logits[0].double().softmax(0)).abs().max()) < 1.1
    edges = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert sampling._draw(logits.expand(2, size), edges, 1.0).tolist() == [200, size - 51]
    # Tokens of 1e-9 each after one that has almost all, which a running sum in float32 would lose.
    rare = F.pad(torch.zeros(3, 1), (0, size - 1), value=math.log(1e-9))
    shares = 1 - 1e-9 * torch.tensor([2.5, 1.5, 0.5], dtype=torch.float64)
    assert sampling._draw(rare, shares, 1.0).tolist() == [size - 3, size - 2, size - 1]


def test_probabilities_that_are_no_numbers_are_refused() -> None:
    for temperature in (0.0, 1.0):
        model = policy()
        with torch.no_grad():
            model.model.get_output_embeddings().weight[9, 0] = float("nan")
        with pytest.raises(TrainingError, match="not finite"):
            sample(model, PROMPTS, seed=0, max_new_tokens=3, temperature=temperature)


def test_a_seed_gives_the_same_samples_and_another_gives_others() -> None:
    model, prompts = soft(), PROMPTS * 5
    first = sample(model, prompts, seed=5, max_new_tokens=6)
    assert sample(model, prompts, seed=5, max_new_tokens=6) == first
    assert sample(model, prompts, seed=6, max_new_tokens=6) != first
    assert len({row.completion for row in first if row.prompt_id == 1}) == 5  # equal prompts draw for themselves


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    model = soft()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = sample(model, PROMPTS, seed=5, max_new_tokens=6)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert sample(model, PROMPTS, seed=5, max_new_tokens=6) == first


def likes_to_end() -> Policy:
    """A policy that ends about one time in five at each token."""
    model = soft(family="gpt-neox")
    head = model.model.get_output_embeddings()
    with torch.no_grad():
        before = next_probabilities(model, PROMPTS[0].prompt)[EOS]
        state = model.model(input_ids=torch.tensor([PROMPTS[0].prompt]), output_hidden_states=True).hidden_states[-1]
        direction = state[0, -1] / state[0, -1].norm() ** 2
        head.weight[EOS] += direction * (torch.logit(torch.tensor(0.2)) - torch.logit(before.float()))
    return model


def test_samples_end_with_the_end_token_or_at_the_limit() -> None:
    model, prompts = likes_to_end(), PROMPTS * 100
    rows = sample(model, prompts, seed=0, max_new_tokens=4, batch_size=50)
    assert [(row.prompt, row.prompt_id) for row in rows] == [(p.prompt, p.prompt_id) for p in prompts]
    for row in rows:
        assert EOS not in row.completion[:-1]
        assert row.ended == (row.completion[-1] == EOS)
        assert 1 <= len(row.completion) <= 4
        assert row.ended or len(row.completion) == 4
    # Ended in time, ended by the very last token that was allowed, and not ended; with the prompt that holds one too.
    kinds = {(row.ended, len(row.completion) == 4) for row in rows}
    assert kinds == {(True, False), (True, True), (False, True)}
    assert {row.ended for row in rows if row.prompt_id == 2} == {True, False}


def test_the_token_that_closes_a_turn_ends_a_sample_too() -> None:
    """A chat model has two end tokens: end-of-sequence, and its template's own."""
    model = likes_to_end()
    turn = Counter(row.completion[0] for row in sample(model, PROMPTS * 20, 0, 1) if not row.ended).most_common(1)[0][0]
    assert model.ends == (EOS,)
    vars(model)["ends"] = (EOS, turn)
    rows = sample(model, PROMPTS * 40, seed=0, max_new_tokens=4)
    assert all(row.ended == (row.completion[-1] in (EOS, turn)) for row in rows)
    assert not any({EOS, turn} & {*row.completion[:-1]} for row in rows)
    assert {row.completion[-1] for row in rows if row.ended and len(row.completion) < 4} == {EOS, turn}


def test_temperature_0_takes_the_likeliest() -> None:
    model = policy()
    for row in sample(model, PROMPTS, seed=0, max_new_tokens=6, temperature=0):
        for t, token in enumerate(row.completion):
            assert token == int(next_probabilities(model, row.prompt + row.completion[:t]).argmax())
    assert sample(model, PROMPTS, 1, 6, temperature=0) == sample(model, PROMPTS, 2, 6, temperature=0)
