"""The sentences below a table: the verdict, which differences are real, what the intervals rest on."""

from __future__ import annotations

from ..results import Json
from .judge_notes import estimate
from .marks import mark_lines
from .text import brackets, number, p_value, signed

REWARDS = {"reward": "gold reward", "proxy_reward": "proxy reward"}


def comparison_lines(summary: Json) -> list[str]:
    """One line for every pair of specs; a difference that is not significant is called so."""
    lines = []
    for found in summary["comparisons"]:
        difference = found["difference"]
        shown = f"{signed(difference['value'], 3)} {brackets(difference['low'], difference['high'], 3)}".strip()
        verdict = "significant" if found["significant"] else "not significant"
        line = f"{found['a']} - {found['b']}: {shown}, p(Holm){p_value(found['p_holm'])}, {verdict}"
        lines.append(line + "".join(f"; {more}" for more in _more(found)))
    return lines


def _more(found: Json) -> list[str]:
    """What else is known of a pair."""
    said = []
    if found["mcnemar"] is not None:
        said.append(f"McNemar p{p_value(found['mcnemar'])}")
    if found["probability_of_improvement"]:
        said.append(f"better with probability {estimate(found['probability_of_improvement'], 2)}")
    if area := found["frontier_area"]:
        said.append(f"at equal KL {estimate(area, 2, plus=True)} {REWARDS[area['reward']]}")
    if not found["significant"] and found["needed"]:
        needed = {axis: found["needed"][axis] for axis in ("prompts", "seeds")}
        enough = [f"about {value:,} {axis}" for axis, value in needed.items() if value is not None]
        how = " or ".join(enough) or "more than prompts or seeds alone can give"
        said.append(f"to tell such a difference apart: {how}")
    return said


def verdict_lines(summary: Json) -> list[str]:
    """The headline, what its words mean and what the marks in the table."""
    found = summary["verdict"]
    return [line for line in (found["sentence"], found["basis"], *mark_lines(summary)) if line]


def capability_lines(summary: Json) -> list[str]:
    """A line for each task and metric: the reference's value, then every spec's change with its standard error."""
    lines = []
    for task, metrics in (summary["capability"] or {}).items():
        for metric, base in metrics.items():
            changes = [
                f"{row['spec']} {signed(found['change'], 4)} ± {number(found['stderr'], 4)}"
                for row in summary["rows"]
                if (found := (row["capability"] or {}).get(task, {}).get(metric))
            ]
            own = f"reference {number(base['value'], 4)} ± {number(base['stderr'], 4)}"
            lines.append(f"{task}, {metric} (n = {base['n']}, ± one standard error): {'; '.join([own, *changes])}")
    return lines


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
        controlled = row["win_rate_length_controlled"]
        if controlled and controlled["value"] is None:
            lines.append(f"{row['spec']} has no win rate at equal length: {controlled['reason']}")
        if row["interquartile_mean"]:
            lines.append(f"{row['spec']}: interquartile mean over seeds {estimate(row['interquartile_mean'], 3)}")
    if summary["reward_at_kl"]:
        lines.append(_at_kl(summary["reward_at_kl"]))
    if any(row["kl"]["bound"] for row in summary["baselines"]):
        lines.append("best-of-n: the best of n samples by the reward model; its KL is an upper bound, not measured")
    return lines + [f"warning: {warning}" for warning in summary["warnings"]]


def _at_kl(found: Json) -> str:
    shown = [f"{spec} {estimate(each, 2)}" for spec, each in found["specs"].items() if each]
    return f"{REWARDS[found['reward']]} at a KL of {found['at']:g} nats: {', '.join(shown)}"
