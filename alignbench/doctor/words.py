"""The shortcut: how well single words, whatever they mean together, tell chosen from rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..results import Json, derive
from ..stats import Estimate, agreement_interval
from .bags import holders, holds, matrices, words_of
from .findings import Finding, Level, joined, percent, quoted, sentence, unknown, within
from .view import RESAMPLES, Floats, Ints, Sides, View, mean_by_prompt

BAD, LOOK = 0.75, 0.6
"""The lower end of the interval of the held-out accuracy from which words alone tell too much."""
FOLDS = 5
FEWEST = 50
"""Pairs, or completions of either label, below which nothing is learnt."""
RECORDS, WORDS = 5, 20_000
"""A word stands in as many completions at least; at most so many words are read, the most frequent."""
STRENGTH = 0.1
"""The inverse strength C of the penalty; from .003 to .3 the accuracy on the HH pairs is the same to .01."""
STRONGEST = 12

ADVICE = (
    "A policy can please by these words alone, so unless they are what you want to teach, take them out of both sides "
    "or balance them over the sides, and count them in samples of the trained model."
)


@dataclass(frozen=True)
class _Problem:
    """Rows to classify: `x [N, V]` counts, `length [N, 1]`, `y [N]` the side, `group [N]` the prompt, `weight [N]`."""

    x: Any
    length: Floats
    y: Ints
    group: Ints
    weight: Floats


def shortcut(view: View) -> tuple[Finding, list[Json], Json | None]:
    """A bag-of-words logistic regression that tells the sides apart, its held-out accuracy and its strongest words.

    A pair is one row, the difference of `log(1 + count)` of each word, with the two sides exchanged at random, so that
    nothing but the words tells them apart; a label is one row, and the classes are weighted equal, so that chance is
    .5. The accuracy is held out in 5 folds that keep a prompt's records together, with a 95 % interval by prompt,
    beside that of the length alone. "bad" where the interval lies above .75, "look" where it lies above .6.
    """
    sides = view.texts
    n = min(len(sides.first), len(sides.second))
    prompts = len(np.unique(view.prompts[np.concatenate([sides.first_at, sides.second_at])])) if n else 0
    if n < FEWEST or prompts < 2 * FOLDS:
        few = f"{n} {'pairs' if view.paired else 'completions of one label'} of {prompts} prompts are too few"
        needed = f"{FEWEST} of {2 * FOLDS} prompts are needed"
        return unknown("shortcut", f"{few} to learn which words tell the sides apart ({needed})."), [], None
    first, second, names = matrices(map(words_of, sides.first), map(words_of, sides.second))
    often = holders(first) + holders(second)
    kept = np.argsort(-often, kind="stable")[:WORDS]
    kept = np.sort(kept[often[kept] >= RECORDS])
    if not len(kept):
        return unknown("shortcut", f"No word stands in {RECORDS} completions, so that none can be learnt."), [], None
    first, second, names = first[:, kept], second[:, kept], [names[i] for i in kept]
    problem = _problem(view, sides, first, second)
    accuracy, baseline = (_held_out(problem, x, view) for x in (problem.x, problem.length))
    weights = _fitted(problem, problem.x, np.arange(len(problem.y))).coef_[0]
    words = _strongest(weights, names, holders(first), holders(second))
    figures = {
        "accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": accuracy.n,
        "baseline": baseline.value,
    }  # fmt: skip
    finding = _finding(view, accuracy, baseline, words)
    if finding.level != "fine" and words:
        strongest = names.index(max(words, key=lambda word: abs(word["weight"]))["word"])
        lines = view.lines(_with_word(sides, first, second, strongest))
        finding = Finding("shortcut", finding.level, finding.said, finding.advice, lines, len(lines))
    return finding, words, figures


def _problem(view: View, sides: Sides[str], first: Any, second: Any) -> _Problem:
    lengths = [np.log1p([len(words_of(text)) for text in side]) for side in (sides.first, sides.second)]
    logs = [counts.log1p() for counts in (first, second)]
    if sides.paired:
        rng = np.random.default_rng(derive(0, "doctor swap"))
        sign = rng.choice(np.array([-1, 1]), len(sides.first))
        x = (logs[0] - logs[1]).multiply(sign[:, None]).tocsr()
        length = (sign * (lengths[0] - lengths[1]))[:, None]
        return _Problem(x, length, sign, view.prompts[sides.first_at], np.ones(len(sign)))
    from scipy import sparse

    sizes = np.array([len(sides.first), len(sides.second)])
    y = np.repeat(np.array([1, -1]), sizes)
    group = view.prompts[np.concatenate([sides.first_at, sides.second_at])]
    return _Problem(
        sparse.vstack(logs).tocsr(),
        np.concatenate(lengths)[:, None],
        y,
        group,
        np.repeat(sizes.sum() / sizes / 2, sizes),
    )


def _held_out(problem: _Problem, x: Any, view: View) -> Estimate:
    """The accuracy of `x` on rows whose prompts were not learnt from; what is told neither way counts half."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    # Equal classes need none; of labels a fold might lack one of them.
    kind = GroupKFold if view.paired else StratifiedGroupKFold
    right = np.empty(len(problem.y))
    for train, test in kind(FOLDS, shuffle=True, random_state=0).split(x, problem.y, problem.group):
        scores = _fitted(problem, x, train).decision_function(x[test])
        right[test] = np.where(scores == 0, 0.5, np.sign(scores) == problem.y[test])
    if view.paired:
        return mean_by_prompt(right, problem.group, "accuracy of words", (0, 1))
    rng = np.random.default_rng(derive(0, "doctor accuracy of words"))
    found = agreement_interval(right, problem.y, _balanced, rng, problem.group, resamples=RESAMPLES)
    # All right or all wrong: the bound of `interval`.
    return found if found.low is not None else mean_by_prompt(right, problem.group, "accuracy of words", (0, 1))


def _balanced(right: Floats, y: Ints) -> float:
    """The mean of the two classes' accuracies."""
    sides = [right[y == sign] for sign in (1, -1)]
    return float(sides[0].mean() + sides[1].mean()) / 2 if sides[0].size and sides[1].size else math.nan


def _fitted(problem: _Problem, x: Any, rows: Ints) -> Any:
    from sklearn.linear_model import LogisticRegression

    paired = bool((problem.weight == 1).all())
    model = LogisticRegression(C=STRENGTH, fit_intercept=not paired, max_iter=2000)
    return model.fit(x[rows], problem.y[rows], sample_weight=problem.weight[rows])


def _strongest(weights: Floats, names: list[str], first: Ints, second: Ints) -> list[Json]:
    """The heaviest words of the first side, then those of the second, each with the completions that hold it."""
    order = np.argsort(-weights, kind="stable")
    picked = [i for i in order[:STRONGEST] if weights[i] > 0] + [i for i in order[::-1][:STRONGEST] if weights[i] < 0]
    return [
        {"word": names[i], "weight": float(weights[i]), "chosen": int(first[i]), "rejected": int(second[i])}
        for i in picked
    ]


def _with_word(sides: Sides[str], first: Any, second: Any, column: int) -> Ints:
    """The places of the records with the word: of pairs those in which it stands on one side only."""
    has_first, has_second = (holds(counts, column) for counts in (first, second))
    if sides.paired:
        one_side: Ints = sides.first_at[has_first != has_second]
        return one_side
    return np.concatenate([sides.first_at[has_first], sides.second_at[has_second]])


def _finding(view: View, accuracy: Estimate, baseline: Estimate, words: list[Json]) -> Finding:
    low = 0.0 if accuracy.low is None else accuracy.low
    level: Level = "bad" if low >= BAD else "look" if low >= LOOK else "fine"
    one, other = view.names
    told = f"words alone tell {one} from {other} in {within(accuracy)} of held-out " + (
        "pairs" if view.paired else "completions (classes weighted equal)"
    )
    length = f"length alone in {percent(baseline.value)}"
    if level == "fine":
        return Finding("shortcut", level, sentence(f"{told}, {length}", view.sampled))
    strongest, heaviest = [], max((abs(word["weight"]) for word in words), default=0.0)
    for sign, name in ((1, one), (-1, other)):
        top = sorted((word for word in words if sign * word["weight"] > 0), key=lambda word: -abs(word["weight"]))[:3]
        top = [word for word in top if abs(word["weight"]) >= heaviest / 4]  # beside a shortcut all others are noise
        said = [f"{quoted(word['word'])} ({word['chosen']:,} {one}, {word['rejected']:,} {other})" for word in top]
        strongest += [(abs(top[0]["weight"]), f"{joined(said)} for {name}")] if top else []
    strongest.sort(key=lambda part: -part[0])  # what tells most is named first, whichever side it speaks for
    named = f"the strongest {'are' if sum(text.count('(') for _, text in strongest) > 1 else 'is'} " + ", and ".join(
        text for _, text in strongest
    )
    return Finding("shortcut", level, sentence(f"{told}, {length}", named, view.sampled), ADVICE)
