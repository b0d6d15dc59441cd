"""Tokenizers small enough to follow by hand, and records for them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from alignbench.batch import Tokens
from alignbench.records import Completion, Pair, Prompt
from alignbench.tokens import tokenize

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "Well", "Bad"]
UNKNOWN, BOS, EOS, TURN = "<unk>", "<s>", "</s>", "<|end|>"
CHAT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m['content'] | trim }}{{ '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# A template that brings its own begin token, closes turns with the end token, and trims nothing.
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


def words(begin: bool, template: str | None = None) -> Any:
    """A tokenizer whose tokens are words; with `begin` it puts a begin token in front, as many do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([UNKNOWN, BOS, EOS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 1), (EOS, 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, chat_template=template
    )


def pieces(begin: bool, template: str | None = None) -> Any:
    """Byte-level BPE, trained on a text in which a merge across "Assistant:" and " W" would pay."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [BOS, EOS, TURN, "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Assistant: Well"] * 50, trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=special[2:],
        chat_template=template,
    )


def pair(prompt: str | Prompt, chosen: str, rejected: str, line: int = 1) -> Pair:
    prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
    return Pair(prompt, Completion(chosen), Completion(rejected), line=line)


def chat(*contents: str) -> Prompt:
    roles = itertools.cycle(("user", "assistant"))
    return Prompt(" / ".join(contents), tuple(zip(roles, contents, strict=False)))


def text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def one(record: Pair, tokenizer: Any, max_length: int = 512) -> tuple[Tokens, Tokens]:
    return tokenize([record], tokenizer, max_length).pairs[0]
