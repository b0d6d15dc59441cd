"""One tokenizer's way from text to ids: begin and end tokens exactly once, and the chat template."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from .errors import InputError
from .records import Completion, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]

# Saved with a tokenizer (in tokenizer_config.json): no token ends a completion, all are sampled to the same length.
FIXED_LENGTH = "fixed_length"

# Chat templates may write today's date: a macro in front of them gives a fixed one, so that the same data give the same
# ids tomorrow. (A function cannot be handed in: `apply_chat_template` lets only plain data through.)
_CODES = "".join(f"|replace('%{code}', '{datetime(2024, 7, 26).strftime('%' + code)}')" for code in "aAbBdmyYHMSjpI")
TODAY = f"{{% macro strftime_now(format) %}}{{{{ format{_CODES} }}}}{{% endmacro %}}"


class Encoder:
    """Renders prompts and completions and tokenises them apart, so that no token spans the boundary.

    Whatever renders a prompt with messages raises jinja2's `TemplateError` where the chat template refuses them, and
    `InputError` where there is no template, or one whose prompt is not the beginning of its conversation.

    A tokenizer without an end token that is marked `fixed_length` is read as it is: completions end by their length.

    Raises:
        InputError: the tokenizer has no end-of-sequence token and no such mark.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.fixed_length = tokenizer.eos_token_id is None and bool(tokenizer.init_kwargs.get(FIXED_LENGTH))
        if tokenizer.eos_token_id is None and not self.fixed_length:
            raise InputError("the tokenizer has no end-of-sequence token: set its eos_token and save it again.")
        self.tokenizer = tokenizer
        self.begin: int | None = tokenizer.bos_token_id
        self.adds_begin = self.begin is not None and tokenizer("a")["input_ids"][:1] == [self.begin]
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = {*added, *tokenizer.all_special_tokens}

    @cached_property
    def end_ids(self) -> Ids:
        """The tokens at which a completion ends: end-of-sequence, then the template's own end of a turn if it has one.

        Some chat models close a reply with a token of their own (`<end_of_turn>`) and run on where only end-of-sequence
        stops them. None where completions have a fixed length.
        """
        if self.fixed_length:
            return ()
        from jinja2.exceptions import TemplateError

        end = int(self.tokenizer.eos_token_id)
        if not self.tokenizer.chat_template:
            return (end,)
        try:
            turn = self.render_completion(Prompt("a", (("user", "a"),)), Completion("b"))
        except (TemplateError, InputError):
            return (end,)
        # A template may write nothing of a reply; then it says nothing of how one ends.
        last = self.ids([turn])[0][-1:]
        is_special = bool(last) and self.tokenizer.convert_ids_to_tokens(last[0]) in self._special
        return (end, *last) if is_special and last != (end,) else (end,)

    def ids(self, texts: Sequence[str], plain: bool = False) -> list[Ids]:
        """Ids without any that the tokenizer adds of its own accord.

        `plain` reads every text as mere text: an end token that a model has written out letter by letter ends nothing.
        """
        if not texts:
            return []
        try:
            encoded = self.tokenizer(
                list(texts),
                add_special_tokens=False,
                return_attention_mask=False,
                verbose=False,
                split_special_tokens=plain,
            )
        except Exception as error:
            if not self.fixed_length:
                raise
            raise InputError(self._unknown(texts)) from error  # the tokenizers library raises a bare Exception
        return [tuple(ids) for ids in encoded["input_ids"]]

    def prompt_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of rendered prompts, with one begin token where the tokenizer adds one or the text brings one."""
        return [self._begun(ids) for ids in self.ids(texts)]

    def begins(self, ids: Ids) -> bool:
        """Whether the first id is the begin token."""
        return self.begin is not None and ids[:1] == (self.begin,)

    def ended(self, ids: Ids) -> Ids:
        """The ids of a completion with exactly one end token: its own last one, or end-of-sequence.

        Those of a fixed length end without one."""
        if not self.end_ids:
            return ids
        end = ids[-1] if ids and ids[-1] in self.end_ids else self.end_ids[0]
        while ids and ids[-1] in self.end_ids:
            ids = ids[:-1]
        return (*ids, end)

    def render_prompt(self, prompt: Prompt) -> str:
        """The text that the model reads: `prompt.text`, or its messages in the tokenizer's chat template."""
        if prompt.messages is None:
            return prompt.text
        return self._template(prompt.messages, add_generation_prompt=True)

    def render_completion(self, prompt: Prompt, completion: Completion) -> str:
        """What follows the rendered prompt; with a chat template up to the token that closes the turn."""
        if prompt.messages is None:
            return completion.text
        start = self.render_prompt(prompt)
        whole = self._template((*prompt.messages, ("assistant", completion.text)), add_generation_prompt=False)
        if not whole.startswith(start):
            raise InputError(
                "the tokenizer's chat template writes a conversation that does not begin with its own prompt: give the "
                "prompts and completions as text."
            )
        reply, content = whole[len(start) :], completion.text.strip()
        end = reply.find(content) + len(content) if content in reply else 0
        if not completion.ended:
            return reply[:end] if end else reply
        closing = [(at, token) for token in self._special if (at := reply.find(token, end)) >= 0]
        # The template goes on after the turn, with a line break for instance: no model is asked to write that.
        return reply[: min(closing)[0]] + min(closing)[1] if closing else reply

    def _unknown(self, texts: Sequence[str]) -> str:
        """Why a tokenizer without an unknown token cannot read a text."""
        known = self.tokenizer.get_vocab()
        word = next((word for text in texts for word in text.split() if word not in known), "")
        return f"{word!r} is none of the {len(known)} words that the model reads: leave it out or name another model."

    def _begun(self, ids: Ids) -> Ids:
        has_begin = self.begins(ids)
        while self.begins(ids):
            ids = ids[1:]
        return (self.begin, *ids) if self.begin is not None and (has_begin or self.adds_begin) else ids

    def _template(self, messages: Sequence[tuple[str, str]], add_generation_prompt: bool) -> str:
        if not self.tokenizer.chat_template:
            raise InputError("the data hold chat messages and the tokenizer has no chat template: give it one or text.")
        text = self.tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            chat_template=TODAY + str(self.tokenizer.get_chat_template()),
        )
        return str(text)
