"""Records and a tokenizer in, token ids out.

What is left out and what is cut is decided here, once for a record, so that every objective reads the same tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from .batch import Tokens
from .encoding import Encoder, Ids
from .errors import InputError
from .formats import Skipped, UnusableError, describe_skipped
from .records import Completion, Demonstration, Kind, LabelledCompletion, Pair, Preferences, Prompt, Ranking, nested

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Record = Pair | LabelledCompletion | Ranking | Demonstration


@dataclass(frozen=True)
class Dataset:
    """Tokenised preference data.

    `pairs` are (chosen, rejected) with one and the same prompt, `labelled` are (completion, desirable?); one of the two
    is filled, as `kind` says. `rankings` are lists, best first; beside them `pairs` holds the `nested` pairs of each,
    one record after another, so that objectives on pairs, on labels and on lists read the same completions. `prompts`
    are the distinct prompts, never cut, each with an empty completion, and `prompt_texts` gives their text by
    `prompt_id`. `truncated` counts records that were cut to `max_length` tokens, `skipped` lists those left out.
    """

    kind: Kind
    pairs: tuple[tuple[Tokens, Tokens], ...]
    labelled: tuple[tuple[Tokens, bool], ...]
    prompts: tuple[Tokens, ...]
    prompt_texts: dict[int, Prompt]
    max_length: int
    truncated: int
    skipped: tuple[Skipped, ...]
    rankings: tuple[tuple[Tokens, ...], ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of the ids, the labels and the order of the records."""
        content: tuple[object, ...] = (self.pairs, self.labelled, self.prompts, self.max_length)
        content += (self.rankings,) if self.rankings else ()
        return hashlib.sha256(repr(content).encode()).hexdigest()

    @property
    def lists(self) -> tuple[tuple[Tokens, ...], ...]:
        """Every record's completions, best first: a pair is a list of two. Empty where there are labels only."""
        return self.rankings or self.pairs

    @property
    def leaders(self) -> tuple[Tokens, ...]:
        """The first completion of each record, which stands for its prompt."""
        return tuple(ranked[0] for ranked in self.lists) or tuple(row for row, _ in self.labelled)

    @cached_property
    def pairs_of(self) -> tuple[range, ...]:
        """For each of `lists` the places of its pairs in `pairs`."""
        ends = accumulate((len(ranked) // 2 for ranked in self.lists), initial=0)
        return tuple(range(start, end) for start, end in pairwise(ends))

    @property
    def completions(self) -> tuple[Tokens, ...]:
        """Every completion that some objective may read, once for each time that it is in a record."""
        return (*(row for ranked in self.lists for row in ranked), *(row for row, _ in self.labelled))

    def as_labelled(self) -> tuple[tuple[Tokens, bool], ...]:
        """Labelled completions; a pair gives (chosen, True), then (rejected, False).

        Of a ranking the upper half is desirable and the lower half not; the middle one of an odd number has no label.
        """
        paired = (item for chosen, rejected in self.pairs for item in ((chosen, True), (rejected, False)))
        return (*paired, *self.labelled)


def tokenize(records: Preferences, tokenizer: PreTrainedTokenizerBase, max_length: int, reserve: int = 0) -> Dataset:
    """Tokenise preference data for a context of `max_length` tokens.

    A sequence starts with one begin token, where the tokenizer normally adds one, and ends with one end token, where
    the completion `ended`. What is too long is cut from the left of the prompt, by as much as the longest completion of
    a record needs, and `reserve` tokens at least (room for a sample); a completion is cut, on its right, only where it
    does not fit by itself. A prompt that fills the context alone is skipped, like a record two of whose completions
    differ only in what is cut off.

    Raises:
        InputError: no record is left, or chat messages meet a tokenizer without a (usable) chat template.
    """
    encoded = _encode(records, Encoder(tokenizer), max_length, reserve)
    prompts: dict[int, Tokens] = {}
    texts: dict[int, Prompt] = {}
    pairs, labelled, rankings = [], [], []
    for record, prompt, rows in encoded.kept:
        name = rows[0].prompt_id
        prompts[name], texts[name] = Tokens(prompt, (), name), record.prompt
        if isinstance(record, Pair):
            pairs.append((rows[0], rows[1]))
        elif isinstance(record, LabelledCompletion):
            labelled.append((rows[0], record.desirable))
        elif isinstance(record, Ranking):
            rankings.append(rows)
            pairs += nested(rows)
    return Dataset(
        kind="rankings" if rankings else "pairs" if pairs else "labels",
        pairs=tuple(pairs),
        labelled=tuple(labelled),
        prompts=tuple(prompts.values()),
        prompt_texts=texts,
        max_length=max_length,
        truncated=encoded.truncated,
        skipped=encoded.skipped,
        rankings=tuple(rankings),
    )


def tokenize_demonstrations(
    demonstrations: Sequence[Demonstration], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Tokens, ...]:
    """What supervised fine-tuning imitates, by the rules of `tokenize`; those that do not fit are left out."""
    return tuple(rows[0] for _, _, rows in _encode(demonstrations, Encoder(tokenizer), max_length).kept)


def tokenize_each(
    texts: Sequence[tuple[Prompt, Completion]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Tokens]:
    """One row for each text, whatever its length, for judges: none is left out, the left of a long one is cut."""
    encoder = Encoder(tokenizer)
    try:
        rendered = [_rendered(prompt, (completion,), encoder) for prompt, completion in texts]
    except UnusableError as error:
        raise InputError(f"a judge's model cannot read a prompt: {error.reason}.") from None
    prompts = encoder.prompt_ids([prompt for prompt, _ in rendered])
    # What a model wrote is text. Only a chat template may put special tokens around it.
    written = [prompt.messages is None for prompt, _ in texts]
    completions = [encoder.ids([y], plain)[0] for (_, (y,)), plain in zip(rendered, written, strict=True)]
    rows = []
    for (prompt, completion), ids, unended in zip(texts, prompts, completions, strict=True):
        answer = (encoder.ended(unended) if completion.ended else unended)[-(max_length - 2) :]
        kept = _cut(ids, max_length - len(answer), int(encoder.begins(ids)))
        rows.append(Tokens(kept, answer, prompt_id(prompt), completion.ended))
    return rows


def encode_prompt(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, max_length: int, reserve: int = 0) -> Tokens:
    """A prompt to sample from: the ids that it has in `tokenize`, and an empty completion.

    Where it leaves fewer than `reserve` tokens for the completion, it is cut from the left, as `tokenize` does.

    Raises:
        InputError: the prompt leaves no room for a completion, or the chat template refuses it.
    """
    encoder = Encoder(tokenizer)
    try:
        ids = encoder.prompt_ids([_rendered(prompt, (), encoder)[0]])[0]
        _check_prompt(ids, max_length)
    except UnusableError as error:
        raise InputError(f"the prompt {prompt.text[:60]!r} cannot be used: {error.reason}.") from None
    return Tokens(_cut(ids, max_length - reserve, int(encoder.begins(ids))), (), prompt_id(prompt))


def prompt_id(prompt: Prompt) -> int:
    """48 bits of a hash of the prompt: the same number in every file, cell and run."""
    content = prompt.text if prompt.messages is None else json.dumps([prompt.text, prompt.messages])
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:6], "big")


class _Encoded(NamedTuple):
    kept: tuple[tuple[Record, Ids, tuple[Tokens, ...]], ...]  # record, its whole prompt, its completions' rows
    truncated: int
    skipped: tuple[Skipped, ...]


def _encode(records: Sequence[Record], encoder: Encoder, max_length: int, reserve: int = 0) -> _Encoded:
    rendered, skipped = [], []
    for record in records:
        try:
            rendered.append((record, *_rendered(record.prompt, _completions(record).values(), encoder)))
        except UnusableError as error:
            skipped.append(Skipped(_line(record), error.field, error.reason))
    # Two calls for all records: a call for each would take several times as long.
    prompts = encoder.prompt_ids([prompt for _, prompt, _ in rendered])
    completions = iter(encoder.ids([text for _, _, texts in rendered for text in texts]))
    kept, truncated = [], 0
    for (record, _, texts), prompt in zip(rendered, prompts, strict=True):
        ids = [next(completions) for _ in texts]
        try:
            rows, cut = _rows(record, prompt, ids, encoder, max_length, reserve)
        except UnusableError as error:
            skipped.append(Skipped(_line(record), error.field, error.reason))
            continue
        kept.append((record, prompt, rows))
        truncated += cut
    if not kept:
        found = describe_skipped(skipped, len(records))
        raise InputError(f"no record fits this tokenizer and a context of {max_length} tokens: {found}.")
    return _Encoded(tuple(kept), truncated, tuple(sorted(skipped, key=lambda skip: skip.line or 0)))


def _rendered(prompt: Prompt, completions: Iterable[Completion], encoder: Encoder) -> tuple[str, list[str]]:
    from jinja2.exceptions import TemplateError

    try:
        return encoder.render_prompt(prompt), [encoder.render_completion(prompt, y) for y in completions]
    except TemplateError as error:
        raise UnusableError("prompt", f"the chat template refuses it ({error})") from None


def _rows(
    record: Record, prompt: Ids, completions: Sequence[Ids], encoder: Encoder, max_length: int, reserve: int
) -> tuple[tuple[Tokens, ...], bool]:
    """The rows of a record, and whether anything was cut."""
    _check_prompt(prompt, max_length)
    given = _completions(record)
    ids = [encoder.ended(y) if text.ended else y for y, text in zip(completions, given.values(), strict=True)]
    for name, y in zip(given, ids, strict=True):
        if not y:
            raise UnusableError(name, "no tokens")
    kept = _cut(prompt, max_length - max(reserve, *map(len, ids)), int(encoder.begins(prompt)))
    room = max_length - len(kept)
    seen: dict[Ids, str] = {}
    for name, y in zip(given, ids, strict=True):
        if y[:room] in seen:
            raise UnusableError(name, f"the same tokens as {seen[y[:room]]} within a context of {max_length}")
        seen[y[:room]] = name
    identity = prompt_id(record.prompt)
    rows = tuple(
        Tokens(kept, y[:room], identity, text.ended and len(y) <= room)
        for y, text in zip(ids, given.values(), strict=True)
    )
    return rows, kept != prompt or any(len(y) > room for y in ids)


def _cut(prompt: Ids, length: int, begin: int) -> Ids:
    """The last `length` ids, the `begin` first ones among them, and one id at least behind those."""
    if len(prompt) <= length:
        return prompt
    return prompt[:begin] + prompt[begin:][-max(1, length - begin) :]


def _check_prompt(ids: Ids, max_length: int) -> None:
    if not ids:
        raise UnusableError("prompt", "no tokens")
    if len(ids) >= max_length:
        raise UnusableError("prompt", f"{len(ids)} tokens leave no room in a context of {max_length}")


def _completions(record: Record) -> dict[str, Completion]:
    if isinstance(record, Pair):
        return {"chosen": record.chosen, "rejected": record.rejected}
    if isinstance(record, Ranking):
        return {f"rank {place}": completion for place, completion in enumerate(record.completions, 1)}
    return {"completion": record.completion}


def _line(record: Record) -> int | None:
    return None if isinstance(record, Demonstration) else record.line
