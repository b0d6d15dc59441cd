"""Files of recorded verdicts, and the texts of a compared pair: fields in, what they mean out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..data import read_rows
from ..errors import InputError
from ..formats import UnusableError, shown
from ..records import UNUSABLE, Outcome

Texts = tuple[str, str, str]  # prompt, first output, second output

LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("prompt", "output_1", "output_2"),
    ("instruction", "response1", "response2"),  # PandaLM, which may add an `input` to the instruction
    ("instruction", "output_1", "output_2"),  # so may this
    ("input", "output_1", "output_2"),  # LLMBar
)
_NAMES: dict[str, Outcome] = {
    **dict.fromkeys(("1", "a", "first", "output_1", "output 1"), "first"),
    **dict.fromkeys(("2", "b", "second", "output_2", "output 2"), "second"),
    **dict.fromkeys(("0", "tie", "tied"), "tie"),
}
WINNERS = '1, 2 or 0 for a tie, "A", "B" or "tie"'


@dataclass(frozen=True)
class Recorded:
    """What a judge said about one pair. `swapped` is None where only one order was asked.

    Both outcomes name the output that won ("first" is the file's first output), never the place where it was shown.
    `texts` and `number` (the record's `idx`) are None where the file has none.
    """

    line: int
    forward: Outcome
    swapped: Outcome | None
    margin: float | None = None
    texts: Texts | None = None
    number: int | None = None
    judge: str | None = None


def layout_of(found: set[str]) -> tuple[str, ...] | None:
    """The names of the fields that hold prompt and outputs; None where there are no such fields."""
    return next((names for names in LAYOUTS if set(names) <= found), None)


def texts_of(row: dict[str, Any], layout: Sequence[str]) -> Texts:
    """Prompt and outputs of a record. Raises `UnusableError` where one is missing or no text.

    PandaLM's file holds some outputs that some tool has turned from `True` into JSON's true: a value of that kind, or a
    number, is read as the text that it was.
    """
    prompt, first, second = (_text(row, name, output=place > 0) for place, name in enumerate(layout))
    more = row.get("input")
    if layout[0] == "instruction" and isinstance(more, str) and more.strip():
        prompt = f"{prompt}\n\n{more}"
    return prompt, first, second


def _text(row: dict[str, Any], name: str, output: bool) -> str:
    value = row.get(name)
    if value is None:
        raise UnusableError(name, "null" if name in row else "missing")
    if output and isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise UnusableError(name, f"not text but {shown(str(value), 30)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableError(name, "not valid Unicode (half of a surrogate pair)") from None
    return value


def winner(value: Any) -> Outcome | None:
    """The winner that a label names in any usual coding (see `WINNERS`), None where it names none, as `true` does."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with gaps comes as floats
    return _NAMES.get(str(value).strip().lower()) if isinstance(value, int | str) else None


def read_recorded(source: str) -> list[Recorded]:
    """The verdicts in a file: LLMBar's, PandaLM's or our own, told apart by their fields.

    - our own: `prompt`, `output_1`, `output_2`, and `forward` with `swapped`, or one `verdict`;
    - LLMBar's: `input`, `output_1`, `output_2`, and `results`, of which the first entry counts; the raw reply is read,
      and the recorded winner only where there is no reply;
    - PandaLM's: `idx` and one field whose name ends in `_result`, one order, no texts.

    Raises:
        InputError: the file cannot be read, is in none of these formats, or a record is not sound: what a replay
            leaves out would not be seen.
    """
    rows = read_rows(source)
    parse = _parser({name for _, row in rows for name in row}, source)
    recorded = []
    for line, row in rows:
        try:
            recorded.append(parse(line, row))
        except UnusableError as error:
            raise InputError(f"{source} line {line} ({error.field}): {error.reason}; mend or remove it.") from None
    return recorded


def _parser(found: set[str], source: str) -> Callable[[int, dict[str, Any]], Recorded]:
    layout = layout_of(found)
    if "results" in found and layout:
        return lambda line, row: _llmbar(line, row, layout)
    if layout and ("forward" in found or "verdict" in found):
        return lambda line, row: _own(line, row, layout)
    results = [name for name in found if name.endswith("_result")]
    if "idx" in found and len(results) == 1:
        return lambda line, row: _pandalm(line, row, results[0])
    raise InputError(
        f"{source} holds no verdicts that can be replayed: it has the fields {shown(', '.join(sorted(found)), 120)}, "
        "and understood are prompt/output_1/output_2 with forward/swapped or verdict, LLMBar's results and PandaLM's "
        "idx with gpt_result."
    )


def _own(line: int, row: dict[str, Any], layout: Sequence[str]) -> Recorded:
    forward = _outcome(row, "forward" if "forward" in row else "verdict")
    swapped = None if row.get("swapped") is None else _outcome(row, "swapped")
    margin, judge = row.get("margin"), row.get("judge")
    number = None if isinstance(margin, bool) or not isinstance(margin, int | float) else float(margin)
    texts = texts_of(row, layout)
    return Recorded(line, forward, swapped, number, texts, judge=judge if isinstance(judge, str) else None)


def _outcome(row: dict[str, Any], name: str) -> Outcome:
    value = row.get(name)
    for outcome in UNUSABLE:
        if value == outcome:
            return outcome
    named = winner(value)
    if named is None:
        said = shown(str(value), 30) if name in row else "missing, which"
        raise UnusableError(name, f'{said} is none of {WINNERS}, "refused", "unparsed", "unanswered"')
    return named


def _llmbar(line: int, row: dict[str, Any], layout: Sequence[str]) -> Recorded:
    results = row.get("results")
    orders = results[0] if isinstance(results, list) and results else None
    if not isinstance(orders, dict) or "swap = False" not in orders:
        raise UnusableError("results", 'its first entry has no "swap = False"')
    forward, swapped = (_reply(orders.get(f"swap = {flag}"), flag) for flag in (False, True))
    return Recorded(line, forward or "unanswered", swapped, texts=texts_of(row, layout))


def _reply(order: Any, exchanged: bool) -> Outcome | None:
    """What LLMBar's judge said in one order: which of "Output (a)" and "Output (b)" it names, or calls better."""
    if not isinstance(order, dict):
        return None
    said = order.get("completion")
    said = said[0] if isinstance(said, list) and said else said
    if not isinstance(said, str):  # its own `winner` is translated back already
        return winner(order.get("winner")) or "unparsed"
    # A judge that reasons names both outputs on its way, and ends with the one that is better.
    named = re.findall(r"output \(([ab])\) is better", said, re.IGNORECASE)[-1:]
    named = named or sorted({side.lower() for side in re.findall(r"output \(([ab])\)", said, re.IGNORECASE)})
    if len(named) != 1:
        return "unparsed"
    return "first" if (named[0].lower() == "a") != exchanged else "second"


def _pandalm(line: int, row: dict[str, Any], result: str) -> Recorded:
    number = row.get("idx")
    if isinstance(number, bool) or not isinstance(number, int):
        raise UnusableError("idx", "no whole number")
    return Recorded(line, winner(row.get(result)) or "unparsed", None, number=number)
