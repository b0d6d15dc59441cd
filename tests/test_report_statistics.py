"""The summary's statistics on small cases worked by hand: tests, marks, lengths, frontiers, usage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignbench.judge import Usage
from alignbench.matches import Match, held_out_names, write_match
from alignbench.records import Verdict
from alignbench.report import judging
from alignbench.report.marks import mark_lines, with_marks
from alignbench.results import read_json, read_jsonl, write_json, write_jsonl
from tests.synthetic import HELD_OUT, Synthetic, cell_folder, player_file
from tests.synthetic_judging import match_path, write_held_out, write_verdicts
from tests.synthetic_store import as_markdown, printed, rows_of, summarise, without_style, write_store

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


def wins(outcomes: str) -> list[list[Any]]:
    """`++-=`: won, won, lost, tied."""
    words = {"+": "first", "-": "second", "=": "tie"}
    return [[words[letter]] * 2 + [None] for letter in outcomes]


def evaluations(folder: Path, what: Synthetic, spec: str, seed: int) -> Path:
    return folder / cell_folder(what, spec) / f"seed-{seed}" / "evaluations" / "e1.json"


# tests and marks


def test_mcnemar_counts_the_prompts_that_differ(tmp_path: Path) -> None:
    """Nine prompts differ, eight in favour of a, and the ninth by half a win: p = 2 (1 + 9) / 2^9 all the same."""
    what = Synthetic(specs=("a", "b"), seeds=(0,), prompts=12, pairs=2)
    folder = write_store(tmp_path, what)
    write_verdicts(folder, what, "gold", "a", "reference", 0, wins("++++++++=++-"))
    write_verdicts(folder, what, "gold", "b", "reference", 0, wins("--------+++-"))
    (found,) = summarise(folder)["comparisons"]
    assert found["mcnemar"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert found["probability_of_improvement"] is None


def test_five_seeds_have_a_shape(tmp_path: Path) -> None:
    what = Synthetic(specs=("a", "b"), seeds=(0, 1, 2, 3, 4), prompts=4, pairs=2)
    folder = write_store(tmp_path, what)
    rates = {"a": ["+---", "++--", "+++-", "++++", "++++"], "b": ["----", "+---", "++--", "++--", "+++-"]}
    for spec, by_seed in rates.items():
        for seed, outcomes in enumerate(by_seed):
            write_verdicts(folder, what, "gold", spec, "reference", seed, wins(outcomes))
    summary = summarise(folder)
    (found,) = summary["comparisons"]
    # a: 1 2 3 4 4 of four, b: 0 1 2 2 3. Of 25 pairs a wins 1 + 2 + 4 + 5 + 5 and ties 1 + 2 + 1.
    assert found["probability_of_improvement"]["value"] == pytest.approx((17 + 0.5 * 4) / 25)
    assert rows_of(summary)["a"]["interquartile_mean"]["value"] == pytest.approx((2 + 3 + 4) / 12)
    assert found["mcnemar"] is None
    assert "better with probability 0.76" in without_style(printed(summary))
    few = Synthetic(specs=("a", "b"), seeds=(0, 1, 2, 3), prompts=4, pairs=2)
    summary = summarise(write_store(tmp_path / "few", few))
    assert summary["rows"][0]["interquartile_mean"] is summary["comparisons"][0]["probability_of_improvement"] is None


def test_marks_say_whom_a_row_beats(tmp_path: Path) -> None:
    what = Synthetic(specs=("good", "fair", "bad"), seeds=(0,), prompts=40, pairs=2)
    folder = write_store(tmp_path, what)
    for spec, outcomes in (("good", "+" * 36 + "-" * 4), ("fair", "+" * 34 + "-" * 6), ("bad", "+" * 10 + "-" * 30)):
        write_verdicts(folder, what, "gold", spec, "reference", 0, wins(outcomes))
    summary = summarise(folder)
    rows = rows_of(summary)
    assert [rows[spec]["significant_over"] for spec in what.specs] == [["bad"], ["bad"], []]
    assert [rows[spec]["better_than_reference"] for spec in what.specs] == [True, True, False]
    assert rows["bad"]["against_reference"]["worse"]
    assert [row["marks"] for row in with_marks(summary)] == ["bad", "bad", ""]
    # exact sign-flip of two prompts that differ of forty: p = 2 / 2^2
    where = "at n = 40 (40 prompts, conditional on seed 0)"
    expected = f"good and fair cannot be told apart {where}, p = .50; both beat bad, p < .001. "
    assert summary["verdict"]["sentence"].startswith(expected)
    assert "| good | 0.900 [" in as_markdown(summary) and " | bad, reference | " in as_markdown(summary)
    assert summary["comparisons"][0]["needed"]["level"] == pytest.approx(0.05 / 3)


def test_long_names_are_marked_by_letters() -> None:
    names = ["dpo:beta=0.1", "kto:beta=0.1", "ppo"]
    rows = [{"spec": name, "significant_over": names[:place][::-1]} for place, name in enumerate(names)]
    summary = {"rows": rows, "verdict": {"ranking": [{"spec": name, "tested": True} for name in names]}}
    assert [(row["marks"], row["letter"]) for row in with_marks(summary)] == [("", "a"), ("a", "b"), ("b, a", "c")]
    assert mark_lines(summary)[-1] == "letters: a dpo:beta=0.1, b kto:beta=0.1, c ppo"


def test_a_figure_does_not_move_because_another_is_added(tmp_path: Path) -> None:
    plain = Synthetic(specs=("a", "b"), seeds=(0,), prompts=20, pairs=4, head_to_head=False)
    rich = Synthetic(
        specs=("a", "b"), seeds=(0,), prompts=20, pairs=4, temperatures=(0.5,), best_of=(4,), capability=True
    )
    one, two = (summarise(write_store(tmp_path / name, what)) for name, what in (("one", plain), ("two", rich)))
    for ours, theirs in zip(one["rows"], two["rows"], strict=True):
        for name in ("win_rate", "win_rate_chosen", "win_rate_length_controlled", "kl", "reward", "judge_agreement"):
            assert ours[name] == theirs[name], name
    assert one["comparisons"] == two["comparisons"]


# length


def test_the_longer_wins_by_hand(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=4)
    folder = write_store(tmp_path, what)
    # in characters, as on held-out pairs: what the tokens are does not matter
    for player, lengths in (("dpo", [9, 9, 9, 5, 7, 9]), ("reference", [7, 7, 7, 7, 7, 7])):
        path = folder / player_file(what, player, 0)
        rows = [row | {"completion": "x" * n + " "} for row, n in zip(read_jsonl(path), lengths, strict=True)]
        write_jsonl(path, rows)
    # longer and won, longer and lost, longer and won, shorter and lost, equal, longer but undecided
    write_verdicts(folder, what, "gold", "dpo", "reference", 0, wins("+-+-+="))
    votes = [[True, True], [True, False], [False, False], [True, True]]
    triples = {"reward": wins("+-+=")}
    write_held_out(folder, votes, None, triples, [[30, 20], [20, 30], [30, 20], [20, 20]])
    summary = summarise(folder)
    assert summary["judges"]["gold"]["longer_wins"]["value"] == pytest.approx(3 / 4)
    # first longer and won, first shorter and lost, first longer and won; the last is a tie
    assert summary["judges"]["reward"]["held_out"]["longer_wins"]["value"] == 1
    # votes for the longer: 2 of 2, 1 of 2, 0 of 2; the last pair is equally long
    assert summary["labels_longer_wins"]["value"] == pytest.approx(3 / 6)


def test_equal_length_takes_away_what_length_has_given(tmp_path: Path) -> None:
    """A judge that names the longer: a, longer on 90 prompts of 100, wins .9, and one half at equal length."""
    what = Synthetic(specs=("a", "b"), seeds=(0,), prompts=100, pairs=2)
    folder = write_store(tmp_path, what)
    for spec, longer in (("a", 85), ("b", 15)):
        path = evaluations(folder, what, spec, 0)
        evaluation = read_json(path)
        sign = np.where(np.arange(100) < longer, 1, -1)
        evaluation["values"] |= {"length": (20 + 5 * sign).tolist(), "reference_length": [20] * 100}
        write_json(path, evaluation)
        flips = np.where(np.arange(100) % 10 == 0, -sign, sign)  # wrong one time of ten, so that the fit is finite
        outcomes = "".join("+" if each > 0 else "-" for each in flips)
        write_verdicts(folder, what, "gold", spec, "reference", 0, wins(outcomes))
    summary = summarise(folder)
    rows = rows_of(summary)
    assert rows["a"]["win_rate"]["value"] > 0.75 and rows["b"]["win_rate"]["value"] < 0.25
    for spec in ("a", "b"):
        assert rows[spec]["win_rate_length_controlled"]["value"] == pytest.approx(0.5, abs=0.08)
    assert summary["judges"]["gold"]["length_slope"]["low"] > 0


def test_a_spec_that_is_always_longer_is_not_identified(tmp_path: Path) -> None:
    what = Synthetic(specs=("a", "b"), seeds=(0, 1), prompts=20, pairs=2)
    folder = write_store(tmp_path, what)
    for seed in (0, 1):
        evaluation = read_json(evaluations(folder, what, "a", seed))
        evaluation["values"]["length"] = [99] * 20
        write_json(evaluations(folder, what, "a", seed), evaluation)
    summary = summarise(folder)
    found = rows_of(summary)["a"]["win_rate_length_controlled"]
    assert found["value"] is None and found["reason"].startswith("not identified: 100% of the pairs longer")
    text = as_markdown(summary)
    assert "a has no win rate at equal length: not identified: 100%" in text and text.count("not identified") == 1
    assert rows_of(summary)["b"]["win_rate_length_controlled"]["value"] is not None


# frontiers


def write_curve(folder: Path, what: Synthetic, spec: str, points: list[tuple[float, float]]) -> None:
    """Checkpoints of these (KL, gold reward) for every seed, the first of them at step 0."""
    for seed in what.seeds:
        path = folder / cell_folder(what, spec) / f"seed-{seed}" / "metrics.jsonl"
        rows = [row for row in read_jsonl(path) if "evaluation" not in row]
        for i, (kl, reward) in enumerate(points):
            evaluation = {"kl": kl, "reward": reward, "proxy_reward": kl, "length": 20.0, "n": 6}
            rows.append({"step": 10 * i, "completions": 100 * i, "evaluation": evaluation})
        write_jsonl(path, rows)


def test_area_and_reward_at_equal_kl_by_hand(tmp_path: Path) -> None:
    """Rewards .5 KL and .2 KL, measured from 1 to 4 and .75 to 3: from 1 to 3 they are .6 apart; at 3 1.5 and .6."""
    what = Synthetic(specs=("a", "b"), seeds=(0, 1), prompts=6, pairs=2)
    folder = write_store(tmp_path, what)
    for spec, slope, end in (("a", 0.5, 4.0), ("b", 0.2, 3.0)):
        write_curve(folder, what, spec, [(end * i / 4, slope * end * i / 4) for i in range(5)])
    summary = summarise(folder)
    (found,) = summary["comparisons"]
    assert found["frontier_area"]["value"] == pytest.approx((0.5 - 0.2) * (1 + 3) / 2)
    assert (found["frontier_area"]["kl"], found["frontier_area"]["seeds"]) == ([1.0, 3.0], [0, 1])
    assert "at equal KL, 1.0 to 3.0 nats, +0.60 gold reward" in " ".join(without_style(printed(summary, 200)).split())
    assert found["frontier_area"]["reward"] == "reward"
    assert summary["reward_at_kl"]["at"] == pytest.approx(3.0)
    assert summary["reward_at_kl"]["specs"]["a"]["value"] == pytest.approx(1.5)
    assert summary["reward_at_kl"]["specs"]["b"]["value"] == pytest.approx(0.6)
    assert "gold reward at a KL of 3 nats (all have measured 1.0 to 3.0): a 1.50, b 0.60" in as_markdown(summary)


def test_where_no_policy_was_measured_nothing_is_equal(tmp_path: Path) -> None:
    """The first trained policy of a has KL 2, b ends at 1: the line from the reference to the first is no measurement.

    Ending at 2.04 instead, b has KLs in common with a, though none that two digits could name.
    """
    what = Synthetic(specs=("a", "b"), seeds=(0, 1), prompts=6, pairs=2)
    folder = write_store(tmp_path, what)
    write_curve(folder, what, "a", [(0.0, 0.0), (2.01, 2.0), (4.0, 2.5)])
    write_curve(folder, what, "b", [(0.0, 0.0), (0.5, 0.4), (1.0, 0.8)])
    summary = summarise(folder)
    (found,) = summary["comparisons"]
    assert found["frontier_area"] is summary["reward_at_kl"]["at"] is None
    assert found["frontier_reason"] == summary["reward_at_kl"]["reason"] == "no common KL was measured"
    text = as_markdown(summary)
    assert "nothing at equal KL: no common KL was measured" in text
    assert "no gold reward at one KL of all specs: no common KL was measured" in text
    write_curve(folder, what, "b", [(0.0, 0.0), (0.5, 0.4), (2.04, 0.8)])
    found = summarise(folder)["reward_at_kl"]
    assert (found["at"], found["range"], found["specs"]["b"]["value"]) == (2.04, [2.01, 2.04], pytest.approx(0.8))


# usage


def test_usage_is_the_sum_over_all_matches(tmp_path: Path) -> None:
    used = Usage(questions=20, cached=5, retries=1, prompt_tokens=1000, completion_tokens=20, cost=0.5)
    what = Synthetic(specs=("dpo", "kto"), seeds=(0, 1), prompts=10, pairs=4, best_of=(4,), usage=used)
    folder = write_store(tmp_path, what)
    held_out = Match([Verdict("first", "first")] * 4, usage=used)
    write_match(folder / "verdicts/lm-j1", *held_out_names(HELD_OUT), held_out)
    summary = summarise(folder)
    # of a seed: dpo, kto, best-of-4 with reference and chosen, the reference with the chosen, dpo with kto
    matches = 2 * (3 * 2 + 1 + 1) + 1  # and the held-out pairs
    assert summary["judges"]["lm"]["usage"] == {
        "questions": 20 * matches, "cached": 5 * matches, "retries": matches, "prompt_tokens": 1000 * matches,
        "completion_tokens": 20 * matches, "cost": pytest.approx(0.5 * matches),
    }  # fmt: skip
    assert summary["judges"]["gold"]["usage"] is None
    assert sum(summary["judges"]["lm"]["answers"].values()) == 20 * (matches - 1) + 2 * 4
    shown = " ".join(without_style(printed(summary, 200)).split())
    answers = sum(summary["judges"]["lm"]["answers"].values())
    asked = (
        f"lm over the whole run: {answers} answers, 340 asked, repeats included (85 answered before), "
        "17k tokens read, 340 written, cost 8.5"
    )
    assert asked in shown


def test_problems_are_told_once(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0, 1), prompts=4, pairs=2)
    folder = write_store(tmp_path, what)
    for seed in what.seeds:
        path = match_path(folder, what, "lm", "dpo", "reference", seed)
        write_json(path, read_json(path) | {"problems": ["2 questions: the server said 500 | <b>"]})
    summary = summarise(folder)
    assert summary["judges"]["lm"]["problems"] == ["2 questions: the server said 500 | <b>"]
    assert "the server said 500 \\| &lt;b&gt;" in as_markdown(summary)


def test_holm_of_the_rows_against_the_reference(tmp_path: Path) -> None:
    """Six prompts of six won: p = 2/64 by sign-flip, which three such rows leave at .094 and one alone at .031."""
    for specs, better in ((("a",), True), (("a", "b", "c"), False)):
        what = Synthetic(specs=specs, seeds=(0,), prompts=6, pairs=2)
        folder = write_store(tmp_path / str(len(specs)), what)
        for spec in specs:
            write_verdicts(folder, what, "gold", spec, "reference", 0, wins("++++++"))
        row = rows_of(summarise(folder))["a"]
        assert row["against_reference"]["p"] == pytest.approx(2 / 64)
        assert row["against_reference"]["p_holm"] == pytest.approx(len(specs) * 2 / 64)
        assert row["better_than_reference"] is better
    for spec, outcomes in (("b", "+++++-"), ("c", "+++---")):  # 14/64 and 1 by sign-flip
        write_verdicts(folder, what, "gold", spec, "reference", 0, wins(outcomes))
    rows = rows_of(summarise(folder))
    assert [rows[spec]["against_reference"]["p"] for spec in "abc"] == pytest.approx([2 / 64, 14 / 64, 1])
    # the smallest three times, the next twice, the last once
    assert [rows[spec]["against_reference"]["p_holm"] for spec in "abc"] == pytest.approx([6 / 64, 28 / 64, 1])
