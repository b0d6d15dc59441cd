"""A policy as lm-eval's model: the log-likelihoods and answers of our own engine, whatever the tokenizer adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from alignbench.adapters import LoRA, add_adapter
from alignbench.batch import Tokens
from alignbench.encoding import Encoder
from alignbench.evaluate.harness import undisturbed
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.models import Policy, SmallModel, small_tokenizer
from alignbench.sampling import sample

from . import small, small_tokenizers

TEXTS = [
    ("w01 w02", " w03 w04 w05"),
    ("w07", " w08"),
    ("w07", " w09"),
    ("", "w10 w11"),
    ("w01 w02 w03 w04 w05", " w02"),
]


def asked(policy: Policy, requests: Sequence[tuple[Any, ...]], kind: str = "loglikelihood", **settings: Any) -> Any:
    """What lm-eval's model answers; `settings` are attributes to set on it."""
    with undisturbed():
        from lm_eval.api.instance import Instance

        from alignbench.evaluate.policy_lm import PolicyLM

        model = PolicyLM(policy)
        for name, value in settings.items():
            setattr(model, name, value)
        found = getattr(model, kind)([Instance(kind, {}, arguments, 0) for arguments in requests])
        return (found, model) if settings else found


def ours(policy: Policy, requests: Sequence[tuple[str, str]]) -> Tensor:
    """The log-likelihood of each continuation by the engine that trains, from the ids that it would be trained on."""
    encoder = Encoder(policy.tokenizer)
    begin = (policy.tokenizer.bos_token_id or policy.end,)
    prompts = [encoder.prompt_ids([context])[0] if context else begin for context, _ in requests]
    rows = [Tokens(p, encoder.ids([text])[0]) for p, (_, text) in zip(prompts, requests, strict=True)]
    with torch.no_grad():
        logps = LanguageModel(policy, ScoringPath(True)).forward(rows).logps
    return torch.stack([part.sum() for part in logps.split([len(row.completion) for row in rows])])


def adapted() -> Policy:
    policy = small.policy()
    add_adapter(policy, LoRA.parse("r=4"), 0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.2)
    return policy


def with_tokenizer(tokenizer: Any) -> Policy:
    config = {**small.LLAMA, "vocab_size": len(tokenizer)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy(hf.LlamaForCausalLM(hf.LlamaConfig(**config)), tokenizer)


def of_bytes() -> Policy:
    corpus = [f"{a}{b}".replace("w", "word ") for a, b in TEXTS]
    return with_tokenizer(small_tokenizer(corpus, SmallModel("bytes", vocabulary=300)))


POLICIES: dict[str, Callable[[], Policy]] = {
    "words": small.policy,
    "gpt2": lambda: small.policy("gpt2"),
    "bytes": of_bytes,
    "adapter": adapted,
    "adapter off": lambda: adapted().reference(),
    "end token added": lambda: with_tokenizer(small_tokenizers.words(True)),
    "no begin token": lambda: with_tokenizer(small_tokenizers.words(False)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_log_likelihoods_are_those_of_the_engine(name: str) -> None:
    policy = POLICIES[name]()
    requests = [("a b", " c d Well"), ("a", " b"), ("a", " h"), ("", "c d")] if "token" in name else TEXTS
    found = torch.tensor([value for value, _ in asked(policy, requests)])
    assert (found - ours(policy, requests)).abs().max() < 1e-4
    rolled = torch.tensor(asked(policy, [(text,) for _, text in requests], "loglikelihood_rolling"))
    assert (rolled - ours(policy, [("", text) for _, text in requests])).abs().max() < 1e-4, "one begin token, not two"
    if name == "adapter":
        assert (found - ours(policy.reference(), requests)).abs().max() > 0.01


def test_they_are_in_bf16_as_well() -> None:
    full = small.policy()
    half = Policy(full.model, full.tokenizer, torch.bfloat16)
    found = torch.tensor([value for value, _ in asked(half, TEXTS)])
    exact = ours(full, TEXTS)
    assert 1e-4 < (found - exact).abs().max() < 0.2, "computed in bf16"
    assert (found - ours(half, TEXTS)).abs().max() < 1e-3, "logits in float32: rounded to bf16 they are .01 off"
    kinds = set()
    half.model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: kinds.add(output.dtype))
    assert asked(half, [("w01 w02", {"until": [], "max_gen_toks": 4})], "generate_until")
    assert kinds == {torch.bfloat16}, "answers as well"


def test_a_greedy_answer_is_ours_and_ends_where_the_policy_ends() -> None:
    policy = small.policy(seed=11)
    texts = [f"w{i:02} w{i + 1:02}" for i in range(1, 25)]
    answers = asked(policy, [(text, {"until": [], "max_gen_toks": 12}) for text in texts], "generate_until")
    encoder = Encoder(policy.tokenizer)
    rows = sample(policy, [Tokens(ids, ()) for ids in encoder.prompt_ids(texts)], 0, 12, temperature=0)
    assert 0 < sum(row.ended for row in rows) < len(rows), "some end, and not all, so that the others run on"
    expected = [policy.tokenizer.decode(row.completion, skip_special_tokens=True) for row in rows]
    assert answers == expected


def test_a_sampled_answer_is_the_same_each_time_and_moves_no_generator() -> None:
    policy, found = small.policy(), []
    settings = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0}
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            found.append(asked(policy, [(f"w{i:02}", settings) for i in range(6)], "generate_until"))
            assert torch.equal(torch.get_rng_state(), before)
    greedy = asked(policy, [(f"w{i:02}", {"until": [], "max_gen_toks": 8}) for i in range(6)], "generate_until")
    assert found[0] == found[1] != greedy


def test_texts_beyond_the_context_lose_their_beginning_and_are_counted() -> None:
    policy = small.policy()
    found, model = asked(policy, [("w02 " + "w01 " * small.CONTEXT, "w02"), ("w01", " w02")], cut=0)
    assert model.cut == 1
    one, two = policy.tokenizer("w01 w02", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        kept = LanguageModel(policy, ScoringPath(True)).forward([Tokens((one,) * small.CONTEXT, (two,))]).logps
    assert found[0][0] == pytest.approx(float(kept), abs=1e-4)
    settings = {"until": [], "max_gen_toks": 4}
    _, model = asked(policy, [("w01 " * small.CONTEXT, settings), ("w01", settings)], "generate_until", cut=0)
    assert model.cut == 1


def test_batches_are_of_like_length_and_fit() -> None:
    policy = small.policy()
    shapes: list[tuple[int, ...]] = []
    handle = policy.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    requests = [(" ".join(["w01"] * n), f" w{i:02}") for i, n in enumerate([1, 2, 3, 30, 40, 4, 5, 3, 50])]
    found, _ = asked(policy, requests, _room=64)
    handle.remove()
    assert shapes[0][1] == 51 and shapes == sorted(shapes, key=lambda shape: -shape[1])
    assert all(rows == 1 or rows * width <= 64 for rows, width in shapes) and max(rows for rows, _ in shapes) > 2
    assert (torch.tensor([value for value, _ in found]) - ours(policy, requests)).abs().max() < 1e-4


def test_a_large_vocabulary_leaves_room_for_fewer_tokens() -> None:
    from alignbench.evaluate.policy_lm import tokens_at_once

    assert tokens_at_once(small.policy()) == 16384
    with torch.device("meta"):
        config = hf.LlamaConfig(**{**small.LLAMA, "vocab_size": 50000, "hidden_size": 768})
        large = Policy(hf.LlamaForCausalLM(config), small.tokenizer())
    assert tokens_at_once(large) == 10**9 // (12 * 50000 + 160 * 768) == 1383
