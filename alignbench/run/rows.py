"""Records as lines of the data stage, and back."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Completion, LabelledCompletion, Pair, Preferences, Prompt, Ranking
from ..results import Json


def as_row(record: Pair | LabelledCompletion | Ranking) -> Json:
    """A record as a line of the data stage."""
    if isinstance(record, Pair):
        return {
            "prompt": record.prompt,
            "chosen": record.chosen,
            "rejected": record.rejected,
            "votes": record.votes,
            "line": record.line,
            **({"scores": record.scores} if record.scores else {}),
        }
    if isinstance(record, Ranking):
        return {"prompt": record.prompt, "completions": record.completions, "line": record.line}
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
        return [_pair(r) for r in rows]
    if rows and "completions" in rows[0]:
        return [Ranking(prompt(r), tuple(Completion(**y) for y in r["completions"]), r["line"]) for r in rows]
    return [LabelledCompletion(prompt(r), Completion(**r["completion"]), r["desirable"], r["line"]) for r in rows]


def _pair(row: Json) -> Pair:
    chosen, rejected = Completion(**row["chosen"]), Completion(**row["rejected"])
    scores = tuple(row["scores"]) if "scores" in row else None
    return Pair(prompt_of(row["prompt"]), chosen, rejected, tuple(row["votes"]), row["line"], scores)


def judged_sides(row: Json) -> tuple[Completion, Completion] | None:
    """The better and the worse side of a line of the data stage, the ends of a ranked list; None of a label."""
    if "completions" in row:
        return Completion(**row["completions"][0]), Completion(**row["completions"][-1])
    return (Completion(**row["chosen"]), Completion(**row["rejected"])) if "chosen" in row else None


def judged_pairs(records: Preferences) -> list[Pair]:
    """The pairs that judges are held against: of a ranked list the best against the worst, of labels none."""
    found = [record.ends if isinstance(record, Ranking) else record for record in records]
    return [pair for pair in found if isinstance(pair, Pair)]
