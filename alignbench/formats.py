"""The fields of a record in a user's file -> a validated record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .errors import InputError
from .records import Completion, LabelledCompletion, Pair, Prompt, Ranking

Messages = tuple[tuple[str, str], ...]  # (role, content)
Record = Pair | LabelledCompletion | Ranking

FORMATS = (
    "prompt/chosen/rejected (text or chat messages), chosen/rejected (whole transcripts or whole conversations), "
    "prompt/completion/label or prompt/completions with ranking or scores"
)
ASSISTANT = "\n\nAssistant:"
LARGEST = 1e300  # of a score
LABELS = {"desirable": True, "undesirable": False}
# Lists under the names of this package, of UltraFeedback (instruction, completions: response, overall_score) and of
# Nectar (answers: answer, rank).
LISTS, PROMPTS, TEXTS = ("completions", "answers"), ("prompt", "instruction"), ("response", "answer", "text")
RANKS, SCORES = ("ranking", "rank"), ("scores", "score", "overall_score")  # 1 is the best; the highest is the best


class Skipped(NamedTuple):
    """What is left out, a record or a completion of a list: its line in the file (in parquet and data sets its row),
    the field, the reason."""

    line: int | None
    field: str
    reason: str


class UnusableError(Exception):
    """One record cannot be used: the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason


def describe_skipped(skipped: Sequence[Skipped], total: int, limit: int = 5, what: str = "records") -> str:
    """One readable phrase: "skipped 2 of 1500 records: line 12 (chosen: empty completion), line 40 (...)"."""
    named = [f"{f'line {line}' if line else 'a record'} ({field}: {reason})" for line, field, reason in skipped[:limit]]
    rest = [f"{len(skipped) - limit} more"] if len(skipped) > limit else []
    return f"skipped {len(skipped)} of {total} {what}" + (": " if skipped else "") + ", ".join(named + rest)


def shown(text: str, width: int = 60) -> str:
    """The text in quotes on one line, cut to `width` characters, for a message."""
    text = " ".join(text.split())
    return json.dumps(text if len(text) <= width else text[: width - 3] + "...", ensure_ascii=False)


def parser_for(
    found: set[str], source: str, leave_out: Callable[[Skipped], None]
) -> Callable[[dict[str, Any], int], Record]:
    """The function (fields, line) -> record for a source that has the fields `found`; it raises `UnusableError`.

    `leave_out` is told of each completion that a ranking leaves out, because nothing says how it stands to another.

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
    lists = next((name for name in LISTS if name in found), None)
    if lists is not None:
        asked = next((name for name in PROMPTS if name in found), None)
        return lambda row, line: _ranking(row, line, lists, asked, leave_out)
    fields = ", ".join(sorted(found)) or "none"
    raise InputError(f"{source} is in no known format: it has the fields {fields}, and understood are {FORMATS}.")


def _pair(row: dict[str, Any], line: int, prompted: bool) -> Pair:
    given = _field(row, "prompt") if prompted else None
    (prompt, chosen), (other, rejected) = (_turn(row, name, given) for name in ("chosen", "rejected"))
    if prompt != other:
        raise UnusableError("rejected", "its prompt is not that of chosen")
    if chosen == rejected:
        raise UnusableError("rejected", "equal to chosen")
    ended = row.get("ended")
    if isinstance(ended, dict):  # as `alignbench pairs` writes it
        chosen = replace(chosen, ended=ended.get("chosen") is not False)
        rejected = replace(rejected, ended=ended.get("rejected") is not False)
    return Pair(prompt, chosen, rejected, line=line, scores=_scores(row))


def _scores(row: dict[str, Any]) -> tuple[float, float] | None:
    """`score_chosen` and `score_rejected`, the fields of UltraFeedback's pairs and of `alignbench pairs`; None where
    they are not two numbers of less than 1e300, because nothing is trained on them."""
    scores = [
        float(x)
        for x in (row.get("score_chosen"), row.get("score_rejected"))
        # The bound is far from the largest float, so that a difference is finite; an integer may be larger than any.
        if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < LARGEST
    ]
    return (scores[0], scores[1]) if len(scores) == 2 else None


def _labelled(row: dict[str, Any], line: int) -> LabelledCompletion:
    prompt, completion = _turn(row, "completion", _field(row, "prompt"))
    label = row.get("label")
    if label is None:
        raise UnusableError("label", "null" if "label" in row else "missing")
    known = LABELS.get(label.strip().lower()) if isinstance(label, str) else bool(label) if label in (0, 1) else None
    if known is None:
        raise UnusableError("label", f"{shown(json.dumps(label, default=str), 30)} is neither true nor false")
    return LabelledCompletion(prompt, replace(completion, ended=row.get("ended") is not False), known, line)


def _ranking(
    row: dict[str, Any], line: int, name: str, asked: str | None, leave_out: Callable[[Skipped], None]
) -> Ranking:
    """The completions of field `name` in the order that the record gives them.

    Of completions that are equally good the first is kept, because there is no order between them, and of equal texts
    the best placed.
    """
    items = row.get(name)
    if not isinstance(items, list) or len(items) < 2:
        raise UnusableError(name, "missing" if items is None else "not a list of two completions or more")
    given = None if asked is None else _field(row, asked)
    places = _places(row, name, items)
    turns = [_reply(_item(item, f"{name}[{i}]"), f"{name}[{i}]", given) for i, item in enumerate(items)]
    for i, (prompt, _) in enumerate(turns):
        if prompt != turns[0][0]:
            raise UnusableError(f"{name}[{i}]", f"its prompt is not that of {name}[0]")
    kept: list[int] = []
    left = []
    for i in sorted(range(len(items)), key=lambda i: places[i]):
        equal = next((j for j in kept if places[j] == places[i]), None)
        same = next((j for j in kept if turns[j] == turns[i]), None)
        if equal is None and same is None:
            kept.append(i)
        else:
            reason = f"as good as {name}[{equal}]" if equal is not None else f"the text of {name}[{same}]"
            left.append(Skipped(line, f"{name}[{i}]", reason))
    if len(kept) < 2:
        raise UnusableError(name, "no two of them differ in text and in how good they are")
    for skipped in left:
        leave_out(skipped)
    return Ranking(turns[0][0], tuple(turns[i][1] for i in kept), line)


def _item(item: Any, name: str) -> str | Messages:
    """The text or the messages of one completion of a list, which may be an object that also says how good it is."""
    if not isinstance(item, dict):
        return _value(item, name)
    if item.get("content") is not None:
        return _value([item], name)
    texts = [item[key] for key in TEXTS if item.get(key) is not None]
    if len(texts) != 1:
        raise UnusableError(name, f"{'more than' if texts else 'not'} one of {', '.join((*TEXTS, 'content'))}")
    return _value(texts[0], name)


def _places(row: dict[str, Any], name: str, items: list[Any]) -> list[float]:
    """A number for each completion, the smaller the better: its rank, or its score with the other sign."""
    found = list(_orders(row, name, items))
    if not found:
        raise UnusableError(name, "in no order: give ranking (1 is the best) or scores (the highest is the best)")
    if len(found) > 1:
        raise UnusableError(found[1][0], f"given beside {found[0][0]}: keep one of them")
    field, sign, values = found[0]
    if not isinstance(values, list) or len(values) != len(items):
        raise UnusableError(field, f"not a list of {len(items)} numbers, one for each of {name}")
    for value in values:
        # Compared, not converted: an integer may be too large for a float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise UnusableError(field, f"{shown(json.dumps(value, default=str), 30)} is no number")
        if sign > 0 and value < 1:
            raise UnusableError(field, f"{value} is no rank: it gives the place of each completion, 1 the best")
    return [sign * value for value in values]


def _orders(row: dict[str, Any], name: str, items: list[Any]) -> Iterator[tuple[str, int, Any]]:
    """Each order that a record gives: its field, the sign that puts the best first, a value for each completion."""
    for key, sign in (*((key, 1) for key in RANKS), *((key, -1) for key in SCORES)):
        if row.get(key) is not None:
            yield key, sign, row[key]
        values = [item.get(key) if isinstance(item, dict) else None for item in items]
        if any(value is not None for value in values):
            yield f"{key} of {name}", sign, values


def _turn(row: dict[str, Any], name: str, given: str | Messages | None) -> tuple[Prompt, Completion]:
    """The prompt and the reply that field `name` holds; `given` is the record's own prompt field, if it has one."""
    return _reply(_field(row, name), name, given)


def _reply(value: str | Messages, name: str, given: str | Messages | None) -> tuple[Prompt, Completion]:
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
    return _value(row[name], name)


def _value(value: Any, name: str) -> str | Messages:
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
