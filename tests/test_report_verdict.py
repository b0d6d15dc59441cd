"""The headline sentence: nothing that the comparisons do not say, and all of what they do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from alignbench.report.statements import everyone, listed, of_pairs
from alignbench.report.text import p_value
from alignbench.report.verdict import verdict

Json = dict[str, Any]
Pair = tuple[str, str]


def summary_of(
    rates: dict[str, float | None],
    p: dict[Pair, float],
    seeds: Sequence[int] = (0, 1, 2),
    gone: dict[str, Sequence[int]] | None = None,
    status: dict[str, str] | None = None,
) -> Json:
    """A summary with these win rates and Holm-adjusted p-values, of 256 prompts; `gone` are seeds that a spec lacks."""
    gone = gone or {}
    rows = []
    for spec, value in rates.items():
        per_seed = [None if seed in gone.get(spec, ()) else value for seed in seeds]
        n = 256 * sum(each is not None for each in per_seed)
        low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
        rate = None if value is None else {"value": value, "low": low, "high": high, "n": n, "per_seed": per_seed}
        rows.append({"spec": spec, "status": (status or {}).get(spec, "done"), "win_rate": rate})
    comparisons = [
        {
            "a": a,
            "b": b,
            "difference": {"value": (rates[a] or 0) - (rates[b] or 0)},
            "p_holm": value,
            "significant": value < 0.05,
            "prompts": 256,
            "seeds": [seed for seed in seeds if seed not in (*gone.get(a, ()), *gone.get(b, ()))],
        }
        for (a, b), value in p.items()
    ]
    return {"rows": rows, "comparisons": comparisons, "seeds": list(seeds), "headline": "gold"}


def over(better: Sequence[str], even: Sequence[str] = (), worse: Sequence[str] = ()) -> dict[str, Json]:
    return {
        spec: {"p_holm": 0.2 if spec in even else 0.01, "better": spec in better, "worse": spec in worse}
        for spec in (*better, *even, *worse)
    }


def said(summary: Json, against: dict[str, Json]) -> str:
    return str(verdict(summary, against)["sentence"])


def test_the_example_of_the_issue() -> None:
    p = {("dpo", "kto"): 0.003, ("dpo", "ppo"): 0.31, ("kto", "ppo"): 0.0004}
    found = verdict(summary_of({"dpo": 0.69, "kto": 0.6, "ppo": 0.7}, p), over(["dpo", "kto", "ppo"]))
    assert found["comparison"] == (
        "ppo and dpo cannot be told apart at n = 768 (256 prompts x 3 seeds), p = .31; both beat kto, p ≤ .003."
    )
    assert found["reference"] == "All three beat the reference, p ≤ .010."
    assert found["sentence"] == f"{found['comparison']} {found['reference']}"
    assert [(row["spec"], row["beats"]) for row in found["ranking"]] == [
        ("ppo", ["kto"]),
        ("dpo", ["kto"]),
        ("kto", []),
    ]


def test_a_partial_order_is_no_ranking() -> None:
    p = {("dpo", "kto"): 0.2, ("dpo", "ppo"): 0.12, ("kto", "ppo"): 0.01}
    text = said(summary_of({"dpo": 0.64, "kto": 0.6, "ppo": 0.7}, p), over(["ppo"], ["dpo", "kto"]))
    assert text == (
        "ppo beats kto at n = 768 (256 prompts x 3 seeds), p = .010; dpo cannot be told apart from either, p ≥ .12. "
        "ppo beats the reference, p = .010; dpo and kto cannot be told apart from it, p ≥ .20."
    )


def test_every_pair_of_a_chain_is_named() -> None:
    p = dict.fromkeys(itertools.combinations("abc", 2), 0.01)
    text = said(summary_of({"a": 0.8, "b": 0.7, "c": 0.3}, p), over(["a", "b"], [], ["c"]))
    assert text.startswith("a beats b and c at n = 768 (256 prompts x 3 seeds), p ≤ .010; b beats c, p = .010. ")
    assert text.endswith("a and b beat the reference, p ≤ .010; c loses to it, p = .010.")


def test_a_circle_of_claims_is_told_as_it_is() -> None:
    """Paired tests need not be transitive: a beats b, b beats c, and a and c cannot be told apart."""
    p = {("a", "b"): 0.01, ("b", "c"): 0.01, ("a", "c"): 0.2}
    text = said(summary_of({"a": 0.7, "b": 0.65, "c": 0.6}, p), over(["a", "b", "c"]))
    assert "a beats b at" in text and "b beats c," in text and "a and c cannot be told apart, p = .20." in text


def test_two_and_many_that_cannot_be_told_apart() -> None:
    pair = summary_of({"dpo": 0.6, "ppo": 0.7}, {("dpo", "ppo"): 0.31})
    assert said(pair, over([], ["dpo", "ppo"])) == (
        "ppo and dpo cannot be told apart at n = 768 (256 prompts x 3 seeds), p = .31. "
        "Neither can be told apart from the reference, p ≥ .20."
    )
    names = "abcdefgh"
    many = summary_of(dict.fromkeys(names, 0.6), dict.fromkeys(itertools.combinations(names, 2), 0.4))
    text = said(many, over(list(names)))
    assert text.startswith("No two of the eight specs can be told apart at n = 768")
    assert text.endswith("All eight beat the reference, p ≤ .010.")


@pytest.mark.parametrize(
    ("rate", "against", "verb"),
    [
        (0.63, over(["dpo"]), "beats"),
        (0.53, over([], ["dpo"]), "cannot be told apart from"),
        (0.31, over([], [], ["dpo"]), "loses to"),
    ],
)
def test_one_spec_is_held_against_the_reference(rate: float, against: dict[str, Json], verb: str) -> None:
    shown = f"win rate {rate:.3f} [{rate - 0.05:.3f}, {rate + 0.05:.3f}]."
    p = against["dpo"]["p_holm"]
    found = verdict(summary_of({"dpo": rate}, {}), against)
    assert found["sentence"] == f"dpo {verb} the reference at n = 768 (256 prompts x 3 seeds), p{p_value(p)}: {shown}"
    assert "p of the paired test, which decides; the interval beside it is 95 %" in found["basis"]


def test_one_seed_is_conditional_on_it() -> None:
    one = summary_of({"dpo": 0.6, "ppo": 0.7}, {("dpo", "ppo"): 0.01}, seeds=(4,))
    assert said(one, over(["dpo", "ppo"])).startswith(
        "ppo beats dpo at n = 256 (256 prompts, conditional on seed 4), p = .010. Both beat"
    )
    assert "(256 prompts, conditional on seed 4)" in said(summary_of({"dpo": 0.6}, {}, seeds=(4,)), over(["dpo"]))


def test_what_is_missing_is_said() -> None:
    p = {("dpo", "ppo"): 0.01}
    rates: dict[str, float | None] = {"dpo": 0.6, "ppo": 0.7, "kto": None}
    text = said(summary_of(rates, p, gone={"dpo": [1]}, status={"kto": "failed"}), over(["dpo", "ppo"]))
    assert "ppo beats dpo at n = 512 (256 prompts x 2 seeds)" in text
    assert text.endswith("kto has no result; dpo lacks seed 1.")
    rates = {"dpo": 0.6, "ppo": 0.7, "kto": 0.65}
    p = {("dpo", "ppo"): 0.3, ("ppo", "kto"): 0.3}
    apart = summary_of(rates, p, seeds=range(5), gone={"dpo": [0, 1], "kto": [2, 3, 4]})
    text = said(apart, over(["dpo", "ppo", "kto"]))
    assert "n = 512 to 768 (256 prompts x 2 to 3 seeds)" in text
    assert "dpo and kto have no seed in common and were not compared" in text
    assert "ppo cannot be told apart from kto or dpo" in text
    apart = summary_of(rates, p, seeds=range(5), gone={"dpo": [0], "kto": [2, 3, 4]})
    assert "dpo and kto have one seed in common and were not tested against each other" in said(apart, over([*rates]))
    none: dict[str, float | None] = {"dpo": 0.6, "ppo": 0.7}
    assert said(summary_of(none, {}, gone={"dpo": [0], "ppo": [1]}), over([*none])).startswith(
        "ppo and dpo were not tested against each other: they have one seed in common."
    )
    assert said(summary_of(none, {}, gone={"dpo": [0], "ppo": [1, 2]}), over(["dpo"])).startswith(
        "ppo and dpo were not compared: they have no seed in common."
    )


def test_one_seed_of_several_claims_nothing() -> None:
    rates: dict[str, float | None] = {"dpo": 0.6, "ppo": 0.7, "kto": 0.9}
    short = summary_of(rates, {("dpo", "ppo"): 0.01}, gone={"kto": [0, 2]})
    found = verdict(short, over(["dpo", "ppo"]))
    assert found["sentence"] == (
        "ppo beats dpo at n = 768 (256 prompts x 3 seeds), p = .010. ppo and dpo beat the reference, p ≤ .010. "
        "kto has one seed only (1): not tested against the others or the reference."
    )
    assert [(row["spec"], row["tested"]) for row in found["ranking"]] == [("kto", False), ("ppo", True), ("dpo", True)]
    alone = summary_of({"kto": 0.9}, {}, gone={"kto": [0, 2]})
    assert said(alone, {}) == (
        "kto was not tested against the reference at n = 256 (256 prompts, conditional on seed 1): "
        "win rate 0.900 [0.850, 0.950]. kto has one seed only (1): not tested against the reference."
    )
    assert verdict(alone, {})["basis"] == ""


@pytest.mark.parametrize(
    ("against", "expected"),
    [
        (over(["a"], ["b", "c", "d", "e"]), "a beats the reference, p = .010; b, c, d and e cannot be told apart from"),
        (over([], ["a", "b"], ["c"]), "a and b cannot be told apart from the reference, p ≥ .20; c loses to it"),
        (over([], [], ["a"]), "a loses to the reference, p = .010."),
        (over([], ["a", "b"]), "a and b cannot be told apart from the reference, p ≥ .20."),
        ({}, ""),
    ],
)
def test_those_that_were_not_tested_are_among_no_others(against: dict[str, Json], expected: str) -> None:
    """`f` was not: neither "all" nor "the other four" may take it in."""
    found = verdict(summary_of(dict.fromkeys("abcdef", 0.6), {}, gone={"f": [0, 1]}), against)["reference"]
    assert found.startswith(expected) and bool(found) == bool(expected)


def test_the_basis_names_both_families() -> None:
    p = {("dpo", "kto"): 0.003, ("dpo", "ppo"): 0.31, ("kto", "ppo"): 0.0004}
    text = verdict(summary_of({"dpo": 0.69, "kto": 0.6, "ppo": 0.7}, p), over(["dpo", "kto", "ppo"]))["basis"]
    assert "p after Holm over 3 pairs" in text and "p after Holm over 3 specs, apart from the pairs" in text


def test_without_a_headline_there_is_no_verdict() -> None:
    none = summary_of({"dpo": None, "ppo": None}, {}, status={"dpo": "failed", "ppo": "failed"})
    assert said(none, {}) == "No verdict: no spec has a result."
    unjudged = summary_of({"dpo": None}, {})
    assert said(unjudged, {}) == "No verdict: judge gold has compared no spec with the reference."
    reason = "12.0% of the answers of judge gold cannot be used (12.0% refused), above 5%"
    unjudged["rows"][0]["win_rate"] = {"value": None, "reason": reason, "per_seed": [None] * 3}
    assert said(unjudged, {}) == f"No verdict: {reason}."
    assert verdict(unjudged, {})["ranking"] == []


def claims(texts: Sequence[str], order: Sequence[str]) -> list[tuple[str, set[Pair]]]:
    """What each statement says: "beats" or "even" and the pairs that it says it of; "count" with as many pairs."""
    found: list[tuple[str, set[Pair]]] = []
    group: list[str] = []

    def names(text: str) -> list[str]:
        return [word for word in re.findall(r"\w+", text) if word in order]

    for text in texts:
        if match := re.fullmatch(r"(.*) beats? (.*)", text):
            who = group if re.match("both|all ", match[1]) else names(match[1])
            assert who and (" beats " in text) == (len(who) == 1)
            found.append(("beats", set(itertools.product(who, names(match[2])))))
        elif match := re.fullmatch(r"(\w+) cannot be told apart from (.*)", text):
            others = [o for o in order if o != match[1]] if re.match("either|any other", match[2]) else names(match[2])
            found.append(("even", {(match[1], other) for other in others}))
        elif number := re.match(r"the other (\d+) pairs|(\d+) more pair|one other pair", text):
            found.append(("count", {("", str(i)) for i in range(int(number[1] or number[2] or 1))}))
        else:
            group = list(order) if text.startswith("No two") else names(text)
            assert text.startswith("No two") or text == f"{listed(group)} cannot be told apart"
            found.append(("even", set(itertools.combinations(group, 2))))
    return found


@pytest.mark.parametrize("players", [2, 3, 4, 6])
def test_the_statements_say_each_pair_once_and_rightly(players: int) -> None:
    rng = np.random.default_rng(players)
    order = list("uvwxyz"[:players])
    pairs = list(itertools.combinations(order, 2))
    for _ in range(300):
        p = {frozenset(pair): float(rng.choice([0.001, 0.02, 0.3, 0.7])) for pair in pairs}
        won = {spec: [b for a, b in pairs if a == spec and p[frozenset((a, b))] < 0.05] for spec in order}
        statements = of_pairs(order, won, p)
        told = claims([each.text for each in statements], order)
        for kind, least in (("beats", False), ("even", True)):
            truth = {frozenset(pair) for pair in pairs if (p[frozenset(pair)] >= 0.05) == least}
            mine = [frozenset(pair) for name, some in told for pair in some if name == kind]
            assert len(set(mine)) == len(mine) and set(mine) <= truth
        # a pair is told, or it is among those that are counted
        assert sum(len(some) for _, some in told) == len(pairs)
        for each, (kind, some) in zip(statements, told, strict=True):
            values = [p[frozenset(pair)] for pair in some if kind != "count"]
            if values:  # the p that is shown is the one that speaks most against the statement
                assert each.p.endswith(p_value(max(values) if kind == "beats" else min(values)).split()[-1])


def test_words_for_groups() -> None:
    assert [everyone(count) for count in (2, 3, 9, 12)] == ["both", "all three", "all nine", "all 12"]
    assert listed(["a"]) == "a" and listed(["a", "b", "c"], "or") == "a, b or c"
