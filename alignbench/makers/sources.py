"""Files of prompts, and of prompts with answers: anything that holds them in, each once."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from ..formats import ASSISTANT, LISTS, PROMPTS, Skipped, UnusableError, describe_skipped, parser_for
from ..reading import Row, local, read_rows
from ..records import Completion, LabelledCompletion, Prompt

ANSWERS = ("completion", "response", "answer", "chosen")
"""Fields that an answer is read from; of several the first."""
PROMPT_FORMATS = "prompt (text or chat messages), instruction, messages, or any preference data"
ANSWER_FORMATS = f"prompt (or instruction) with one of {', '.join(ANSWERS)}; messages; or transcripts in chosen"


@dataclass(frozen=True)
class Item:
    """A prompt, its answer where the file has one, and its line."""

    prompt: Prompt
    answer: Completion | None
    line: int


@dataclass(frozen=True)
class Items:
    """What is made into pairs. `repeated` counts records that say again what an earlier one has said, which are left
    out, `total` all that were looked at: the source's, up to the last one wanted."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]
    repeated: int
    total: int
    source: str


def read_prompts(source: str, chat: bool = False, limit: int = 0, split: str | None = None) -> Items:
    """The distinct prompts of a source, in its order: the first `limit` of them, all where it is 0.

    Read are text files (`.txt`, a prompt a line) and whatever `alignbench.data` reads: records with `prompt` (text or
    chat messages), `instruction` or `messages` (up to the last reply), and preference data of every format. With `chat`
    a prompt that is mere text becomes a user's message. `split` is as of `alignbench.data.read_records`.

    Raises:
        InputError: the source is missing, empty or unreadable, or none of its records has a usable prompt.
    """
    rows = _rows(source, split)
    found = {name for _, row in rows for name in row}
    read = _preference_prompt(found, source) if _is_preferences(found) else _prompt
    return _items(source, rows, lambda row, line: Item(_asked(read(row, line), chat), None, line), limit, "prompt")


def read_answers(source: str, limit: int = 0, split: str | None = None) -> Items:
    """The prompts of a source with an answer to each, the same answer to the same prompt once; `limit` and `split` as
    of `read_prompts`.

    Read are records with `prompt` or `instruction` and one of `ANSWERS`, as text or chat messages, with `messages`
    whose last one is the assistant's, and transcripts in `chosen` (see `alignbench.data.read_records`).

    Raises:
        InputError: as `read_prompts`, and where the records hold prompts only.
    """
    rows = _rows(source, split)
    found = {name for _, row in rows for name in row}
    if not found & {*ANSWERS, "messages"}:
        lists = next((name for name in LISTS if name in found), None)
        if lists is not None:
            raise InputError(f"{source} holds lists of {lists}: give one answer a record, in a field completion.")
        raise InputError(
            f"{source} holds prompts without answers: sample them with --model PATH, or give {ANSWER_FORMATS}."
        )
    return _items(source, rows, _answered, limit, "answer")


def _rows(source: str, split: str | None) -> list[Row]:
    path = local(source)
    if path.suffix.lower() != ".txt" or path.is_dir():
        return read_rows(source, split)
    if split is not None:
        raise InputError(f"{source} is one file and has no split {split!r}: leave the split out.")
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise InputError(f"{source} is missing: give a file of prompts, a data set folder or a hub id.") from None
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror or error}): check the file.") from None
    rows = []
    # Bytes are split: text would also end a line at U+2028.
    for line, part in enumerate(content.split(b"\n"), 1):
        try:
            text = part.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            byte = part[error.start]
            raise InputError(
                f"{source} line {line} is not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8."
            ) from None
        rows += [(line, {"prompt": text})] if text.strip() else []
    if not rows:
        raise InputError(f"{source} is empty: it holds no prompt.")
    return rows


def _items(
    source: str, rows: Sequence[Row], read: Callable[[dict[str, Any], int], Item], limit: int, what: str
) -> Items:
    items: dict[tuple[Prompt, Completion | None], Item] = {}
    skipped = []
    total = 0
    for line, row in rows:
        if limit and len(items) == limit:
            break
        total += 1
        try:
            item = read(row, line)
        except UnusableError as error:
            skipped.append(Skipped(line, error.field, error.reason))
        else:
            items.setdefault((item.prompt, item.answer), item)
    if not items:
        raise InputError(f"{source} holds no usable {what}: {describe_skipped(skipped, total)}.")
    repeated = total - len(skipped) - len(items)
    return Items(tuple(items.values()), tuple(skipped), repeated, total, source)


def _asked(prompt: Prompt, chat: bool) -> Prompt:
    if not prompt.text.strip():
        raise UnusableError("prompt", "empty")
    return Prompt(prompt.text, (("user", prompt.text),)) if chat and prompt.messages is None else prompt


def _is_preferences(found: set[str]) -> bool:
    lists = any(name in found for name in LISTS)
    return {"chosen", "rejected"} <= found or {"prompt", "completion", "label"} <= found or lists


def _preference_prompt(found: set[str], source: str) -> Callable[[dict[str, Any], int], Prompt]:
    # What a ranking leaves out is a completion, and here only its prompt counts.
    parse = parser_for(found, source, lambda left: None)
    return lambda row, line: parse(row, line).prompt


def _prompt(row: dict[str, Any], line: int) -> Prompt:
    name = _prompt_field(row)
    if name is not None:
        return _reply(row[name], "x", name, "completion", line).prompt
    messages = row.get("messages")
    if messages is None:
        raise UnusableError("prompt", f"missing; read are {PROMPT_FORMATS}")
    if isinstance(messages, list) and len(messages) > 1 and _is_reply(messages[-1]):
        messages = messages[:-1]
    return _reply(messages, "x", "messages", "completion", line).prompt


def _answered(row: dict[str, Any], line: int) -> Item:
    name = _prompt_field(row)
    answer = next((field for field in ANSWERS if row.get(field) is not None), None)
    if answer is None and row.get("messages") is None:
        raise UnusableError("completion", f"missing; read are {ANSWER_FORMATS}")
    if answer is None:
        *before, reply = _conversation(row["messages"])
        parsed = _reply(before, [reply], "messages", "messages", line)
    elif name is not None:
        parsed = _reply(row[name], row[answer], name, answer, line)
    else:
        parsed = _reply(*_transcript(row[answer], answer), answer, answer, line)
    ended = row.get("ended")
    # As `alignbench pairs` writes it, for each side of a pair.
    ended = ended.get(answer) if isinstance(ended, dict) else ended
    return Item(_asked(parsed.prompt, False), replace(parsed.completion, ended=ended is not False), line)


def _conversation(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) < 2:
        raise UnusableError("messages", "not a list of a prompt and a reply")
    if not _is_reply(value[-1]):
        raise UnusableError("messages", "the last message is not the assistant's")
    return value


def _transcript(value: Any, name: str) -> tuple[Any, Any]:
    """Prompt and reply of an answer that brings its prompt along."""
    if isinstance(value, list) and len(value) > 1:
        return value[:-1], value[-1:]
    head, marker, reply = value.rpartition(ASSISTANT) if isinstance(value, str) else ("", "", "")
    if not marker:
        raise UnusableError("prompt", f"missing, and {name} is no transcript that would hold it")
    return head + marker, reply


def _prompt_field(row: dict[str, Any]) -> str | None:
    return next((name for name in PROMPTS if row.get(name) is not None), None)


def _is_reply(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"


def _reply(prompt: Any, completion: Any, prompt_field: str, field: str, line: int) -> LabelledCompletion:
    """A prompt and its answer by the rules of `formats`; an error names the fields as the file does."""
    parse = parser_for({"prompt", "completion", "label"}, "", lambda left: None)
    try:
        parsed = parse({"prompt": prompt, "completion": completion, "label": True}, line)
    except UnusableError as error:
        names = {"prompt": prompt_field, "completion": field}
        raise UnusableError(names.get(error.field, error.field), error.reason) from None
    assert isinstance(parsed, LabelledCompletion)
    return parsed
