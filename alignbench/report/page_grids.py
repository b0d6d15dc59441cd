"""The page's tables besides the main one: judges, what they left open and cost, capability, tuning, head to head.

Each is None where the run measured nothing of it; nothing is escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..results import Json
from .tables import Cell
from .text import brackets, count, lower, number, p_value, signed
from .tuning import measure, setting, tuning_lines


@dataclass(frozen=True)
class Grid:
    """A table with a caption; `heads` are titles and units, the first `names` cells of a row name it."""

    caption: str
    heads: list[tuple[str, str]]
    rows: list[list[Cell]]
    names: int = 1


def build_grids(summary: Json) -> dict[str, Grid | None]:
    """Every grid by the name that the template knows it by."""
    builders: dict[str, Callable[[Json], Grid]] = {
        "differences": _differences,
        "win_rates": _win_rates,
        "head_to_head": _head_to_head,
        "agreement": _agreement,
        "answers": _answers,
        "usage": _usage,
        "capability": _capability,
        "tuning": _tuning,
    }
    found = {name: build(summary) for name, build in builders.items()}
    return {name: grid if grid.rows else None for name, grid in found.items()}


def _metric(found: Json | None, digits: int = 3, scale: float = 1, plus: bool = False) -> Cell:
    """A metric as value and interval; why it has no value, where somebody wrote it down."""
    if not found:
        return Cell("–")
    value, low, high = (None if (x := found.get(end)) is None else scale * x for end in ("value", "low", "high"))
    if value is None:
        return Cell("–", str(found.get("reason") or ""))
    return Cell(signed(value, digits) if plus else number(value, digits), brackets(low, high, digits))


def _percent(share: float | None) -> Cell:
    return Cell(number(None if share is None else 100 * share, 1))


def _differences(summary: Json) -> Grid:
    """Every pair of specs on the headline win rate, and how much more evaluation would tell it apart."""
    found = summary["comparisons"]
    single = any(pair["mcnemar"] is not None for pair in found)
    improved = any(pair["probability_of_improvement"] for pair in found)
    areas = [pair["frontier_area"]["reward"] for pair in found if pair["frontier_area"]]
    heads = [("pair", ""), ("difference", "in win rate"), ("p", "after Holm"), ("", "")]
    heads += [("p", "McNemar, not adjusted")] * single + [("better", "probability")] * improved
    heads += [("at equal KL", f"difference in {_name(areas[0])}")] if areas else []
    rows = []
    for pair in found:
        row = [Cell(f"{pair['a']} − {pair['b']}"), _metric(pair["difference"], plus=True), _p(pair["p_holm"])]
        row += [Cell("significant" if pair["significant"] else "not significant")]
        row += [_p(pair["mcnemar"])] * single
        row += [_metric(pair["probability_of_improvement"], 2)] * improved
        row += [_equal_kl(pair)] if areas else []
        rows.append([*row, Cell(_needed(pair))])
    heads.append(("would need", "in all, if the difference is real, for power 0.8"))
    return Grid(f"Differences in win rate by judge {summary['headline']}, every pair of specs", heads, rows)


def _equal_kl(pair: Json) -> Cell:
    """The difference in reward at equal KL, and over which KL it was measured, or why there is none."""
    area = pair["frontier_area"]
    if not area:
        return Cell("–", pair["frontier_reason"] or "")
    shown = _metric(area, 2, plus=True)
    low, high = (number(end, 1) for end in area["kl"])
    return Cell(shown.value, f"{shown.detail} at {low} to {high} nats".strip())


def _p(value: float | None) -> Cell:
    return Cell(p_value(value).removeprefix(" = ").strip())


def _name(reward: str) -> str:
    return "gold reward" if reward == "reward" else "proxy reward"


def _needed(pair: Json) -> str:
    needed = pair["needed"]
    if pair["significant"] or not needed:
        return "–"
    parts = [f"{needed[axis]:,} {axis}" for axis in ("prompts", "seeds") if needed[axis] is not None]
    return " or ".join(parts) or "no number of prompts or of seeds"


def _win_rates(summary: Json) -> Grid:
    rows = [
        [
            Cell(row["spec"]),
            Cell(judge, "headline" if judge == summary["headline"] else ""),
            *(_metric(found[name][row["spec"]]) for name in _RATES),
        ]
        for row in summary["rows"]
        for judge, found in summary["judges"].items()
    ]
    heads = [("spec", ""), ("judge", ""), *_RATES.values()]
    return Grid("Every spec by every judge", heads, rows, names=2)


_RATES = {
    "win_rate": ("win rate", "over the reference"),
    "win_rate_length_controlled": ("win rate", "at equal length"),
    "win_rate_chosen": ("win rate", "over the chosen"),
}


def _head_to_head(summary: Json) -> Grid:
    """The headline judge's matrix: a row's win rate over each column, then its Bradley-Terry strength."""
    found = summary["head_to_head"].get(summary["headline"])
    if found is None:
        return Grid("", [], [])
    players: Sequence[str] = found["players"]
    known = all(found["strengths"])
    heads = [("spec", ""), *((player, "") for player in players)] + [("strength", "logits, mean 0")] * known
    rows = [
        [Cell(player), *(_metric(rate) for rate in rates), *([_metric(strength, 2, plus=True)] * known)]
        for player, rates, strength in zip(players, found["win_rate"], found["strengths"], strict=True)
    ]
    why = "" if known else f"; no Bradley-Terry strengths: {found['strengths_reason']}"
    return Grid(f"How often the row beats the column, by judge {summary['headline']}{why}", heads, rows)


def _agreement(summary: Json) -> Grid:
    """How far each judge can be trusted: against gold, labels and the other judges, and people among themselves."""
    found: list[tuple[str, str, Json | None]] = []
    for judge, known in summary["judges"].items():
        before = list(summary["judges"])[: list(summary["judges"]).index(judge)]  # two judges agree both ways alike
        found += [(judge, f"{other}, on the specs' samples", known["against"][other]) for other in before]
        found.append((judge, "gold, on held-out pairs", known["held_out"]["against_gold"]))
        found.append((judge, "the labels of held-out pairs", known["held_out"]["against_labels"]))
    found.append(("a person", "another, on held-out pairs: the ceiling", summary["human_human"]))
    found.append(("a person", "gold, on held-out pairs", summary["human_gold"]))
    heads = [("who", ""), ("agrees with", ""), ("agreement", "ties counted"), ("kappa", ""), ("no winner", "%")]
    heads += [("agreement", "ties left out"), ("kappa", "ties left out")]
    rows = [[Cell(who), Cell(whom), *_agreed(known)] for who, whom, known in found if known]
    return Grid("Agreement, raw and beyond chance (Cohen's kappa)", heads, rows, names=2)


def _agreed(found: Json) -> list[Cell]:
    """Where everything had a winner, leaving ties out changes nothing."""
    decided = found["without_ties"] or (found if not found["ties"] else {})
    both = [_metric(found["raw"]), _metric(found["kappa"], 2), _percent(found["ties"])]
    return [*both, _metric(decided.get("raw")), _metric(decided.get("kappa"), 2)]


def _answers(summary: Json) -> Grid:
    """What each judge's answers were besides a winner, in per cent, and what sways it."""
    shares = ("ties", "contradictions", "refused", "unparsed", "unanswered")
    rows = [
        [
            Cell(judge),
            *(_percent(found[name]) for name in shares),
            _metric((found["self"] or {}).get("position_bias"), 3, plus=True),
            _metric(found["longer_wins"], 1, 100),
            _metric(found["held_out"]["longer_wins"], 1, 100),
            _metric(found["length_slope"], 2, plus=True),
        ]
        for judge, found in summary["judges"].items()
    ]
    if summary["labels_longer_wins"]:
        blank = [Cell("–")] * (len(shares) + 2)
        rows.append([Cell("the labels"), *blank, _metric(summary["labels_longer_wins"], 1, 100), Cell("–")])
    units = {name: "% of pairs" if name == "contradictions" else "% of answers" for name in shares}
    heads = [("judge", ""), *units.items(), ("position bias", "above 0: to the first"), ("longer wins", "% of decided")]
    heads += [("longer wins", "% of held-out"), ("pull of length", "logits")]
    caption = "What each judge answered about the specs' samples, and what sways it; longer is by characters"
    return Grid(caption, heads, rows)


def left_open(summary: Json) -> list[str]:
    """What the judges were asked and have not answered, or were never asked, and why."""
    lines = []
    for judge, found in summary["judges"].items():
        answers = found["answers"]
        asked, kinds = sum(answers.values()), ("refused", "unparsed", "unanswered")
        lines += [f"{judge}: {answers[kind]:,} of {asked:,} answers {kind}" for kind in kinds if answers[kind]]
        lines += [f"{judge}: {problem}" for problem in found["problems"]]
        lines += [f"{judge} has not compared {what}" for what in found["missing"]]
    return lines


def _usage(summary: Json) -> Grid:
    """A question of a comparison that was asked again counts each time, so answers stand beside what was asked."""
    names = ("questions", "cached", "retries", "prompt_tokens", "completion_tokens")
    rows = []
    for judge, found in summary["judges"].items():
        used = found["usage"]
        if used:
            price = "not known" if used["cost"] is None else number(used["cost"], 4)
            answers = Cell(count(sum(found["answers"].values())))
            rows.append([Cell(judge), answers, *(Cell(count(used[name])) for name in names), Cell(price)])
    heads = [("judge", ""), ("answers", ""), ("asked", "repeats included"), ("from the cache", ""), ("retries", "")]
    heads += [("tokens read", ""), ("tokens written", ""), ("price", "in its currency")]
    return Grid("What the judges cost", heads, rows)


def _capability(summary: Json) -> Grid:
    """Every task's metrics on the reference, and on each spec with the change from it."""
    reference: Json = summary["capability"] or {}
    tasks = [(task, name, each) for task, metrics in reference.items() for name, each in metrics.items()]
    units = [f"{name}, n = {each['n']:,}{lower(each['higher_is_better'])}" for _, name, each in tasks]
    heads = [("spec", ""), *((task, unit) for (task, _, _), unit in zip(tasks, units, strict=True))]
    first = [Cell("reference"), *(Cell(number(each["value"], 4), _error(each)) for _, _, each in tasks)]
    rows = [
        [Cell(row["spec"]), *(_change((row["capability"] or {}).get(task, {}).get(name)) for task, name, _ in tasks)]
        for row in summary["rows"]
    ]
    caption = "lm-eval's metrics; below each value its change from the reference ± one standard error, and its interval"
    return Grid(caption, heads, [first, *rows] if tasks else [])


def _error(found: Json) -> str:
    return "" if found["stderr"] is None else f"± {number(found['stderr'], 4)}"


def _change(found: Json | None) -> Cell:
    if not found or found["value"] is None:
        return Cell("–")
    parts = (signed(found["change"], 4), _error(found), brackets(found["low"], found["high"], 4))
    return Cell(number(found["value"], 4), " ".join(part for part in parts if part))


def _tuning(summary: Json) -> Grid:
    if not summary["tuning"]:
        return Grid("", [], [])
    rows = [
        [
            Cell(trial["spec"]),
            Cell(setting(trial)),
            _metric(trial),
            Cell("chosen" if trial["chosen"] else "" if trial["status"] == "done" else str(trial["status"])),
        ]
        for trial in summary["tuning"]["trials"]
    ]
    heads = [("spec", ""), ("trial", ""), (measure(summary["tuning"]), "against the reference"), ("", "")]
    return Grid(tuning_lines(summary)[0], heads, rows, names=2)
