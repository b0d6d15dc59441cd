"""Desirable against undesirable completions, and what the data's annotators and gold rewards say of the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ..records import LabelledCompletion, Pair
from ..results import Json
from .findings import Finding, Level, of, sentence
from .view import View, mean_by_prompt

LOWEST, HIGHEST = 1.0, 4 / 3
"""The range of arXiv:2402.01306, eq. 8, for lambda_D n_D / (lambda_U n_U)."""
BAD = 10.0
BINS = 30


def balance(view: View) -> tuple[Finding, Json]:
    """Desirable and undesirable completions, and the weights that KTO asks for.

    The paper (arXiv:2402.01306, eq. 8) sets them so that `lambda_D n_D / (lambda_U n_U)` lies in [1, 4/3], one of the
    two being 1. Named is the least change that does: the other weight, rounded up to three digits, brings the ratio to
    the nearer end. A pair is one label of either kind, and so is each nested pair of a ranking.
    """
    if view.kind == "labels":
        good = sum(isinstance(record, LabelledCompletion) and record.desirable for record in view.records)
        bad = view.n - good
    else:
        good = bad = sum(len(record.completions) // 2 for record in view.records)
    if not good or not bad:
        figures: Json = {"desirable": good, "undesirable": bad, "desirable_weight": None, "undesirable_weight": None}
        said = f"All {view.n:,} completions are {'desirable' if good else 'undesirable'}."
        advice = "Add completions of the other label: an objective on labels learns from their difference."
        return Finding("balance", "bad", said, advice, (), view.n), figures
    desirable, undesirable = weights(good, bad)
    figures = {
        "desirable": good, "undesirable": bad, "desirable_weight": desirable, "undesirable_weight": undesirable,
    }  # fmt: skip
    counts = f"{of(good, good + bad, 'completions')} are desirable and {bad:,} undesirable"
    if desirable == undesirable:
        read = "" if view.kind == "labels" else "read as labels, "
        said = sentence(f"{read}{counts}: within the range that KTO asks for, so that both weights are 1")
        return Finding("balance", "fine", said, count=good + bad), figures
    said = sentence(f"{counts}: a ratio of {good / bad:.3g}, outside the range from 1 to 4/3 that KTO asks for")
    name, value = ("desirable", desirable) if desirable != 1 else ("undesirable", undesirable)
    advice = (
        f"Give KTO the weight that they imply, `kto:{name}_weight={value:g}`, or add completions of the rarer label."
    )
    level: Level = "bad" if max(good / bad, bad / good) >= BAD else "look"
    return Finding("balance", level, said, advice, (), good + bad), figures


def weights(good: int, bad: int) -> tuple[float, float]:
    """`(lambda_D, lambda_U)`, one of them 1, for which the ratio of `balance` lies in [1, 4/3]."""
    ratio = good / bad
    if ratio < LOWEST:
        return _up(LOWEST / ratio), 1.0
    return (1.0, _up(ratio / HIGHEST)) if ratio > HIGHEST else (1.0, 1.0)


def _up(value: float) -> float:
    """Rounded up to three digits, which moves the ratio into the range and never out of it."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.ceil(value / step - 1e-9) * step:.10g}")


def margins(view: View, gold: Sequence[Sequence[float]] | None) -> Json | None:
    """A histogram of the gold reward of chosen less that of rejected, or where nobody knows it of the scores that the
    data hold (`Pair.scores`); 0 is an edge, so that no bin holds both signs."""
    if not view.paired:
        return None
    known: dict[int, Sequence[float]] = dict(enumerate(gold or ()))
    if gold is None:
        known = {i: r.scores for i, r in enumerate(view.records) if isinstance(r, Pair) and r.scores is not None}
    sides = view.sides(known)
    gaps = np.array(sides.first, np.float64) - np.array(sides.second, np.float64)
    gaps = gaps[np.isfinite(gaps)]
    if not gaps.size:
        return None
    width = float(np.abs(gaps).max()) / (BINS // 2) or 1.0
    edges = width * np.arange(math.floor(gaps.min() / width + 1e-9), math.ceil(gaps.max() / width - 1e-9) + 2)
    return {
        "of": "score" if gold is None else "gold reward",
        "edges": edges.tolist(),
        "counts": np.histogram(gaps, edges)[0].tolist(),
        "agree": float(np.mean(gaps > 0)),
        "tied": float(np.mean(gaps == 0)),
    }


def agreement(view: View, gold: Sequence[Sequence[float]] | None) -> Json | None:
    """How far the annotators of pairs agree: with each other, with gold, and beyond chance.

    Which completion of a pair is called chosen follows from the votes, so that votes coded as "chosen" would agree by
    their very name; alpha is that of `_alpha`, which does not hang on the names.
    """
    rows: Mapping[int, tuple[bool, ...]] = {
        i: record.votes for i, record in enumerate(view.records) if isinstance(record, Pair) and record.votes
    }
    several = {i: votes for i, votes in rows.items() if len(votes) > 1}
    if not rows:
        return None
    agreed = [float(np.mean([a == b for a, b in combinations(votes, 2)])) for votes in several.values()]
    one_mind = [len(set(votes)) == 1 for votes in several.values()]
    prompts = [view.prompts[i] for i in several]
    shares: dict[str, Sequence[float]] = {"pairwise": agreed, "unanimous": one_mind} if several else {}
    known = {name: mean_by_prompt(values, prompts, name, bounds=(0, 1)) for name, values in shares.items()}
    return {
        "annotators": max(len(votes) for votes in rows.values()),
        "pairs": len(rows),
        **{name: known[name].value if several else None for name in ("unanimous", "pairwise")},
        **{f"{name}_low": found.low for name, found in known.items()},
        **{f"{name}_high": found.high for name, found in known.items()},
        "with_gold": None if gold is None else _with_gold(rows, gold),
        "alpha": _alpha(list(several.values())) if several else None,
    }


def _alpha(votes: Sequence[Sequence[bool]]) -> float:
    """Krippendorff's alpha of pairs with two votes or more, where nothing tells the two completions apart.

    `1 - (n - 1) / n * D_o / (1/2)` with n votes in all and `D_o = sum_i 2 t_i f_i / (k_i - 1) / n`, where `t_i` of the
    `k_i` votes on pair i are for one completion and `f_i` for the other. It is his formula for nominal data ("Computing
    Krippendorff's Alpha-Reliability", 2011, section C) on coincidences that are the mean over both ways to code each
    pair: either code then has n / 2 of the votes, and two votes of different pairs are as likely to differ as to agree.
    """
    n = sum(map(len, votes))
    observed = sum(2 * sum(each) * (len(each) - sum(each)) / (len(each) - 1) for each in votes) / n
    return 1 - (n - 1) / n * 2 * observed


def _with_gold(rows: Mapping[int, tuple[bool, ...]], gold: Sequence[Sequence[float]]) -> float | None:
    """The share of votes for the completion of the higher gold reward; pairs that gold holds equal are left out."""
    known = {i: gold[i][0] - gold[i][1] for i in rows if gold[i][0] != gold[i][1]}
    found = [vote == (gap > 0) for i, gap in known.items() for vote in rows[i]]
    return float(np.mean(found)) if found else None
