"""The fields of a record in a user's file -> a validated record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .errors import InputError
from .records import Completion, LabelledCompletion, Pair, Prompt

Messages = tuple[tuple[str, str], ...]  # (role, content)

FORMATS = (
    "prompt/chosen/rejected (text or chat messages), chosen/rejected (whole transcripts or whole conversations) "
    "or prompt/completion/label"
)
ASSISTANT = "\n\nAssistant:"
LABELS = {"desirable": True, "undesirable": False}


class Skipped(NamedTuple):
    """A record that is left out: its line in the file (in parquet and data sets its row), the field, the reason."""

    line: int | None
    field: str
    reason: str


class UnusableError(Exception):
    """One record cannot be used: the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def describe_skipped(skipped: Sequence[Skipped], total: int, limit: int = 5) -> str:
    """One readable phrase: "skipped 2 of 1500 records: line 12 (chosen: empty completion), line 40 (...)"."""
    named = [f"{f'line {line}' if line else 'a record'} ({field}: {reason})" for line, field, reason in skipped[:limit]]
    rest = [f"{len(skipped) - limit} more"] if len(skipped) > limit else []
    return f"skipped {len(skipped)} of {total} records" + (": " if skipped else "") + ", ".join(named + rest)


def shown(text: str, width: int = 60) -> str:
    """The text in quotes on one line, cut to `width` characters, for a message."""
    text = " ".join(text.split())
    return json.dumps(text if len(text) <= width else text[: width - 3] + "...", ensure_ascii=False)


def parser_for(found: set[str], source: str) -> Callable[[dict[str, Any], int], Pair | LabelledCompletion]:
    """The function (fields, line) -> record for a source that has the fields `found`; it raises `UnusableError`.

    Raises:
        InputError: the fields belong to no format, or to two.
    """
    paired, labelled = {"chosen", "rejected"} <= found, {"prompt", "completion", "label"} <= found
    if paired and labelled:
        raise InputError(f"{source} mixes chosen/rejected with completion/label: give each format a file of its own.")
    if paired:
        return lambda row, line: _pair(row, line, "prompt" in found)
    if labelled:
        return _labelled
    fields = ", ".join(sorted(found)) or "none"
    raise InputError(f"{source} is in no known format: it has the fields {fields}, and understood are {FORMATS}.")


def _pair(row: dict[str, Any], line: int, prompted: bool) -> Pair:
    given = _field(row, "prompt") if prompted else None
    (prompt, chosen), (other, rejected) = (_turn(row, name, given) for name in ("chosen", "rejected"))
    if prompt != other:
        raise UnusableError("rejected", "its prompt is not that of chosen")
    if chosen == rejected:
        raise UnusableError("rejected", "equal to chosen")
    return Pair(prompt, chosen, rejected, line=line)


def _labelled(row: dict[str, Any], line: int) -> LabelledCompletion:
    prompt, completion = _turn(row, "completion", _field(row, "prompt"))
    label = row.get("label")
    if label is None:
        raise UnusableError("label", "null" if "label" in row else "missing")
    known = LABELS.get(label.strip().lower()) if isinstance(label, str) else bool(label) if label in (0, 1) else None
    if known is None:
        raise UnusableError("label", f"{shown(json.dumps(label, default=str), 30)} is neither true nor false")
    return LabelledCompletion(prompt, completion, known, line)


def _turn(row: dict[str, Any], name: str, given: str | Messages | None) -> tuple[Prompt, Completion]:
    """The prompt and the reply that field `name` holds; `given` is the record's own prompt field, if it has one."""
    value = _field(row, name)
    if not isinstance(value, str):
        *before, (role, reply) = value
        if role != "assistant":
            raise UnusableError(name, "the last message is not the assistant's")
        prompt = _chat(_before(name, given, tuple(before)))
    elif given is None:
        head, marker, reply = value.rpartition(ASSISTANT)
        if not marker:
            raise UnusableError(name, 'no "\\n\\nAssistant:" that ends a prompt')
        prompt = Prompt(head + marker)
    else:
        prompt, reply = Prompt(given) if isinstance(given, str) else _chat(given), value
    if not reply.strip():
        raise UnusableError(name, "empty completion")
    return prompt, Completion(reply)


def _before(name: str, given: str | Messages | None, before: Messages) -> Messages:
    """The messages of the prompt, when the completion came as messages with `before` in front of the reply."""
    if given is None and before:
        return before
    if isinstance(given, str) and not before:
        return (("user", given),)
    # Some data repeat the prompt as text beside the conversation that begins with it.
    if isinstance(given, str) and given.strip() in {content.strip() for _, content in before}:
        return before
    if isinstance(given, tuple) and before in ((), given):
        return given
    raise UnusableError(name, "no message before the reply" if given is None else "does not continue the prompt")


def _chat(messages: Messages) -> Prompt:
    roles = [role for role, _ in messages]
    text = messages[0][1] if roles == ["user"] else "\n\n".join(f"{role}: {content}" for role, content in messages)
    return Prompt(text, messages)


def _field(row: dict[str, Any], name: str) -> str | Messages:
    if row.get(name) is None:
        raise UnusableError(name, "null" if name in row else "missing")
    value = row[name]
    if not isinstance(value, list):
        return _text(value, name)
    if not value or not all(isinstance(message, dict) for message in value):
        raise UnusableError(name, "neither text nor a list of messages")
    return tuple((_text(m.get("role"), name, "role"), _text(m.get("content"), name, "content")) for m in value)


def _text(value: Any, name: str, part: str = "") -> str:
    what = f"the {part} of a message is " if part else ""
    if not isinstance(value, str):
        raise UnusableError(name, f"{what}not text but {shown(json.dumps(value, default=str), 30)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableError(name, f"{what}not valid Unicode (half of a surrogate pair)") from None
    return value
