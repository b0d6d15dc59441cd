"""Preference records for the doctor's tests: random texts without any shortcut, and ways to put one in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from alignbench.doctor import Examination, Finding, examine
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt

# Frequencies fall as 1 / rank, as those of words do.
WORDS = [
    f"{first}{second}" for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u", "an", "en", "in", "on", "un")
]


def text(rng: random.Random, longest: int = 30) -> str:
    chosen = rng.choices(WORDS, [1 / (rank + 5) for rank in range(len(WORDS))], k=rng.randint(4, longest))
    return " ".join(chosen).capitalize() + rng.choice("...!?")


def pairs(n: int, seed: int = 0, each: int = 1) -> list[Pair]:
    """Pairs whose sides nothing tells apart, `each` of them to a prompt."""
    rng = random.Random(seed)
    prompts = [Prompt(f"{text(rng, 60)} {number}") for number in range(-(-n // each))]
    made = []
    for i in range(n):
        chosen, rejected = Completion(text(rng)), Completion(text(rng))
        made.append(Pair(prompts[i // each], chosen, rejected, line=10 * (i + 1)))
    return made


def planted(records: Sequence[Pair], word: str, share: float = 1.0, seed: int = 1) -> list[Pair]:
    """The word at a random place of that share of the chosen completions."""
    rng = random.Random(seed)
    made = []
    for record in records:
        words = record.chosen.text.split(" ")
        words.insert(rng.randrange(1, len(words)), word)
        made.append(replace(record, chosen=Completion(" ".join(words))) if rng.random() < share else record)
    return made


def labels(records: Sequence[Pair]) -> list[LabelledCompletion]:
    """Each pair as two labels, on lines of their own."""
    both = [(pair.prompt, y, good) for pair in records for y, good in ((pair.chosen, True), (pair.rejected, False))]
    return [LabelledCompletion(*row, line=line) for line, row in enumerate(both, 1)]


def found(examination: Examination, check: str) -> Finding:
    (finding,) = [finding for finding in examination.findings if finding.check == check]
    return finding


def one(records: Sequence[Pair], check: str) -> Finding:
    return found(examine(records), check)
