"""Begin and end tokens that a text brings along, so that they come double or where they end what they should not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2.exceptions import TemplateError

from ..encoding import Encoder
from ..errors import InputError
from ..records import Prompt
from .findings import NAME_MODEL, Finding, Level, joined, of, quoted, sentence, times, unknown
from .view import View

# Of the chat templates in use; a tokenizer's own special tokens are added to them.
KNOWN = (
    "<s>", "</s>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>",
    "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<start_of_turn>",
    "<end_of_turn>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
    "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
MOST = 3  # markers that a sentence names


@dataclass
class _Found:
    """Places of records by what is wrong, and how often each marker was seen."""

    inside: list[int] = field(default_factory=list)
    closing: list[int] = field(default_factory=list)
    opening: list[int] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


def begin_end_tokens(view: View, encoder: Encoder | None) -> Finding:
    """Texts that hold special tokens letter by letter, and templates that begin twice.

    "bad": a special token of this tokenizer inside a completion or a chat message: it is read as that token, so that a
    text ends in its middle or a turn begins within one. "look": an end token at the end of a completion or a begin
    token at the beginning of a prompt (alignbench makes it one; tools that add their own train on two), a chat template
    that writes a begin token which the tokenizer adds again, and markers of other templates, which are read as text.
    A prompt that is one text may be written in the model's template, so that markers within it are right.
    """
    own = special_texts(encoder)
    found = _scanned(view, own, ends_of(encoder), encoder.tokenizer.bos_token if encoder is not None else None)
    doubled = _template_doubles(view, encoder)
    total = len(view.sample)
    parts = [
        f"{of(len(places), total, view.things)} {'has' if len(places) == 1 else 'have'} {what}"
        for places, what in (
            (found.inside, "a special token of the model inside a completion or message"),
            (found.closing, "a completion that brings its own end token"),
            (found.opening, "a prompt that brings its own begin token"),
            (
                found.foreign,
                "markers of another template, read as mere text" if own else "template markers",
            ),
        )
        if places
    ]
    if not parts and not doubled:
        if encoder is None:
            said = "No text holds a known template marker, and without a tokenizer no more can be told."
            return unknown("begin_end_tokens", said, NAME_MODEL)
        none = sentence("no text holds a begin, end or template token", view.sampled)
        return Finding("begin_end_tokens", "fine", none)
    named = [f"{quoted(marker)} {times(count)}" for marker, count in _ordered(found.seen)[:MOST]]
    said = sentence(joined(parts) if parts else "", ", ".join(named), doubled, view.sampled)
    places = {*found.inside, *found.closing, *found.opening, *found.foreign}
    level: Level = "bad" if found.inside else "look"
    return Finding("begin_end_tokens", level, said, _advice(found, encoder), view.lines(places), len(places))


def special_texts(encoder: Encoder | None) -> tuple[str, ...]:
    """The tokenizer's special tokens as text; a mere word among them would be found in every text."""
    if encoder is None:
        return ()
    added = [token.content for token in encoder.tokenizer.added_tokens_decoder.values() if token.special]
    every = dict.fromkeys([*encoder.tokenizer.all_special_tokens, *added])
    return tuple(str(token) for token in every if not re.fullmatch(r"[\w\s]*", str(token)))


def ends_of(encoder: Encoder | None) -> tuple[str, ...]:
    """The tokens that end a completion, as text."""
    return () if encoder is None else tuple(encoder.tokenizer.convert_ids_to_tokens(list(encoder.end_ids)))


def _scanned(view: View, own: Sequence[str], ends: Sequence[str], begin: str | None) -> _Found:
    pattern = re.compile("|".join(re.escape(marker) for marker in sorted({*KNOWN, *own}, key=lambda m: (-len(m), m))))
    found, mine = _Found(), set(own)
    for place in view.sample:
        record = view.records[place]
        prompt = record.prompt
        if prompt.messages is None:
            markers = pattern.findall(prompt.text)
            if begin and prompt.text.startswith(begin):
                found.opening.append(place)
            elif any(marker not in mine for marker in markers):
                found.foreign.append(place)
        else:
            markers = [marker for _, content in prompt.messages for marker in pattern.findall(content)]
            _sort_in(found, place, markers, mine)
        for completion in record.completions:
            text, closed = _open(completion.text, ends)
            found.closing += [place] * closed
            held = pattern.findall(text)
            _sort_in(found, place, held, mine)
            markers += held + [completion.text.rstrip()[len(text.rstrip()) :].strip()] * closed
        if any(
            places and places[-1] == place for places in (found.inside, found.closing, found.opening, found.foreign)
        ):
            found.seen.update(markers)
    for name in ("inside", "closing", "opening", "foreign"):
        setattr(found, name, sorted(set(getattr(found, name))))
    return found


def _sort_in(found: _Found, place: int, markers: Sequence[str], own: set[str]) -> None:
    found.inside += [place] * any(marker in own for marker in markers)
    found.foreign += [place] * any(marker not in own for marker in markers)


def _open(text: str, ends: Sequence[str]) -> tuple[str, bool]:
    """A completion without the end token that it may close with."""
    stripped = text.rstrip()
    end = next((end for end in ends if end and stripped.endswith(end)), None)
    return (text, False) if end is None else (stripped[: -len(end)], True)


def _template_doubles(view: View, encoder: Encoder | None) -> str:
    """What a rendered prompt becomes where it is tokenised with special tokens added; empty where one begin comes."""
    if encoder is None or encoder.begin is None:
        return ""
    prompt = next((view.records[i].prompt for i in view.sample if view.records[i].prompt.messages), None)
    if prompt is None or not begins_twice(encoder, prompt):
        return ""
    return (
        f"the chat template writes {quoted(str(encoder.tokenizer.bos_token))} and the tokenizer adds another one: "
        "alignbench trains on one, other tools would train on two"
    )


def begins_twice(encoder: Encoder, prompt: Prompt) -> bool:
    """Whether the rendered prompt has two begin tokens where the tokenizer adds its special tokens to it."""
    try:
        rendered = encoder.render_prompt(prompt)
    except (TemplateError, InputError):
        return False  # the context check tells of it
    ids = encoder.tokenizer(rendered, verbose=False)["input_ids"]
    return list(ids[:2]) == [encoder.begin] * 2


def _ordered(seen: Counter[str]) -> list[tuple[str, int]]:
    return sorted(((marker, count) for marker, count in seen.items() if marker), key=lambda item: (-item[1], item[0]))


def _advice(found: _Found, encoder: Encoder | None) -> str:
    if found.inside or (encoder is None and not found.closing):
        return "Take template markers out of the texts: the model's template and alignbench put them where they belong."
    if found.foreign:
        return "Take the markers out, or give chat messages, which are written in this model's own template."
    return (
        "Nothing to do for alignbench, which trains on one; elsewhere take the token out of the texts or tokenise "
        "without adding special tokens."
    )
