"""Pairs that have been made: what there is of them, what was left out and why, and the lines of their file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..judge import Usage
from ..records import Completion, Prompt
from ..results import Json, canonical, write_text
from .sources import Items
from .storing import stored


@dataclass(frozen=True)
class Made:
    """The pairs of a source, as the records that a data file holds.

    `dropped` counts prompts without a pair by the reason, `alike` samples that repeat an earlier one of their prompt,
    `replaced` how often each text was replaced in the pairs. `notes` are sentences on what a user should know of the
    pairs, `scored` says of what kind the scores are where there are any. `unanswered` are questions that the judge has
    not answered yet, `problems` why.
    """

    records: tuple[Json, ...]
    items: Items
    dropped: Counter[str]
    samples: int = 0
    alike: int = 0
    notes: tuple[str, ...] = ()
    scored: str = ""
    usage: Usage | None = None
    comparisons: int = 0
    contradictions: int = 0
    refused: int = 0
    unparsed: int = 0
    unanswered: int = 0
    problems: tuple[str, ...] = ()
    replaced: Counter[str] = field(default_factory=Counter)

    @property
    def gap(self) -> float | None:
        """The mean of score of chosen minus score of rejected."""
        gaps = [record["score_chosen"] - record["score_rejected"] for record in self.records if self.scored]
        return sum(gaps) / len(gaps) if gaps else None

    def lines(self) -> Iterator[str]:
        """The file, line by line: the same pairs always give the same text."""
        for record in self.records:
            yield json.dumps(canonical(record), ensure_ascii=False, allow_nan=False) + "\n"


def pair(prompt: Prompt, chosen: Completion, rejected: Completion, how: Json) -> Json:
    """A record of prompt, chosen, rejected and `how` they came about: chat messages where the prompt has them."""

    def reply(completion: Completion) -> object:
        return completion.text if prompt.messages is None else [{"role": "assistant", "content": completion.text}]

    asked: object = prompt.text
    if prompt.messages is not None:
        asked = [{"role": role, "content": content} for role, content in prompt.messages]
    return {"prompt": asked, "chosen": reply(chosen), "rejected": reply(rejected), **how}


def write_pairs(path: Path, made: Made) -> None:
    """Write the file whole: a reader never sees half of it. Raises `InputError` where it cannot be written."""
    with stored(f"--out {path}"):
        write_text(path, "".join(made.lines()))
