"""The shortcut: how well single words, whatever they mean together, tell chosen from rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ..results import Json, derive
from ..stats import Estimate, agreement_interval
from .bags import holders, holds, matrices, words_of
from .findings import Finding, Level, joined, percent, plural, quoted, sentence, unknown, within
from .view import RESAMPLES, Floats, Ints, Sides, View, mean_by_prompt

BAD, LOOK = 0.75, 0.6
"""The lower end of the interval of the held-out accuracy from which words alone tell too much."""
FOLDS = 5
"""Each side must have twice as many prompts."""
FEWEST = 50
"""Pairs, or completions of either label, below which nothing is learnt."""
RECORDS, WORDS = 5, 20_000
"""A word stands in as many completions at least; at most so many words are read, the most frequent."""
STRENGTH = 0.1
"""The inverse strength C of the penalty; from .003 to .3 the accuracy on the HH pairs is the same to .01."""
STRONGEST = 12
KNOWN = 0.1
"""The share of rows with a completion that stands under other prompts as well from which that is said."""

LENGTH_ADVICE = (
    "See to the length first, as the length gap says; texts of nearly equal length, examined by themselves, show what "
    "the words tell beside it."
)
ADVICE = (
    "A policy can please by these words alone, so unless they are what you want to teach, take them out of both sides "
    "or balance them over the sides, and count them in samples of the trained model."
)


@dataclass(frozen=True)
class _Problem:
    """Rows to classify: `x [N, V]` words, `length [N, 1]`, `y [N]` the side (of pairs 1: their rows are first less
    second), `group [N]` the prompt, `weight [N]`."""

    x: Any
    length: Floats
    y: Ints
    group: Ints
    weight: Floats
    paired: bool


@dataclass(frozen=True)
class _Told:
    """The accuracy of words, that of length, and by how much the first is greater; `known` as in `_known`."""

    words: Estimate
    length: Estimate
    more: Estimate
    known: float

    @property
    def length_does(self) -> bool:
        """Whether it cannot be seen that the words tell more than the length."""
        return self.more.low is None or self.more.low <= 0

    def figures(self) -> Json:
        """The estimates with their intervals."""
        named = (("accuracy", self.words, ""), ("baseline", self.length, "baseline_"), ("gain", self.more, "gain_"))
        ends = {f"{start}{end}": getattr(found, end) for _, found, start in named for end in ("low", "high")}
        return {name: found.value for name, found, _ in named} | ends | {"n": self.words.n, "known": self.known}


def shortcut(view: View) -> tuple[Finding, list[Json], Json | None]:
    """A bag-of-words logistic regression that tells the sides apart, its held-out accuracy and its strongest words.

    A pair is one row, the difference of `log(1 + count)` of each word; there is no intercept, so that which side comes
    first tells nothing. A label is one row, and the classes are weighted equal, so that chance is .5. The accuracy is
    held out in 5 folds that keep a prompt's records together, beside that of the length alone; both, and how much
    greater the first is on the same rows, have 95 % intervals by prompt. A completion that stands under several prompts
    may be learnt in one fold and told in another, which is said where it concerns a tenth of the rows. "bad" where the
    interval lies above .75, "look" where it lies above .6, and no more than "look", without any words, where that of
    what words tell beyond the length holds 0.
    """
    sides = view.texts
    for name, texts, at in zip(view.names, (sides.first, sides.second), (sides.first_at, sides.second_at), strict=True):
        prompts = len(np.unique(view.prompts[at]))
        if len(texts) < FEWEST or prompts < 2 * FOLDS:
            rows = plural(len(texts), "pair" if view.paired else f"{name} completion")
            few = f"{rows} of {plural(prompts, 'prompt')} {'is' if len(texts) == 1 else 'are'} too few"
            needed = f"{FEWEST} of {2 * FOLDS} prompts are needed"
            return unknown("shortcut", f"{few} to learn which words tell the sides apart ({needed})."), [], None
    first, second, names = matrices(map(words_of, sides.first), map(words_of, sides.second))
    lengths = [np.log1p(np.asarray(counts.sum(axis=1)).ravel()) for counts in (first, second)]  # of all words
    often = holders(first) + holders(second)
    kept = np.argsort(-often, kind="stable")[:WORDS]
    kept = np.sort(kept[often[kept] >= RECORDS])
    if not len(kept):
        return unknown("shortcut", f"No word stands in {RECORDS} completions, so that none can be learnt."), [], None
    first, second, names = first[:, kept], second[:, kept], [names[i] for i in kept]
    problem = _problem(view, sides, first, second, lengths)
    told = _measured(problem, _known(view, sides))
    weights = _fitted(problem, problem.x, np.arange(len(problem.y))).coef_[0]
    words = _strongest(weights, names, holders(first), holders(second))
    finding = _finding(view, told, words)
    if finding.level != "fine" and words and not told.length_does:
        strongest = names.index(max(words, key=lambda word: abs(word["weight"]))["word"])
        lines = view.lines(_with_word(sides, first, second, strongest))
        finding = Finding("shortcut", finding.level, finding.said, finding.advice, lines, len(lines))
    return finding, words, told.figures()


def _problem(view: View, sides: Sides[str], first: Any, second: Any, lengths: list[Floats]) -> _Problem:
    logs = [counts.log1p() for counts in (first, second)]
    if sides.paired:
        ones = np.ones(len(sides.first))
        length = (lengths[0] - lengths[1])[:, None]
        return _Problem(
            (logs[0] - logs[1]).tocsr(), length, ones.astype(np.int64), view.prompts[sides.first_at], ones, True
        )
    sizes = np.array([len(sides.first), len(sides.second)])
    return _Problem(
        x=sparse.vstack(logs).tocsr(),
        length=np.concatenate(lengths)[:, None],
        y=np.repeat(np.array([1, -1]), sizes),
        group=view.prompts[np.concatenate([sides.first_at, sides.second_at])],
        weight=np.repeat(sizes.sum() / sizes / 2, sizes),
        paired=False,
    )


def _known(view: View, sides: Sides[str]) -> float:
    """The share of rows that hold a completion which stands, word for word, under another prompt as well."""
    seen: dict[str, int] = {}
    shared = set()
    for texts, at in ((sides.first, sides.first_at), (sides.second, sides.second_at)):
        for text, prompt in zip(texts, view.prompts[at].tolist(), strict=True):
            if seen.setdefault(text, prompt) != prompt:
                shared.add(text)
    first, second = (np.array([text in shared for text in texts]) for texts in (sides.first, sides.second))
    return float(np.mean(first | second if sides.paired else np.concatenate([first, second])))


def _measured(problem: _Problem, known: float) -> _Told:
    words, length = (_held_out(problem, x) for x in (problem.x, problem.length))
    return _Told(
        _mean(problem, words, "accuracy of words", (0, 1)),
        _mean(problem, length, "accuracy of length", (0, 1)),
        _mean(problem, words - length, "gain of words", (-1, 1)),
        known,
    )


def _held_out(problem: _Problem, x: Any) -> Floats:
    """1 for each row told rightly from rows of other prompts, 0 wrongly; what is told neither way counts half."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    # Rows of pairs are of one class; of labels a fold might lack one of the two.
    kind = GroupKFold if problem.paired else StratifiedGroupKFold
    right = np.full(len(problem.y), 0.5)
    for train, test in kind(FOLDS, shuffle=True, random_state=0).split(x, problem.y, problem.group):
        if not problem.paired and len(np.unique(problem.y[train])) < 2:
            continue  # from one label alone nothing is learnt
        scores = _fitted(problem, x, train).decision_function(x[test])
        right[test] = np.where(scores == 0, 0.5, np.sign(scores) == problem.y[test])
    return right


def _mean(problem: _Problem, values: Floats, purpose: str, bounds: tuple[float, float]) -> Estimate:
    """The mean over pairs, or that of the two labels' means, with its interval by prompt."""
    if problem.paired or values.min() == values.max():
        return mean_by_prompt(values, problem.group, purpose, bounds)
    rng = np.random.default_rng(derive(0, f"doctor {purpose}"))
    return agreement_interval(values, problem.y, _balanced, rng, problem.group, resamples=RESAMPLES)


def _balanced(values: Floats, y: Ints) -> float:
    """The mean of the two classes' means."""
    sides = [values[y == sign] for sign in (1, -1)]
    return float(sides[0].mean() + sides[1].mean()) / 2 if sides[0].size and sides[1].size else math.nan


def _fitted(problem: _Problem, x: Any, rows: Ints) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, fit_intercept=not problem.paired, max_iter=2000)
    if not problem.paired:
        return model.fit(x[rows], problem.y[rows], sample_weight=problem.weight[rows])
    # Two classes are asked for. Without an intercept a row and its negative in the other one have the same loss.
    sign = np.where(np.arange(len(rows)) % 2, -1.0, 1.0)
    return model.fit(sparse.diags_array(sign) @ x[rows], sign)


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


def _finding(view: View, told: _Told, words: list[Json]) -> Finding:
    low = 0.0 if told.words.low is None else told.words.low
    level: Level = "bad" if low >= BAD else "look" if low >= LOOK else "fine"
    one, other = view.names
    rows = "pairs" if view.paired else "completions (classes weighted equal)"
    said = f"words alone tell {one} from {other} in {within(told.words)} of held-out {rows}, "
    said += f"length alone in {within(told.length)}"
    if level == "fine":
        return Finding("shortcut", level, sentence(said, view.sampled))
    known = ""
    if told.known >= KNOWN:
        known = f"in {percent(told.known)} of them a completion also stands under another prompt, which gives it away"
    if told.length_does:
        length = "the words are not seen to tell more than the length does"
        return Finding("shortcut", "look", sentence(said, length, known, view.sampled), LENGTH_ADVICE)
    return Finding("shortcut", level, sentence(said, _named(view, words), known, view.sampled), ADVICE)


def _named(view: View, words: list[Json]) -> str:
    """The strongest words of either side, three at most, with the completions that hold them."""
    one, other = view.names
    strongest, heaviest = [], max((abs(word["weight"]) for word in words), default=0.0)
    for sign, name in ((1, one), (-1, other)):
        top = sorted((word for word in words if sign * word["weight"] > 0), key=lambda word: -abs(word["weight"]))[:3]
        top = [word for word in top if abs(word["weight"]) >= heaviest / 4]  # beside a shortcut all others are noise
        said = [f"{quoted(word['word'])} ({word['chosen']:,} {one}, {word['rejected']:,} {other})" for word in top]
        strongest += [(abs(top[0]["weight"]), f"{joined(said)} for {name}")] if top else []
    strongest.sort(key=lambda part: -part[0])  # what tells most is named first, whichever side it speaks for
    several = sum(text.count("(") for _, text in strongest) > 1
    return f"the strongest {'are' if several else 'is'} " + ", and ".join(text for _, text in strongest)
