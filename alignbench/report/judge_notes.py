"""The sentences about the judges: how far each can be trusted, what it was asked and what it cost."""

from __future__ import annotations

from ..results import Json
from .text import brackets, count, number, signed


def judge_lines(summary: Json) -> list[str]:
    """What is known of each judge, and the human-human ceiling."""
    lines = [f"{name} {line}" for name, judge in summary["judges"].items() for line in _judge(judge)]
    for label, title in (("human_human", "human-human, the ceiling"), ("human_gold", "humans against gold")):
        if summary[label]:
            lines.append(f"{title}, on held-out pairs: {_agreement(summary[label])}")
    return lines


def _judge(judge: Json) -> list[str]:
    gold, held_out, own = judge["against"].get("gold"), judge["held_out"], judge["self"]
    lines = []
    for title, found in (
        ("against gold, on the specs' samples", gold),
        ("against gold, on held-out pairs", held_out["against_gold"]),
        ("against the labels of held-out pairs", held_out["against_labels"]),
    ):
        if found:
            lines.append(f"{title}: {_agreement(found)}")
    if own and (judge["contradictions"] or own["position_bias"]["value"]):
        lines.append(
            f"position bias: {estimate(own['position_bias'], 3, plus=True)} (above 0: favours the first shown); "
            f"{judge['contradictions']:.1%} contradictions"
        )
    if judge["longer_wins"]:
        lines.append(f"the longer completion, in characters, wins: {_longer(judge)}")
    if judge["unusable"]:
        kinds = [f"{judge[kind]:.1%} {kind}" for kind in ("refused", "unparsed", "unanswered") if judge[kind]]
        lines.append(f"unusable answers: {judge['unusable']:.1%} ({', '.join(kinds)})")
    return [*lines, *_asked(judge), *(f"has not compared {what}" for what in judge["missing"]), *judge["problems"]]


def _longer(judge: Json) -> str:
    """With the slope of the joint fit, where there is one: above 0 length itself wins."""
    shown = estimate(judge["longer_wins"], 3)
    held_out = judge["held_out"]["longer_wins"]
    shown += f", on held-out pairs {estimate(held_out, 3)}" if held_out else ""
    slope = judge["length_slope"]
    return shown + (f"; slope {estimate(slope, 2, plus=True)} logits" if slope else "")


def _asked(judge: Json) -> list[str]:
    """One line with what it was asked and what that cost, of judges that count it or left something open."""
    answers, usage = judge["answers"], judge["usage"]
    total, shown = sum(answers.values()), []
    if usage:
        shown.append(f"{total:,} answers")
        shown.append(f"{usage['questions']:,} asked, repeats included ({usage['cached']:,} answered before)")
        shown.append(f"{count(usage['prompt_tokens'])} tokens read, {count(usage['completion_tokens'])} written")
        shown.append("no price known" if usage["cost"] is None else f"cost {usage['cost']:.4g}")
    shown += [f"{answers[k]:,} of {total:,} answers {k}" for k in ("refused", "unparsed", "unanswered") if answers[k]]
    return [f"over the whole run: {', '.join(shown)}"] if shown else []


def _agreement(found: Json) -> str:
    shown = f"{estimate(found['raw'], 3)}, kappa {estimate(found['kappa'], 2)}"
    decided = found["without_ties"]
    if decided:
        shown += f"; {found['ties']:.1%} without a winner, the rest {estimate(decided['raw'], 3)}"
        shown += f", kappa {estimate(decided['kappa'], 2)}"
    return shown


def estimate(found: Json, digits: int, plus: bool = False) -> str:
    value = signed(found["value"], digits) if plus else number(found["value"], digits)
    return f"{value} {brackets(found['low'], found['high'], digits)}".strip()


def head_to_head_lines(summary: Json) -> list[str]:
    """The headline judge's strengths, the best first, and why there are none."""
    found = summary["head_to_head"].get(summary["headline"])
    if not found:
        return []
    if not all(found["strengths"]):
        return [f"no Bradley-Terry strengths: {found['strengths_reason']}"]
    ranked = sorted(zip(found["players"], found["strengths"], strict=True), key=lambda pair: -pair[1]["value"])
    shown = [f"{player} {estimate(strength, 2, plus=True)}" for player, strength in ranked]
    return [f"Bradley-Terry strengths in logits, mean 0: {', '.join(shown)}"]
