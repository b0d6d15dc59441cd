"""The judges' figures against small cases worked by hand, and what their intervals are over."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignbench import stats
from alignbench.report import judging
from alignbench.report.contests import Contests
from alignbench.report.habits import judges_of
from alignbench.report.judge_notes import judge_lines
from alignbench.report.store import read_store
from alignbench.results import read_jsonl, write_jsonl
from tests.synthetic import Synthetic, player_file
from tests.synthetic_judging import write_held_out, write_verdicts
from tests.synthetic_store import rows_of, summarise, write_store

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough where a test looks at a width."""
    monkeypatch.setattr(judging, "RESAMPLES", 25)


# the intervals of the judges' own figures


FIGURES: dict[str, Callable[[Json], Json]] = {
    "raw": lambda lm: lm["against"]["gold"]["raw"],
    "kappa": lambda lm: lm["against"]["gold"]["kappa"],
    "decided": lambda lm: lm["against"]["gold"]["without_ties"]["raw"],
    "bias": lambda lm: lm["self"]["position_bias"],
    "self": lambda lm: lm["self"]["self_agreement"],
    "longer": lambda lm: lm["longer_wins"],
}


def judged(folder: Path, what: Synthetic, right: Callable[[int], Any], orders: int = 1) -> dict[str, Json]:
    """The figures of an lm judge that is right about gold with the chances `right(seed)`, `[P]`.

    The longer always wins by gold, and one answer of ten is a tie. With one order the other is unparsed; with two
    they are alike.
    """
    write_store(folder, what)
    for seed, spec in itertools.product(what.seeds, what.specs):
        rng = np.random.default_rng([0, *(seed,) * (right is not same)])
        theirs = np.where(rng.uniform(size=what.prompts) < 0.5, "first", "second")
        said = np.where(
            rng.uniform(size=what.prompts) < right(seed), theirs, np.where(theirs == "first", "second", "first")
        )
        said = np.where(rng.uniform(size=what.prompts) < 0.1, "tie", said)
        swapped = np.where(rng.uniform(size=what.prompts) < 0.6, said, "first")
        for judge, answers in (("gold", (theirs, theirs)), ("lm", (said, said if orders == 2 else swapped))):
            triples = [[str(a), str(b), None] for a, b in zip(*answers, strict=True)]
            write_verdicts(folder, what, judge, spec, "reference", seed, triples)
        path = folder / player_file(what, spec, seed)
        rows = [
            row | {"completion": "x" * (30 if won == "first" else 3)}
            for row, won in zip(read_jsonl(path), theirs, strict=True)
        ]
        write_jsonl(path, rows)
    quality = judges_of(Contests(read_store(folder)))["lm"]
    return {name: figure(quality) for name, figure in FIGURES.items()}


def same(_: int) -> float:
    """Every seed gives the same answers."""
    return 0.7


def width(found: Json) -> float:
    return float(found["high"] - found["low"])


def test_the_same_answers_again_make_no_interval_narrower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tripled seeds, three specs that answer alike and both orders are still the prompts of one."""
    monkeypatch.setattr(judging, "RESAMPLES", 400)
    one = judged(tmp_path / "one", Synthetic(specs=("a",), seeds=(0,), prompts=80, pairs=2), same)
    seeds = judged(tmp_path / "seeds", Synthetic(specs=("a",), seeds=(0, 1, 2), prompts=80, pairs=2), same)
    specs = judged(tmp_path / "specs", Synthetic(specs=("a", "b", "c"), seeds=(0,), prompts=80, pairs=2), same)
    for name, found in one.items():
        for other in (seeds[name], specs[name]):
            assert other["value"] == pytest.approx(found["value"])
            assert width(other) / width(found) == pytest.approx(1, abs=0.15), name
            assert other["n"] == 3 * found["n"]


def test_seeds_that_differ_widen_the_intervals_of_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 400)
    what = Synthetic(specs=("a",), prompts=80, pairs=2)
    apart = judged(tmp_path / "apart", what, lambda seed: (0.5, 0.95, 0.5)[seed])
    for name, found in apart.items():
        if name == "kappa":
            assert "by prompt, conditional on these seeds" in found["method"]
        else:
            assert "crossed random effects" in found["method"], name
    for name in ("raw", "decided", "longer"):
        assert width(apart[name]) > 0.4, name  # by prompt alone, of 80 prompts and three seeds: about .12


def test_the_mean_over_prompts_and_seeds_by_hand() -> None:
    """Full cells give `stats.interval` of their means; cells left out give the ratio, and its value is the pooled."""
    rng = np.random.default_rng(3)
    cells = rng.uniform(size=(2, 40, 3)) < [0.5, 0.8, 0.6]  # orders, prompts, seeds
    prompts, seeds = (np.broadcast_to(x, cells.shape).ravel() for x in (np.arange(40)[:, None], np.array([7, 8, 9])))
    values = cells.ravel().astype(np.float64)
    of = judging.Ratings(values, np.ones(240), prompts, seeds)
    found = judging.mean(values, of, "test", (0, 1))
    expected = stats.interval(cells.mean(axis=0), rng, bounds=(0, 1)).as_dict()
    assert found == {
        **expected,
        "low": pytest.approx(expected["low"]),
        "high": pytest.approx(expected["high"]),
        "n": 240,
    }
    kept = (prompts != 5) & ((prompts != 6) | (seeds == 8)) & (rng.uniform(size=240) < 0.8)
    some = judging.mean(values[kept], of.where(kept), "test", (0, 1))
    assert some["value"] == pytest.approx(values[kept].mean()) and some["n"] == kept.sum()
    assert width(some) / width(found) == pytest.approx(1, abs=0.3) and 0 < some["low"] < some["high"] < 1


@pytest.fixture
def held_out(tmp_path: Path) -> Json:
    """Four held-out pairs worked by hand, beside a run of one spec."""
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=4))
    votes = [[True, True], [True, False], [False, False], [True, True]]
    triples = {
        # `reward` prefers chosen three times of four, `lm` names whatever it is shown first
        "reward": [["first", "first", 1.0]] * 3 + [["second", "second", -1.0]],
        "lm": [["first", "second", 0.0]] * 4,
    }
    write_held_out(folder, votes, [1.0, 0.5, -0.2, 2.0], triples)
    return summarise(folder)


def test_agreement_on_held_out_pairs_by_hand(held_out: Json) -> None:
    summary = held_out
    human = summary["human_human"]
    assert human["raw"]["value"] == pytest.approx(3 / 4)
    assert human["kappa"]["value"] == pytest.approx(1 / 2)  # chance is 1/2 in positions
    assert summary["human_gold"]["raw"]["value"] == pytest.approx(7 / 8)
    reward = summary["judges"]["reward"]["held_out"]
    assert reward["against_gold"]["raw"]["value"] == pytest.approx(2 / 4)
    assert reward["against_labels"]["raw"]["value"] == pytest.approx(3 / 8)  # votes it shares: 2, 1, 0 and 0 of 8
    assert reward["self"]["position_bias"]["value"] == 0
    assert summary["judges"]["gold"]["held_out"]["against_labels"] is None


def test_a_judge_that_names_what_it_reads_first_is_found_out(held_out: Json) -> None:
    summary = held_out
    lm = summary["judges"]["lm"]["held_out"]
    assert lm["self"]["position_bias"]["value"] == 1
    assert lm["self"]["self_agreement"]["value"] == 0
    assert lm["against_gold"]["raw"]["value"] == pytest.approx(1 / 2)
    assert lm["against_gold"]["kappa"]["value"] == pytest.approx(0)


def test_perfect_agreement_has_an_interval(tmp_path: Path) -> None:
    """Four pairs of four: the exact binomial bound, .025^(1/4) = .398; both orders of a pair are no eight chances."""
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=4))
    write_held_out(folder, [[True]] * 4, None, {"reward": [["first", "first", 1.0]] * 4})
    raw = summarise(folder)["judges"]["reward"]["held_out"]["against_labels"]["raw"]
    assert (raw["value"], raw["high"], raw["n"]) == (1, 1, 8)
    assert raw["low"] == pytest.approx(0.025**0.25)


def test_ties_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=4))
    verdicts = {
        "reward": [["tie", "tie", 0.0], ["first", "first", 1.0], ["first", "first", 1.0], ["second", "second", -1.0]]
    }
    write_held_out(folder, [[True]] * 4, None, verdicts)
    found = summarise(folder)["judges"]["reward"]["held_out"]["against_labels"]
    assert found["raw"]["value"] == pytest.approx(2 / 4)
    assert found["without_ties"]["raw"]["value"] == pytest.approx(2 / 3)
    assert found["ties"] == pytest.approx(1 / 4)


def test_an_unusable_answer_agrees_with_nothing(tmp_path: Path) -> None:
    """Not with a tie of gold either, although it scores as one."""
    what = Synthetic(specs=("dpo",), seeds=(0,), prompts=4, pairs=2)
    folder = write_store(tmp_path, what)
    ours = [["unparsed", "refused"], ["tie", "tie"], ["first", "first"], ["first", "unparsed"]]
    gold = [["tie", "tie"], ["tie", "tie"], ["first", "first"], ["first", "first"]]
    for judge, outcomes in (("lm", ours), ("gold", gold)):
        write_verdicts(folder, what, judge, "dpo", "reference", 0, [[*pair, None] for pair in outcomes])
    summary = summarise(folder)
    assert rows_of(summary)["dpo"]["judge_agreement"]["value"] == pytest.approx(5 / 8)
    found = summary["judges"]["lm"]["against"]["gold"]
    assert found["raw"]["value"] == pytest.approx(5 / 8)
    assert found["ties"] == pytest.approx(5 / 8)
    assert found["without_ties"]["raw"]["value"] == 1
    assert summary["judges"]["lm"]["unusable"] == pytest.approx(3 / 8)


def test_a_position_bias_without_a_contradiction_is_shown(tmp_path: Path) -> None:
    """First for what is shown first, a tie else: the orders name no two winners, and the bias is 1/2 on two of four."""
    what = Synthetic(specs=("dpo",), seeds=(0,), prompts=4, pairs=2)
    folder = write_store(tmp_path, what)
    for judge, second in (("lm", "tie"), ("reward", "first")):
        triples = [["first", second, None]] * 2 + [["first", "first", None], ["second", "second", None]]
        write_verdicts(folder, what, judge, "dpo", "reference", 0, triples)
    summary = summarise(folder)
    assert summary["judges"]["lm"]["contradictions"] == 0
    lines = [line for line in judge_lines(summary) if "position bias" in line]
    assert len(lines) == 1 and lines[0].startswith("lm position bias: +0.250 [")
