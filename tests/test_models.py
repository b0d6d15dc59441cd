"""Small models from scratch, what a policy is, and reward models."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from alignbench.batch import Tokens
from alignbench.errors import InputError
from alignbench.models import (
    BOS,
    EOS,
    PAD,
    UNKNOWN,
    Policy,
    RewardModel,
    SmallModel,
    as_reward_model,
    load_policy,
    small_model,
    small_tokenizer,
)
from alignbench.sampling import sample

from . import small

WORDS = SmallModel("words", vocabulary=60, layers=2, width=32, heads=2, context=64)
BYTES = SmallModel("bytes", vocabulary=300, layers=2, width=32, heads=2, context=64)
CORPUS = ["the film was good .", "i did not like the plot , but the cast shone ."]
IDS = torch.tensor([[1, 10, 11, 12, 13, 10]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound model; tests spoil a copy of it."""
    folder = tmp_path_factory.mktemp("models") / "sound"
    small_model(small_tokenizer(CORPUS, BYTES), BYTES, seed=0).save(folder)
    return folder


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copied"))


# --- small tokenizers and models ---


def test_a_tokenizer_of_words_gives_each_word_one_id_and_back() -> None:
    tokenizer = small_tokenizer(CORPUS, WORDS)
    for text in CORPUS:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id, "begins, and does not end by itself"
        assert len(ids) == 1 + len(text.split(" ")) and tokenizer.eos_token_id not in ids
        assert tokenizer.decode(ids[1:], skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert tokenizer("cinema", add_special_tokens=False)["input_ids"] == [tokenizer.unk_token_id]


def test_a_tokenizer_of_bytes_gives_back_any_unicode() -> None:
    tokenizer = small_tokenizer(CORPUS, BYTES)
    rng = random.Random(0)
    texts = ["  two  spaces\n\n\ttab ", "e\u0301 é 日本語 🙂‍↔️ \u202e\x00\x07 ’s", "I'll we've <b> </ s>"]
    for _ in range(40):
        points = (rng.randrange(0x110000) for _ in range(12))
        texts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("shape", [WORDS, BYTES])
def test_special_tokens_written_in_the_corpus_are_not_learned_again(shape: SmallModel) -> None:
    written = [f"a {EOS} b{EOS} {PAD} {UNKNOWN}{BOS} the end"] * 99
    tokenizer = small_tokenizer([*CORPUS, *written], shape)
    assert [tokenizer.convert_tokens_to_ids(token) for token in (PAD, BOS, EOS, UNKNOWN)] == [0, 1, 2, 3]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer))), "every id has a row of the embedding"
    if shape is BYTES:
        ids = tokenizer(EOS, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert len(ids) > 1, "no merge spells the end token"


def test_one_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    tokenizer = small_tokenizer(CORPUS, WORDS)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (small_model(tokenizer, WORDS, seed).model.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["model.layers.0.mlp.up_proj.weight"], other["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize("shape", [WORDS, BYTES])
def test_a_small_model_is_saved_and_loaded_whole(shape: SmallModel, tmp_path: Path) -> None:
    policy = small_model(small_tokenizer(CORPUS, shape), shape, seed=1)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    assert torch.equal(logits(loaded.model), logits(policy.model))
    assert (loaded.end, loaded.context, loaded.hidden_size) == (policy.end, 64, 32)
    assert (loaded.tokenizer.pad_token, loaded.tokenizer.unk_token) == (PAD, UNKNOWN)
    for text in (*CORPUS, f"{CORPUS[0]}{EOS}", "new words"):
        assert loaded.tokenizer(text)["input_ids"] == policy.tokenizer(text)["input_ids"]


# --- what a policy is ---


def test_dropout_is_off(tmp_path: Path) -> None:
    config = hf.GPT2Config(
        **small.SPECIAL, n_embd=32, n_layer=2, n_head=2, n_positions=64,
        resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
    )  # fmt: skip
    model = hf.GPT2LMHeadModel(config).train()
    assert not torch.equal(logits(model), logits(model)), "in training mode this model is noisy"
    policy = Policy(model, small.tokenizer())
    assert torch.equal(logits(policy.model), logits(policy.model))
    policy.save(tmp_path)
    loaded = load_policy(tmp_path)
    sample(loaded, [Tokens((1, 10), ())], seed=0, max_new_tokens=3)
    assert torch.equal(logits(loaded.model), logits(policy.model))


def test_a_folder_s_generation_defaults_are_ignored(copied: Path) -> None:
    prompts = [Tokens((1, 10 + i), (), i) for i in range(8)]
    plain = sample(load_policy(copied), prompts, seed=0, max_new_tokens=6)
    defaults = {"do_sample": True, "top_k": 1, "temperature": 0.1, "repetition_penalty": 5.0, "eos_token_id": [5, 6]}
    defaults |= {"max_length": 3, "min_new_tokens": 5, "suppress_tokens": list(range(10, 250)), "num_beams": 3}
    (copied / "generation_config.json").write_text(json.dumps(defaults))
    policy = load_policy(copied)
    assert sample(policy, prompts, seed=0, max_new_tokens=6) == plain
    policy.save(copied)
    saved = json.loads((copied / "generation_config.json").read_text())
    assert saved.pop("eos_token_id") == list(policy.ends), "a program that serves it must know where to stop"
    assert not defaults.keys() & saved.keys()


# --- reward models ---

ROWS = [(1, 10, 11, 2), (1, 12, 2), (1, 13, 14, 15, 16, 17, 18, 2), (1, 19, 20), (1, 2, 21, 2)]
DECODERS = ["llama", "gpt2", "gpt-neox", "opt", "qwen2", "gemma2", "mistral"]


def classifier(kind: type[Any], labels: int) -> Any:
    shape: dict[str, Any] = {**small.SPECIAL, "pad_token_id": small.EOS, "num_labels": labels}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(labels)
        if kind is hf.GPT2ForSequenceClassification:
            return kind(hf.GPT2Config(**shape, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)).eval()
        return kind(hf.LlamaConfig(**{**small.GROUPED, **shape})).eval()


def ends_as_it_pads() -> Any:
    tokenizer = small_tokenizer(["x"], WORDS)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@torch.no_grad()
def unpadded(model: Any, row: tuple[int, ...]) -> Tensor:
    """What transformers makes of one sequence by itself; without a pad token it reads the last place."""
    model.config.pad_token_id = None
    found: Tensor = model(input_ids=torch.tensor([row])).logits[0]
    model.config.pad_token_id = small.EOS
    return found


@pytest.mark.parametrize("kind", [hf.LlamaForSequenceClassification, hf.GPT2ForSequenceClassification])
@pytest.mark.parametrize("labels", [1, 2])
def test_the_score_is_read_at_the_end_token_even_where_that_pads(kind: type[Any], labels: int) -> None:
    model = classifier(kind, labels)
    outputs = [unpadded(model, row) for row in ROWS]
    expected = torch.stack([out[0] if labels == 1 else out[1] - out[0] for out in outputs])
    scores = RewardModel(model, ends_as_it_pads(), "rm").score(ROWS)
    assert scores.dtype == torch.float32 and small.off(scores, expected) < 1e-5
    with torch.no_grad():
        trap = model(input_ids=torch.tensor([ROWS[0]])).logits[0]
    assert not torch.allclose(trap, outputs[0], atol=1e-3), "transformers takes the end token for padding here"


def test_three_outputs_are_refused(tmp_path: Path) -> None:
    classifier(hf.LlamaForSequenceClassification, 3).save_pretrained(tmp_path)
    small.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="it has 3 outputs, one or two can be read"):
        RewardModel.load(tmp_path)


def test_a_reward_does_not_depend_on_its_neighbours() -> None:
    model = RewardModel(classifier(hf.LlamaForSequenceClassification, 1), small.tokenizer(), "rm")
    alone = torch.cat([model.score([row]) for row in ROWS])
    assert len(set(alone.tolist())) == len(ROWS)
    for size in (1, 8, 20, 10_000):
        assert small.off(model.score(ROWS, max_tokens=size), alone) < 1e-5
    backwards = model.score(ROWS[::-1], max_tokens=9)
    assert small.off(backwards.flip(0), alone) < 1e-5
    assert model.score([]).shape == (0,)


@pytest.mark.parametrize("family", DECODERS)
def test_a_reward_model_of_a_policy_is_read_by_transformers(family: str, tmp_path: Path) -> None:
    policy = small.policy(family)
    labels = policy.model.config.num_labels
    head = nn.Linear(policy.hidden_size, 1, bias=False)
    made = as_reward_model(policy, head, "made")
    assert policy.model.config.num_labels == labels, "the policy's own configuration is left alone"
    scores = made.score(ROWS)
    with torch.no_grad():
        for row, score in zip(ROWS, scores, strict=True):
            states = policy.model(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[-1]
            assert torch.allclose(head(states[0, -1]).squeeze(), score, atol=1e-5)
        made.save(tmp_path)
        loaded = RewardModel.load(tmp_path)
        assert torch.equal(loaded.score(ROWS), scores) and loaded.model.config.num_labels == 1
        for parameter in policy.model.parameters():
            parameter.zero_()
    assert torch.equal(made.score(ROWS), scores), "a policy that trains on does not change it"


def test_an_encoder_is_a_reward_model_too(tmp_path: Path) -> None:
    shape: dict[str, Any] = {**small.LLAMA, "num_labels": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bert = hf.BertForSequenceClassification(hf.BertConfig(**shape)).eval()
    bert.save_pretrained(tmp_path)
    small.tokenizer().save_pretrained(tmp_path)
    model = RewardModel.load(tmp_path)
    with torch.no_grad():
        expected = torch.cat([bert(input_ids=torch.tensor([row])).logits[:, 0] for row in ROWS])
    assert small.off(model.score(ROWS), expected) < 1e-5
    assert small.off(model.score(ROWS, max_tokens=8), expected) < 1e-5
