"""The sentences below a table: the verdict, which differences are real, what the intervals rest on."""

from __future__ import annotations

from ..results import Json
from .data_words import note
from .judge_notes import estimate
from .marks import mark_lines
from .statements import listed, seeds_said
from .text import brackets, lower, number, p_value, signed

REWARDS = {"reward": "gold reward", "proxy_reward": "proxy reward"}


def comparison_lines(summary: Json) -> list[str]:
    """One line for every pair of specs; a difference that is not significant is called so."""
    lines = []
    for found in summary["comparisons"]:
        difference = found["difference"]
        shown = f"{signed(difference['value'], 3)} {brackets(difference['low'], difference['high'], 3)}".strip()
        verdict = "significant" if found["significant"] else "not significant"
        line = f"{found['a']} - {found['b']}: {shown}, p(Holm){p_value(found['p_holm'])}, {verdict}"
        line += f" ({seeds_said(found['seeds'])})" if found["seeds"] != summary["seeds"] else ""
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
        low, high = (number(end, 1) for end in area["kl"])
        shown = f"at equal KL, {low} to {high} nats, {estimate(area, 2, plus=True)} {REWARDS[area['reward']]}"
        said.append(shown + (f" ({seeds_said(area['seeds'])})" if area["seeds"] != found["seeds"] else ""))
    elif found["frontier_reason"]:
        said.append(f"nothing at equal KL: {found['frontier_reason']}")
    if not found["significant"] and found["needed"]:
        needed = found["needed"]
        enough = [f"about {needed[axis]:,} {axis}" for axis in ("prompts", "seeds") if needed[axis] is not None]
        how = f"{' or '.join(enough)} in all" if enough else "more than prompts or seeds alone can give"
        at = f"power {needed['power']:g} at the level {needed['level']:.2g}"
        said.append(f"to tell such a difference apart ({at}): {how}")
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
                + (f" ({seeds_said(found['seeds'])})" if found["seeds"] != summary["seeds"] else "")
                for row in summary["rows"]
                if (found := (row["capability"] or {}).get(task, {}).get(metric))
            ]
            own = f"reference {number(base['value'], 4)} ± {number(base['stderr'], 4)}"
            head = f"{task}, {metric} (n = {base['n']}, ± one standard error{lower(base['higher_is_better'])})"
            lines.append(f"{head}: {'; '.join([own, *changes])}")
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
        lines.append(_at_kl(summary["reward_at_kl"], summary["seeds"]))
    lines += _fewer_seeds(summary)
    if any(row["kl"]["bound"] for row in summary["baselines"]):
        lines.append("best-of-n: the best of n samples by the reward model; its KL is an upper bound, not measured")
    if said := note(summary.get("doctor")):
        lines.append(said)
    return lines + [f"warning: {warning}" for warning in summary["warnings"]]


def _at_kl(found: Json, seeds: list[int]) -> str:
    if found["at"] is None:
        return f"no {REWARDS[found['reward']]} at one KL of all specs: {found['reason']}"
    shown = [f"{spec} {estimate(each, 2)}" for spec, each in found["specs"].items()]
    low, high = (number(end, 1) for end in found["range"])
    rests = f"all have measured {low} to {high}" + (
        f", {seeds_said(found['seeds'])}" if found["seeds"] != seeds else ""
    )
    return f"{REWARDS[found['reward']]} at a KL of {found['at']:.3g} nats ({rests}): {', '.join(shown)}"


def _fewer_seeds(summary: Json) -> list[str]:
    """The figures of all specs together that do not rest on all seeds: a hole in one spec changes those of the rest."""
    found = [(judge, "at equal length", each["length_seeds"]) for judge, each in summary["judges"].items()]
    played = summary["head_to_head"].items()
    found += [(judge, "Bradley-Terry strengths", each.get("strengths_seeds")) for judge, each in played]
    judges: dict[tuple[str, str], list[str]] = {}
    for judge, what, seeds in found:
        if seeds is not None and seeds != summary["seeds"]:
            judges.setdefault((what, seeds_said(seeds)), []).append(judge)
    return [f"{what}, by {listed(who)}: {seeds}, which all specs have" for (what, seeds), who in judges.items()]
