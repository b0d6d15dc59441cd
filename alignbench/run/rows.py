"""Records as lines of the data stage, and back."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Completion, LabelledCompletion, Pair, Preferences, Prompt
from ..results import Json


def as_row(record: Pair | LabelledCompletion) -> Json:
    """A record as a line of the data stage."""
    if isinstance(record, Pair):
        return {
            "prompt": record.prompt,
            "chosen": record.chosen,
            "rejected": record.rejected,
            "votes": record.votes,
            "line": record.line,
        }
    return {
        "prompt": record.prompt,
        "completion": record.completion,
        "desirable": record.desirable,
        "line": record.line,
    }


def prompt_of(found: Json) -> Prompt:
    messages = found["messages"]
    return Prompt(found["text"], messages and tuple((role, text) for role, text in messages))


def from_rows(rows: Sequence[Json]) -> Preferences:
    def prompt(row: Json) -> Prompt:
        return prompt_of(row["prompt"])

    if rows and "chosen" in rows[0]:
        return [
            Pair(prompt(r), Completion(**r["chosen"]), Completion(**r["rejected"]), tuple(r["votes"]), r["line"])
            for r in rows
        ]
    return [LabelledCompletion(prompt(r), Completion(**r["completion"]), r["desirable"], r["line"]) for r in rows]
