"""How to read the page: what each column and each word of a verdict means, in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from .tables import Column
from .text import LOWER

# By title and the beginning of the unit, which tells columns of one title apart.
COLUMNS = {
    ("spec", ""): "An objective with the settings that differ from its defaults. A row is the mean over its seeds.",
    ("win rate", "judge"): (
        "How often the judge prefers the spec's sample to the reference model's, one sample a prompt at temperature 1, "
        "asked in both orders. A half means that they are even."
    ),
    ("win rate", "at equal length"): (
        "The win rate that a joint fit over all specs expects had each written as much as the reference: "
        "how much of a win is length alone."
    ),
    ("win rate", "over the chosen"): "The same against the completions that the data call the better ones.",
    ("beats", ""): (
        "The specs that this one beats: on the same prompts and seeds, after Holm's correction for testing all pairs. "
        "Where it says so below, it also beats the reference."
    ),
    ("unusable %", ""): (
        "Answers that were refused, unparsed or never came. They score a half; below stands what the win rate would be "
        "had they all been lost, and all been won. Above 5 % there is no headline."
    ),
    ("reward", ""): "The benchmark's own (gold) reward of the samples.",
    ("proxy reward", ""): "The score of a reward model that was trained for judging, the same for all rows.",
    ("KL", ""): (
        "How far the policy has moved from the reference: the Kullback-Leibler divergence in nats per completion, on "
        "the policy's own samples. More reward at equal KL is better. Of best-of-n it is an analytic bound."
    ),
    ("agreement", ""): "How often this judge agrees with gold, or with people's labels where there is no gold.",
    ("length", ""): "The mean length of the samples. Many judges prefer longer ones whatever they say.",
    ("unfinished", ""): "Samples that reached the limit of tokens before they ended.",
    ("cost", ""): "Training time of one seed, and the tokens that it read.",
}
TASK = "The change of an lm-eval task's metric from the reference model: {} zero, alignment has cost something."
WORDS = {
    "[low, high]": (
        "A 95 % interval. Two specs whose intervals overlap may still differ: differences are tested by themselves."
    ),
    "won, lost": "For the spec, against the reference's completion of the same prompt.",
    "tie": "The judge says that neither is better.",
    "contradiction": "The two orders name different winners: the judge followed the place and not the text.",
    "refused": "The judge declined to choose.",
    "unparsed": "The judge's answer names no side.",
    "unanswered": "The judge's server never answered, after every retry; the next run asks again.",
    "judges disagree": "One judge has the spec winning, another has it losing.",
}


def explained(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """The entries for these columns, in their order, then the words that are not columns."""
    titles = [column.title for column in columns]
    entries = []
    for column in columns:
        shared = titles.count(column.title) > 1
        name = f"{column.title}, {column.unit}" if shared else column.title
        entries += [(name, meaning) for meaning in _meanings(column)[:1]]
    return entries + list(WORDS.items())


def _meanings(column: Column) -> list[str]:
    if column.unit.startswith("change in "):
        return [TASK.format("above" if column.unit.endswith(LOWER) else "below")]
    return [
        meaning for (title, unit), meaning in COLUMNS.items() if title == column.title and column.unit.startswith(unit)
    ]
