from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from alignbench.encoding import Encoder
from alignbench.errors import InputError
from alignbench.formats import Skipped
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt
from alignbench.tokens import (
    encode_prompt,
    tokenize,
)
from tests.small_tokenizers import BOS, CHAT, EOS, LLAMA, TURN, chat, one, pair, pieces, text, words

# --- joins, begin and end tokens ---


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("kind", [words, pieces])
def test_one_begin_and_one_end_token(kind: Any, begin: bool) -> None:
    tokenizer = kind(begin)
    first = [tokenizer.bos_token_id] if begin else []
    plain = tokenizer("a b", add_special_tokens=False)["input_ids"]
    reply = tokenizer(" c", add_special_tokens=False)["input_ids"]
    for prompt, chosen in (("a b", " c"), ("a b", f" c{EOS}"), ("a b", f" c{EOS}{EOS}")):
        row, other = one(
            pair(prompt, chosen.replace("<", " <"), "d") if kind is words else pair(prompt, chosen, "d"), tokenizer
        )
        assert list(row.prompt) == first + plain
        assert list(row.completion[: len(reply)]) == reply
        assert Counter(row.prompt + row.completion)[tokenizer.eos_token_id] == 1
        assert row.completion[-1] == other.completion[-1] == tokenizer.eos_token_id
        assert row.prompt == other.prompt


@pytest.mark.parametrize("begin", [True, False])
@pytest.mark.parametrize("given", [1, 2])
def test_a_begin_token_in_the_text_is_not_doubled(begin: bool, given: int) -> None:
    tokenizer = pieces(begin)
    row, _ = one(pair(BOS * given + "a", "b", "c"), tokenizer)
    assert row.prompt == (tokenizer.bos_token_id, *tokenizer("a", add_special_tokens=False)["input_ids"])


def test_a_completion_that_was_cut_off_has_no_end_token() -> None:
    tokenizer = words(True)
    record = Pair(Prompt("a"), Completion("b c", ended=False), Completion("d"))
    chosen, rejected = one(record, tokenizer)
    assert (text(tokenizer, chosen.completion), chosen.ended) == ("b c", False)
    assert (text(tokenizer, rejected.completion), rejected.ended) == (f"d {EOS}", True)
    assert tokenize([record], tokenizer, 10).truncated == 0


def test_no_token_spans_the_boundary() -> None:
    tokenizer = pieces(False)
    joined = tokenizer("Assistant: Well", add_special_tokens=False)["input_ids"]
    row, _ = one(pair("Assistant:", " Well", " Bad"), tokenizer)
    assert len(joined) == 1, "the tokenizer of this test must merge across the boundary"
    assert len(row.prompt) >= 1
    assert text(tokenizer, row.prompt) == "Assistant:"
    assert text(tokenizer, row.completion) == f" Well{EOS}"


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = words(False)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-sequence token"):
        tokenize([pair("a", "b", "c")], tokenizer, 8)


# --- chat templates ---


def test_a_chat_template_ends_with_the_token_that_closes_the_turn() -> None:
    tokenizer = pieces(True, CHAT)
    row, other = one(pair(chat("a", "b", "c"), " Well ", "Bad"), tokenizer)
    turns = f"{BOS}<|user|>a{TURN}\n<|assistant|>b{TURN}\n<|user|>c{TURN}\n<|assistant|>"
    assert text(tokenizer, row.prompt) == turns  # the begin token is the tokenizer's, the template has none
    assert text(tokenizer, row.completion) == f"Well{TURN}"  # no line break behind it, and no second end token
    assert text(tokenizer, other.completion) == f"Bad{TURN}"
    assert Encoder(tokenizer).end_ids == (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(TURN))


def test_a_chat_template_with_begin_and_end_tokens_of_its_own() -> None:
    for begin in (True, False):
        tokenizer = pieces(begin, LLAMA)
        row, _ = one(pair(chat("a"), " Well", "Bad"), tokenizer)
        assert text(tokenizer, row.prompt) == f"{BOS}[user]a[assistant]"
        assert text(tokenizer, row.completion) == f" Well{EOS}"
        assert Encoder(tokenizer).end_ids == (tokenizer.eos_token_id,)


def test_a_chat_template_that_closes_no_turn_gets_an_end_token() -> None:
    tokenizer = pieces(True, LLAMA.replace("{{ eos_token }}", "{{ '!' }}"))
    row, _ = one(pair(chat("a"), "Well", "Bad"), tokenizer)
    assert text(tokenizer, row.completion) == f"Well!{EOS}"


def test_an_unfinished_reply_in_a_chat_template() -> None:
    tokenizer = pieces(True, CHAT)
    record = LabelledCompletion(chat("a"), Completion("Well", ended=False), True)
    ((row, _),) = tokenize([record], tokenizer, 99).labelled
    assert (text(tokenizer, row.completion), row.ended) == ("Well", False)


def test_special_tokens_within_a_reply_do_not_end_it() -> None:
    tokenizer = pieces(True, CHAT)
    row, _ = one(pair(chat("a"), f"b{TURN}c", "d"), tokenizer)
    assert text(tokenizer, row.completion) == f"b{TURN}c{TURN}"


def test_messages_need_a_chat_template() -> None:
    with pytest.raises(InputError, match="hold chat messages and the tokenizer has no chat template"):
        tokenize([pair(chat("a"), "b", "c")], pieces(True), 99)
    with pytest.raises(InputError, match="does not begin with its own prompt"):
        tokenize([pair(chat("a"), "b", "c")], pieces(True, CHAT.replace("'<|assistant|>'", "'<|assistant|>Think'")), 99)


def test_a_conversation_that_the_template_refuses_is_skipped() -> None:
    strict = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}" + CHAT
    tokenizer = pieces(True, strict)
    refused = Prompt("x", (("system", "x"),))
    found = tokenize([pair(refused, "b", "c", 1), pair(chat("a"), "b", "c", 2)], tokenizer, 99)
    assert len(found.pairs) == 1
    assert found.skipped == (Skipped(1, "prompt", "the chat template refuses it (user first)"),)
    with pytest.raises(InputError, match=r"cannot be used: the chat template refuses it \(user first\)"):
        encode_prompt(refused, tokenizer, 99)


def test_a_template_that_writes_the_date_gives_the_same_ids_tomorrow() -> None:
    tokenizer = pieces(True, "{{ strftime_now('%d %B %Y') }}" + CHAT)
    row, _ = one(pair(chat("a"), "b", "c"), tokenizer)
    assert text(tokenizer, row.prompt).startswith(f"{BOS}26 July 2024<|user|>a")
