"""The sentences below a table: which differences are real, how good the judges are, what the intervals rest on."""

from __future__ import annotations

from ..results import Json
from .text import brackets, number, p_value, signed


def comparison_lines(summary: Json) -> list[str]:
    """One line for every pair of specs; a difference that is not significant is called so."""
    lines = []
    for found in summary["comparisons"]:
        difference = found["difference"]
        shown = f"{signed(difference['value'], 3)} {brackets(difference['low'], difference['high'], 3)}".strip()
        verdict = "significant" if found["significant"] else "not significant"
        lines.append(f"{found['a']} - {found['b']}: {shown}, p(Holm){p_value(found['p_holm'])}, {verdict}")
    return lines


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
    if own and judge["contradictions"]:
        lines.append(
            f"position bias: {_estimate(own['position_bias'], 3, plus=True)} (above 0: favours the first shown); "
            f"{judge['contradictions']:.1%} contradictions"
        )
    if judge["unusable"]:
        lines.append(f"unusable answers: {judge['unusable']:.1%}")
    return lines


def _agreement(found: Json) -> str:
    shown = f"{_estimate(found['raw'], 3)}, kappa {_estimate(found['kappa'], 2)}"
    decided = found["without_ties"]
    if decided:
        shown += f"; {found['ties']:.1%} without a winner, the rest {_estimate(decided['raw'], 3)}"
        shown += f", kappa {_estimate(decided['kappa'], 2)}"
    return shown


def _estimate(found: Json, digits: int, plus: bool = False) -> str:
    value = signed(found["value"], digits) if plus else number(found["value"], digits)
    return f"{value} {brackets(found['low'], found['high'], digits)}".strip()


def notes(summary: Json) -> list[str]:
    """What the figures are conditional on, the holes and their reasons, warnings of the run."""
    lines = [summary["conditional_on"]]
    against = {(row["judge_agreement"] or {}).get("against"): None for row in summary["rows"]}
    lines += [f"agreement: of judge {summary['agreement_judge']} with {what}." for what in against if what]
    for row in summary["rows"]:
        if row["reason"]:
            lines.append(f"{row['spec']}: {row['reason']}")
        if row["win_rate"] and row["win_rate"].get("reason"):
            lines.append(f"{row['spec']} has no win rate: {row['win_rate']['reason']}")
    reference = summary["reference"]
    measured = [
        f"{title} {number(reference[name]['value'], digits)}"
        for name, title, digits in (
            ("reward", "reward", 2),
            ("proxy_reward", "proxy reward", 2),
            ("length", "length", 1),
        )
        if reference[name]
    ]
    if measured:
        lines.append(f"the reference itself: {', '.join(measured)}")
    return lines + [f"warning: {warning}" for warning in summary["warnings"]]
