"""The sentences around the tables."""

from __future__ import annotations

from pathlib import Path

from ..report.text import brackets, count, number
from ..results import Json


def heading(summary: Json) -> str:
    data, humans = summary["data"], summary["humans"]
    people = f"{len(humans['annotators'])} annotators" if humans["annotators"] else "one human label each"
    return f"{Path(data['source']).name}: {data['pairs']} pairs of {data['prompts']} prompts, {people}"


def notes(summary: Json) -> list[str]:
    """How to read the figures, then what is particular about these."""
    humans, judges = summary["humans"], summary["judges"]
    lines = [f"intervals: {summary['intervals']}."]
    if judges:
        lines.append(
            "each order of a pair is an answer of its own. every answer: a tie agrees with a tie alone, what is "
            "unusable is wrong; usable: without refused, unparsed and unanswered; no ties: without what either calls a "
            "tie as well."
        )
    if any(judge["self"] for judge in judges.values()):
        lines.append(
            "position bias above 0 favours the output shown first; a contradiction names opposite winners in the two "
            "orders; both over pairs with two usable answers."
        )
    if humans["leave_one_out"]:
        lines.append("most others: the majority of the other annotators, where they have one.")
    if humans["alpha"]:
        alpha = humans["alpha"]
        ends = brackets(alpha["low"], alpha["high"], 3)
        lines.append(f"Krippendorff's alpha of all annotators: {number(alpha['value'], 4)} {ends}".strip() + ".")
    if not judges and not humans["pooled"]:
        lines.append("one label a pair and no judge: there is nothing to agree; name judges with --judge.")
    lines.append("lengths are counted in characters; equal lengths and ties do not count for the longer.")
    lines += summary["notes"]
    return lines + [line for name, judge in judges.items() if (line := _cost(name, judge))]


def _cost(name: str, judge: Json) -> str:
    used = judge["usage"]
    if not used:
        return ""
    cost = "" if used["cost"] is None else f", cost {used['cost']:.4g}"
    tokens = f"{count(used['prompt_tokens'])} tokens read, {count(used['completion_tokens'])} written"
    asked = f"{used['questions']} questions, {used['cached']} of them answered before, {used['retries']} retries"
    return f"{name}: {asked}; {tokens}{cost}."
