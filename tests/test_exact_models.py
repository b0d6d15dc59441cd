"""Models without begin and end tokens, and every completion of theirs enumerated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alignbench import Tokens
from alignbench.adapters import LoRA, add_adapter
from alignbench.encoding import Encoder
from alignbench.engine import Sources
from alignbench.errors import InputError
from alignbench.evaluate import exact
from alignbench.evaluate.harness import undisturbed
from alignbench.evaluate.measure import decode
from alignbench.judge import JudgeContext
from alignbench.logprobs import LanguageModel
from alignbench.logprobs import Path as ScoringPath
from alignbench.mismatched import mismatched_rows
from alignbench.models import Policy, RewardModel, as_reward_model, load_policy
from alignbench.plugins import create, find
from alignbench.records import Completion, Pair, Prompt
from alignbench.reference import Reference, build_cache
from alignbench.sampling import sample
from alignbench.tokens import encode_prompt, tokenize, tokenize_each
from alignbench.train import train

from . import small
from .exact_models import asked, benchmark, engine, fitted, model, pairs, policy, reference_of, rows, trained
from .small_tokenizers import words as user_words

WORDS = tuple("abcdefghijkl")


def total(logps: torch.Tensor) -> float:
    """How far the probabilities of all completions of a prompt are from 1, for the worst prompt."""
    return float((logps.exp().sum(1) - 1).abs().max())


# --- the tokenizer ---


def test_the_vocabulary_is_the_words_and_nothing_else(tmp_path: Path) -> None:
    made = policy()
    assert made.tokenizer.get_vocab().keys() == set(WORDS) and made.model.config.vocab_size == 12
    made.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    for each in (made, loaded):
        assert each.ends == () and Encoder(each.tokenizer).fixed_length and not each.tokenizer.all_special_tokens
        special = (each.model.config.bos_token_id, each.model.config.eos_token_id, each.model.config.pad_token_id)
        assert special == (None, None, None)
        assert Encoder(each.tokenizer).prompt_ids(["a b l"]) == Encoder(each.tokenizer).ids(["a b l"])
    assert '"eos_token_id"' not in (tmp_path / "generation_config.json").read_text(), "other programs stop nowhere else"


def test_a_tokenizer_of_the_users_without_an_end_token_is_refused_as_before(tmp_path: Path) -> None:
    made = policy()
    made.save(tmp_path)
    made.tokenizer.init_kwargs.pop("fixed_length")
    made.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no end-of-sequence token"):
        load_policy(tmp_path)
    unmarked = user_words(begin=False)
    unmarked.eos_token = None
    with pytest.raises(InputError, match="no end-of-sequence token"):
        Encoder(unmarked)


def test_the_mark_means_nothing_where_there_is_an_end_token() -> None:
    marked = user_words(begin=False)
    marked.init_kwargs["fixed_length"] = True
    assert Encoder(marked).end_ids == (marked.eos_token_id,)


def test_a_completion_gets_no_token_that_it_does_not_have() -> None:
    tokenizer = policy().tokenizer
    record = Pair(Prompt("a b"), Completion("c d"), Completion("e f", ended=False))
    chosen, rejected = tokenize([record], tokenizer, 16).pairs[0]
    assert (chosen.prompt, chosen.completion, rejected.completion) == ((0, 1), (2, 3), (4, 5))
    assert chosen.ended and not rejected.ended
    (row,) = tokenize_each([(record.prompt, record.chosen)], tokenizer, 16)
    assert (row.prompt, row.completion, row.ended) == ((0, 1), (2, 3), True)
    assert decode(tokenizer, row) == Completion("c d")


@pytest.mark.parametrize(("text", "word"), [("a b zebra", "'zebra'"), ("a <s>", "'<s>'")])
def test_a_word_from_outside_the_world_is_named(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        encode_prompt(Prompt(text), policy().tokenizer, 16)


def test_judges_and_tasks_that_ask_in_words_are_refused(tmp_path: Path) -> None:
    policy().save(tmp_path)
    with pytest.raises(InputError, match="no questions"):
        find("judge", "lm").open(str(tmp_path), JudgeContext(lambda prompts, completions: None, {}))
    with undisturbed():
        from alignbench.evaluate.policy_lm import PolicyLM

        with pytest.raises(InputError, match="no text"):
            PolicyLM(policy())


# --- sampling, scoring, training ---


def test_samples_have_the_asked_length_and_miss_no_end() -> None:
    made = fitted()
    prompts, _, _ = asked(2, made.policy.tokenizer)
    for length in (1, 2, 5):
        drawn = sample(made.policy, prompts * 3, 0, length)
        assert {len(row.completion) for row in drawn} == {length} and all(row.ended for row in drawn)
    drawn = sample(small.policy(), [Tokens((1, 5), ()) for _ in range(40)], 0, 2)
    assert not all(row.ended for row in drawn), "where there is an end token, one that did not come is missed"


def test_an_online_objective_takes_no_penalty_off() -> None:
    made = model(policy())
    sources = Sources(dataset=pairs(), reference=reference_of(2), gold=lambda rows: [2.0] * len(rows), max_new_tokens=2)
    rewards = [
        create(f"rloo:reward=gold:missing_end_penalty={penalty}").rewarded(own, own.sample(next(own.prompts()), 2))
        for penalty in (0, 5)
        for own in (engine(made, sources, 64),)
    ]
    assert torch.equal(rewards[0], rewards[1]) and set(rewards[0].tolist()) == {2.0}


def test_sampled_frequencies_are_the_enumerated_probabilities() -> None:
    from scipy.stats import chisquare

    made = fitted()
    prompts, words, length = asked(2, made.policy.tokenizer)
    probabilities = exact.log_probs(made, prompts, words, length)[3].exp()
    n = 20000
    drawn = sample(made.policy, [prompts[3]] * n, 11, length, batch_size=4096)
    places = torch.tensor([words.index(a) * 12 + words.index(b) for a, b in (row.completion for row in drawn)])
    counts = torch.bincount(places, minlength=144).double()
    assert float(probabilities.min()) * n > 5, "each is frequent enough for the test"
    assert chisquare(counts, probabilities * n / probabilities.sum()).pvalue > 1e-3
    assert chisquare(counts, torch.full_like(counts, n / 144)).pvalue < 1e-9, "it can tell"


@pytest.mark.parametrize("spec", ["dpo:beta=0.5", "kto:beta=0.5"])
def test_a_trained_policy_is_saved_and_opened_as_it_was(spec: str, tmp_path: Path) -> None:
    made = trained(2, spec)
    given = asked(2, made.policy.tokenizer)
    made.policy.save(tmp_path)
    own = exact.log_probs(made, *given)
    assert torch.equal(exact.log_probs(model(load_policy(tmp_path)), *given), own)
    assert float((own - exact.log_probs(fitted(), *given)).abs().max()) > 0.01, "it was trained"


def test_an_adapter_has_the_model_without_it_as_its_reference(tmp_path: Path) -> None:
    made = policy(spread=2.0)
    before = model(made)
    given = asked(2, made.tokenizer)
    start = exact.log_probs(before, *given)
    add_adapter(made, LoRA.parse("r=4"), 0)
    sources = Sources(dataset=pairs(), reference=reference_of(2), max_new_tokens=2)
    for _ in train(engine(model(made), sources, 160, rate=1e-2), create("dpo:beta=0.5")):
        pass
    assert total(exact.log_probs(model(made), *given)) < 1e-6
    assert float((exact.log_probs(model(made), *given) - start).abs().max()) > 0.01
    assert torch.equal(exact.log_probs(model(made.reference()), *given), start)
    made.save(tmp_path)
    assert (tmp_path / "adapter_config.json").exists()


def test_the_reference_cache_gives_what_the_model_gives(tmp_path: Path) -> None:
    made, data = fitted(), pairs()
    known = [row for row, _ in data.as_labelled()] + list(mismatched_rows(data))

    def score(items: Any) -> torch.Tensor:
        with torch.no_grad():
            return made.forward(items).logps

    build_cache(tmp_path / "cache", known, score)
    stored = Reference(lambda rows: pytest.fail("all of them are stored"), tmp_path / "cache")
    assert torch.allclose(stored.logps(known), score(known), atol=1e-5)


# --- enumeration ---


def test_probabilities_of_all_completions_sum_to_one() -> None:
    """12^4 = 20,736 completions of each prompt, under a random, a wilder, a fine-tuned and an aligned model."""
    fine = fitted(4)
    for made in (model(policy(4)), model(policy(4, 1, 4.0)), fine, trained(4)):
        logps = exact.log_probs(made, *asked(4, made.policy.tokenizer))
        assert logps.shape == (8, 12**4) and logps.dtype == torch.float64
        assert total(logps) < 1e-6
    assert float(logps.exp().max()) > 10 / 12**4, "the last of them is far from uniform"


PATHS = {
    "shared": ScoringPath(True),
    "mask": ScoringPath(True, tiles=False),
    "plain": ScoringPath(False, "asked for"),
    "own head": ScoringPath(False, "asked for", chunked=False),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_enumerated_log_probs_are_those_of_scoring(path: str, length: int) -> None:
    made = LanguageModel(policy(length, spread=2.0), PATHS[path], max_tokens=512)
    prompts, words, _ = asked(length, made.policy.tokenizer)
    prompts = [prompts[0], Tokens(prompts[1].prompt[:2], ()), Tokens(prompts[2].prompt[1:], ())]
    words = words[3:9]  # not all of them
    logps = exact.log_probs(made, prompts, words, length)
    assert logps.shape == (3, 6**length)
    chosen = rows(prompts, words, length, 60)
    with torch.no_grad():
        scored = made.forward([row for _, _, row in chosen]).logps.view(-1, length).sum(1)
    enumerated = torch.stack([logps[p, place] for p, place, _ in chosen])
    assert float((enumerated - scored).abs().max()) < 1e-5


def head(made: Policy, outputs: int) -> RewardModel:
    layer = nn.Linear(made.hidden_size, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(1, made.hidden_size, generator=torch.Generator().manual_seed(1)))
    scorer = as_reward_model(made, layer, "random")
    if outputs == 2:
        both = nn.Linear(made.hidden_size, 2, bias=False)
        with torch.no_grad():
            both.weight.copy_(torch.randn(2, made.hidden_size, generator=torch.Generator().manual_seed(2)))
        scorer.model.score, scorer.model.config.num_labels = both, 2
    return scorer


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_enumerated_scores_are_those_of_the_reward_model(length: int, outputs: int, tmp_path: Path) -> None:
    made = policy(length, spread=2.0)
    scorer = head(made, outputs)
    prompts, words, _ = asked(length, made.tokenizer)
    for asked_prompts in (prompts, [prompts[0], Tokens(prompts[1].prompt[:2], ())]):
        scores = exact.reward_scores(scorer, asked_prompts, words, length)
        assert scores.shape == (len(asked_prompts), 12**length) and scores.dtype == torch.float64
        chosen = rows(asked_prompts, words, length, 60)
        one_by_one = scorer.score([row.prompt + row.completion for _, _, row in chosen])
        enumerated = torch.stack([scores[p, place] for p, place, _ in chosen])
        assert float((enumerated - one_by_one).abs().max()) < 1e-5 * float(scores.abs().max())
    scorer.save(tmp_path)
    loaded = exact.reward_scores(RewardModel.load(tmp_path), asked_prompts, words, length)
    assert torch.equal(loaded, scores)


def test_a_reward_model_pads_without_a_token_for_it() -> None:
    scorer = head(policy(spread=2.0), 1)
    ragged = [(0, 1, 2), (3, 4, 5, 6, 7), (8,)]
    alone = torch.cat([scorer.score([row]) for row in ragged])
    assert torch.allclose(scorer.score(ragged), alone, atol=1e-5)


def test_a_reward_model_that_is_an_encoder_reads_each_completion_by_itself() -> None:
    import transformers as hf

    size: dict[str, Any] = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 1, "num_labels": 1}
    config = hf.BertConfig(**size, num_attention_heads=2, intermediate_size=16)
    made = policy()
    scorer = RewardModel(hf.BertForSequenceClassification(config), made.tokenizer, "encoder")
    prompts, words, _ = asked(2, made.tokenizer)
    scores = exact.reward_scores(scorer, prompts[:2], words, 2)
    one = scorer.score([[*prompts[1].prompt, words[3], words[7]]])
    assert float(scores[1, 3 * 12 + 7]) == pytest.approx(float(one), abs=1e-5)


def test_the_world_is_made_of_the_benchmarks_reward_and_the_references_log_probs() -> None:
    made = fitted()
    enumeration = benchmark().exact()
    ref = exact.log_probs(made, *asked(2, made.policy.tokenizer))
    world = exact.exact_world(enumeration, ref)
    assert world.reward is enumeration.reward and world.beta == 0.5 and torch.equal(world.ref, ref)
    assert world.gain_share(world.optimum) == pytest.approx(1)
    assert world.kl(ref) == 0 and world.gap(ref) > 0.1
    with pytest.raises(ValueError, match="reference"):
        exact.exact_world(enumeration, ref[:, :100])


def test_a_model_that_reads_anything_else_is_refused() -> None:
    enumeration = benchmark().exact()
    with pytest.raises(InputError, match="every completion is enumerated"):
        exact.word_ids(enumeration, small.tokenizer())
    tokenizer = policy().tokenizer
    tokenizer.add_tokens(["m"])
    with pytest.raises(InputError, match="12 words"):
        exact.word_ids(enumeration, tokenizer)
