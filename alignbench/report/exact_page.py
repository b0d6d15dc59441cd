"""The exact part of the page: its table, its plots with their words, and what each of its terms means."""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Json
from .exact import PARTS
from .exact_tables import DIFFERENCES, build
from .exact_words import order, valued
from .page_grids import Grid
from .tables import Cell, Table
from .text import brackets, number, p_value, signed

# Title, how to read it; by the name of the plot.
PLOTS = {
    "exact_frontier": (
        "Reward against KL, exactly",
        (
            "Left: up is more reward, right is further from the reference, and no policy can lie in the grey. Right: "
            "the same with the KL paid for; left of the optimum a policy has moved too little, right of it too far."
        ),
    ),
    "exact_share": (
        "The gain share, and where the rest goes",
        (
            "How much of what the best possible policy gains each spec reaches; the bars add up to what it does not. A "
            "part left of 0 says that the policy is better than the one its training was heading for."
        ),
    ),
}
WORDS = {
    "J": "What alignment maximises: the expected reward less beta times the KL to the reference, here an exact sum.",
    "optimum": (
        "The policy with the highest J there is: the reference's probabilities times exp(reward / beta), normalised. "
        "It is known because every completion can be enumerated."
    ),
    "beta": "The price of the KL in J. Every objective that has such a field is given the same.",
    "gain share": (
        "How far a policy is from the reference (0) to the optimum (1), in J. Below 0 it is worth less than the "
        "reference, its KL paid for."
    ),
    "beats": "The specs whose gain share is lower: a paired t test over seeds, after Holm's correction for all pairs.",
    "reward": "The expected gold reward of the policy: a sum over all completions, not an average of samples.",
    "KL": "The Kullback-Leibler divergence of the policy from the reference, summed over all completions, in nats.",
    "gap": "How much J the policy lacks; the same as beta times its KL to the optimum.",
    "win rate": "How probable it is that a completion of the policy has more gold reward than one of the reference.",
    "limit": (
        "The gain share that the objective tends to with unlimited data, steps and capacity, where that is known. With "
        "a trained reward model it is that of the best policy by that reward model, and says so."
    ),
    "lost to objective": "What even the limit lacks: the objective asks for another policy than the optimum.",
    "lost to reward model": "What the best policy by the trained reward model lacks: the reward model is wrong.",
    "lost to training": (
        "What is left between the limit and the policy: finite data and optimisation, or optimisation alone where the "
        "gold reward or a trained reward model is optimised. Below 0 the policy is better than its limit."
    ),
    "[low, high]": (
        "A 95 % t interval over seeds. Nothing else is estimated, so one seed has none, and two have a very wide one."
    ),
}


@dataclass(frozen=True)
class ExactPart:
    """What the template shows; nothing is escaped yet."""

    sentence: str
    basis: str
    table: Table
    glossary: list[tuple[str, str]]
    differences: Grid | None
    sections: list[tuple[str, list[str]]]


def exact_part(summary: Json) -> ExactPart | None:
    """None for a run in a world that cannot be enumerated."""
    exact = summary.get("exact")
    if not exact:
        return None
    table = build([summary])
    headed = {
        f"{column.title} {column.unit}" if column.title == "lost to" else column.title for column in table.columns
    }
    optional = {"beats"} - headed
    own = [(name, lines) for name, lines in table.sections if name not in ("exact verdict", DIFFERENCES)]
    legend = [line for name, lines in table.sections if name == "exact verdict" for line in lines[2:]]
    glossary = [(word, meaning) for word, meaning in WORDS.items() if word not in optional]
    sections = ([("who beats whom", legend)] if legend else []) + own
    return ExactPart(exact["sentence"], exact["basis"], table, glossary, _differences(exact), sections)


def _differences(exact: Json) -> Grid | None:
    heads = [("pair", ""), ("difference", "in gain share"), ("p", "paired t, after Holm"), ("seeds", ""), ("", "")]
    rows = []
    for each in exact["comparisons"]:
        found = each["difference"]
        shown = Cell(signed(found["value"], 3), brackets(found["low"], found["high"], 3))
        p = p_value(each["p_holm"]).removeprefix(" = ").strip()
        said = "not tested" if each["p"] is None else "significant" if each["significant"] else "not significant"
        seeds = ", ".join(map(str, each["seeds"]))
        rows.append([Cell(f"{each['a']} − {each['b']}"), shown, Cell(p), Cell(seeds), Cell(said)])
    return Grid("Differences in gain share, every pair of specs", heads, rows) if rows else None


def describe(name: str, summary: Json) -> str:
    """What a plot shows, for those who cannot see it."""
    exact = summary["exact"]
    said = []
    for spec in order(exact):
        row = exact["rows"][spec]
        if not row["gain_share"]:
            continue
        if name == "exact_frontier":
            said.append(f"{spec}: KL {valued(row['kl'], 2)}, expected reward {valued(row['expected_reward'], 2)}")
        else:
            parts = ", ".join(f"{PARTS[part['part']]} {number(part['value'], 3)}" for part in row["loss"]["parts"])
            said.append(f"{spec}: gain share {valued(row['gain_share'])}; of the rest: {parts}")
    return "; ".join(said)
