"""What is measured on samples, held against sums over every sequence of a model small enough to list them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import fmean, stdev

import pytest
import torch
import transformers as hf

from alignbench.batch import Tokens
from alignbench.evaluate import Measures, measure
from alignbench.evaluate.measure import decode
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.models import Policy, SmallModel, small_tokenizer
from alignbench.records import Completion, Prompt
from alignbench.sampling import sample

from . import small

END, LONGEST, SAMPLES = 2, 3, 2000
# Every completion of at most three tokens over five, the end token among them: those that end, then those cut off.
SEQUENCES = [
    (*words, END)
    for length in range(LONGEST)
    for words in itertools.product([t for t in range(5) if t != END], repeat=length)
]
SEQUENCES += list(itertools.product([t for t in range(5) if t != END], repeat=LONGEST))


def nobody(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> None:
    """A benchmark without a gold reward."""


def tiny(seed: int, shared: bool = True) -> LanguageModel:
    """A model of five tokens (pad, begin, end and two words), far from flat."""
    config = hf.LlamaConfig(
        vocab_size=5, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, initializer_range=0.35, pad_token_id=0, bos_token_id=1, eos_token_id=END,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.LlamaForCausalLM(config)
    tokenizer = small_tokenizer(["a"], SmallModel("words"))
    return LanguageModel(Policy(model, tokenizer), ScoringPath(shared), max_tokens=400)


def exact(model: LanguageModel, prompt: tuple[int, ...]) -> torch.Tensor:
    """log pi(y | x) of every sequence, from plain full logits."""
    with torch.no_grad():
        return torch.stack([small.full_logps(model.policy, Tokens(prompt, y)).sum() for y in SEQUENCES]).double()


def measured(model: LanguageModel, reference: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> Measures:
    texts = [Prompt("x")] * len(prompts)
    return measure(model, reference, texts, [Tokens(p, ()) for p in prompts], 0, LONGEST, nobody, None)


# --- KL ---


@pytest.mark.parametrize("shared", [True, False])
def test_the_kl_of_the_samples_is_that_of_the_sequence_distributions(shared: bool) -> None:
    model, reference, prompt = tiny(2, shared), tiny(6, shared), (1, 3)
    logps, ref_logps = exact(model, prompt), exact(reference, prompt)
    assert float(logps.exp().sum()) == pytest.approx(1, abs=1e-5), "the list of sequences is complete"
    kl = float((logps.exp() * (logps - ref_logps)).sum())
    found = measured(model, reference, [prompt] * SAMPLES)
    assert min(found.kl) >= 0 and min(found.k1) < 0
    errors = {}
    for name, values in {"kl": found.kl, "k1": found.k1}.items():
        errors[name] = stdev(values) / SAMPLES**0.5
        assert abs(fmean(values) - kl) < 3.5 * errors[name], f"{name}: {fmean(values)} for {kl}"
    assert errors["kl"] < errors["k1"] < 0.1 * kl, "Rao-Blackwellised: the smaller error; both small enough to tell"
    backwards = float((ref_logps.exp() * (ref_logps - logps)).sum())
    assert abs(fmean(found.kl) - backwards) > 7 * errors["kl"], "it is not the KL the other way round"
    by_text = dict(zip(SEQUENCES, (logps - ref_logps).tolist(), strict=True))
    drawn = redrawn(model, [prompt] * SAMPLES)
    assert found.k1 == pytest.approx([by_text[y] for y in drawn], abs=1e-4), "each k1 is that of its own sample"


def redrawn(model: LanguageModel, prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The ids of the samples that `measured` draws."""
    return [row.completion for row in sample(model.policy, [Tokens(p, ()) for p in prompts], 0, LONGEST)]


def test_the_kl_is_summed_over_the_prefixes_of_each_sample() -> None:
    model, reference, prompt = tiny(2), tiny(6), (1, 4, 3)
    found = measured(model, reference, [prompt] * 30)

    def step(prefix: tuple[int, ...]) -> float:
        with torch.no_grad():
            p, q = (
                m.policy.model(input_ids=torch.tensor([prompt + prefix])).logits[0, -1].log_softmax(-1)
                for m in (model, reference)
            )
        return float((p.exp() * (p - q)).sum())

    rows = redrawn(model, [prompt] * 30)
    assert len({len(y) for y in rows}) == LONGEST
    expected = [sum(step(y[:t]) for t in range(len(y))) for y in rows]
    assert found.kl == pytest.approx(expected, abs=1e-5), "up to the end token and no further"


def test_the_reference_against_itself() -> None:
    model = tiny(2)
    for reference in (model, tiny(2)):
        found = measured(model, reference, [(1, 3)] * 50)
        assert found.kl == [0.0] * 50 and found.k1 == [0.0] * 50


def test_neighbours_and_memory_change_nothing() -> None:
    prompts = [(1, 3), (1,), (1, 4, 4, 3, 3), (1, 3), (1, 4)] * 4
    model, reference = tiny(2), tiny(6)
    whole = measured(model, reference, prompts)
    model.max_tokens = reference.max_tokens = 9
    parts = measured(model, reference, prompts)
    plain = measured(tiny(2, shared=False), tiny(6, shared=False), prompts)
    for other in (parts, plain):
        assert other.completions == whole.completions and other.length == whole.length
        assert other.kl == pytest.approx(whole.kl, abs=1e-5) and other.k1 == pytest.approx(whole.k1, abs=1e-5)


# --- completions, lengths, rewards ---


def test_lengths_and_ends() -> None:
    found = measured(tiny(2), tiny(6), [(1, 3)] * 200)
    drawn = redrawn(tiny(2), [(1, 3)] * 200)
    assert found.length == [len(y) for y in drawn], "the end token counts, what follows it does not"
    assert [c.ended for c in found.completions] == [y[-1] == END for y in drawn]
    assert {c.ended for c in found.completions} == {True, False}
    assert all(length == LONGEST for length, c in zip(found.length, found.completions, strict=True) if not c.ended)
    texts = {c.text for c in found.completions}
    assert not any(mark in text for text in texts for mark in ("</s>", "<s>", "<pad>")), "special tokens are no text"


def test_a_completion_is_decoded_as_it_stands() -> None:
    tokenizer = small_tokenizer(["x"], SmallModel("bytes", vocabulary=300))
    policy = Policy(small.policy().model, tokenizer)
    text = " well , it 's  two\n lines . 🙂 "
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert decode(policy.tokenizer, Tokens((1,), (*ids, END), ended=True)) == Completion(text, True)
    assert decode(policy.tokenizer, Tokens((1,), ids, ended=False)) == Completion(text, False)


def test_rewards_are_of_the_very_samples() -> None:
    model, reference, proxy = small.language_model(0), small.language_model(1), small.reward_model()
    prompts = [(1, 10 + i) for i in range(12)]
    asked: list[str] = []

    def gold(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        asked.extend(p.text for p in prompts)
        return [float(len(c.text)) for c in completions]

    texts = [Prompt(f"prompt {i}") for i in range(12)]
    rows = [Tokens(p, ()) for p in prompts]
    found = measure(model, reference, texts, rows, 5, 6, gold, proxy)
    assert asked == [p.text for p in texts]
    assert found.reward == [float(len(c.text)) for c in found.completions]
    encoded = [
        [*p, *model.policy.tokenizer(c.text, add_special_tokens=False)["input_ids"], *[END] * c.ended]
        for p, c in zip(prompts, found.completions, strict=True)
    ]
    keeps = [i for i, (p, row) in enumerate(zip(prompts, encoded, strict=True)) if len(row) == len(p) + found.length[i]]
    assert len(keeps) > 6, "those without special tokens inside"
    again = proxy.score([encoded[i] for i in keeps])
    assert found.proxy_reward is not None
    assert [found.proxy_reward[i] for i in keeps] == pytest.approx(again.tolist(), abs=1e-5)
    assert measure(model, reference, texts, rows, 5, 6, gold, proxy) == found, "one seed, one result"
    assert measure(model, reference, texts, rows, 6, 6, gold, proxy).completions != found.completions


def test_means_are_a_point_of_a_curve() -> None:
    some = Measures([Completion("a")] * 2, [2, 4], [0.0, 1.0], [-1.0, 2.0], [1.0, 4.0], None)
    assert some.means() == {"kl": 0.5, "k1": 0.5, "reward": 2.5, "proxy_reward": None, "length": 3.0, "n": 2}
