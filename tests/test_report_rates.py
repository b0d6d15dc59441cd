"""Win rates of every kind, against what lies in the verdict files and against small cases worked by hand."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from alignbench.matches import match_file, read_match
from alignbench.report import judging, write_report
from alignbench.results import read_json, read_jsonl, write_json, write_jsonl
from tests.synthetic import CHOSEN, Synthetic, player_file
from tests.synthetic_judging import match_path, write_verdicts
from tests.synthetic_store import as_markdown, rows_of, summarise, write_store

Json = dict[str, Any]
WHAT = Synthetic(prompts=12, pairs=6, temperatures=(0.25, 0.7), best_of=(4, 16), failed=[("kto", 1)])
POINTS = {"first": 1.0, "second": 0.0}


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    folder = write_store(tmp_path_factory.mktemp("store"), WHAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        return folder, write_report(folder)


def rate_of(folder: Path, judge: str, player: str, opponent: str, t: float = 1.0) -> float:
    """The win rate from the files alone, over the seeds that have one."""
    scores = []
    for seed in WHAT.seeds:
        first, second = player_file(WHAT, player, seed, t), player_file(WHAT, opponent, seed)
        path = match_file(folder / f"verdicts/{judge}-j1", first, second)
        if path.exists():
            found = read_json(path)
            won = [(POINTS[f] + POINTS[s]) / 2 for f, s, _ in found["verdicts"]]
            scores.append(np.mean(won) if found["first"] == first else 1 - np.mean(won))
    return float(np.mean(scores))


def all_wins(what: Synthetic, wins: int) -> list[list[Any]]:
    return [["first", "first", None]] * wins + [["second", "second", None]] * (what.prompts - wins)


# head to head


def test_the_matrix_holds_every_two_players_both_ways(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    for judge in ("gold", "reward", "lm"):
        found = summary["head_to_head"][judge]
        assert found["players"] == ["dpo", "kto", "ppo", "reference"]
        for i, j in itertools.combinations(range(4), 2):
            ours, theirs = found["win_rate"][i][j], found["win_rate"][j][i]
            assert ours["value"] == pytest.approx(rate_of(folder, judge, found["players"][i], found["players"][j]))
            assert ours["value"] + theirs["value"] == pytest.approx(1)
            assert ours["low"] + theirs["high"] == ours["high"] + theirs["low"] == pytest.approx(1)
        assert all(found["win_rate"][i][i] is None for i in range(4))
    assert summary["head_to_head"]["gold"]["win_rate"][0][1]["per_seed"][1] is None  # kto failed there
    assert summary["head_to_head"]["gold"]["strengths_seeds"] == [0, 2]


def test_strengths_are_the_likeliest(tmp_path: Path) -> None:
    """Against a direct maximisation of the Bradley-Terry likelihood; the ridge of a tenth moves them by little."""
    what = Synthetic(specs=("a", "b"), seeds=(0,), prompts=200, pairs=2)
    folder = write_store(tmp_path, what)
    won = {("a", "b"): 150, ("a", "reference"): 120, ("b", "reference"): 90}
    for (first, second), wins in won.items():
        write_verdicts(folder, what, "gold", first, second, 0, all_wins(what, wins))
    found = summarise(folder)["head_to_head"]["gold"]

    def loss(x: Any) -> float:
        strength = dict(zip(("a", "b", "reference"), (x[0], x[1], -x[0] - x[1]), strict=True))
        p = {pair: 1 / (1 + math.exp(strength[pair[1]] - strength[pair[0]])) for pair in won}
        return -sum(w * math.log(p[pair]) + (200 - w) * math.log(1 - p[pair]) for pair, w in won.items())

    best = scipy.optimize.minimize(loss, [0.0, 0.0]).x
    shown = [each["value"] for each in found["strengths"]]
    assert shown == pytest.approx([*best, -best.sum()], abs=2e-3)
    assert all(each["low"] < each["value"] < each["high"] for each in found["strengths"])


def test_without_comparisons_of_two_specs_there_is_no_matrix(tmp_path: Path) -> None:
    what = Synthetic(specs=("a", "b"), seeds=(0,), prompts=6, pairs=2, head_to_head=False)
    assert summarise(write_store(tmp_path, what))["head_to_head"] == {}


def test_a_judge_that_has_judged_a_part_says_so(tmp_path: Path) -> None:
    what = Synthetic(prompts=8, pairs=4, seeds=(0, 1))
    folder = write_store(tmp_path, what)
    gone = [("dpo", "reference", 1), *itertools.product(["kto"], ["reference"], [0, 1]), ("dpo", "kto", 0)]
    gone += [("dpo", "kto", 1), *itertools.product(["kto"], ["ppo"], [0, 1])]
    for player, opponent, seed in gone:
        match_path(folder, what, "lm", player, opponent, seed).unlink()
    summary = write_report(folder)
    lm = summary["judges"]["lm"]
    assert lm["win_rate"]["kto"] is None
    assert lm["win_rate"]["dpo"]["per_seed"][1] is None and lm["win_rate"]["dpo"]["n"] == 8
    assert lm["missing"] == [
        "dpo against the reference, seed 1", "kto against the reference, seed 0, 1", "dpo against kto, seed 0, 1",
        "kto against ppo, seed 0, 1",
    ]  # fmt: skip
    assert summary["head_to_head"]["lm"]["win_rate"][0][1] is None
    assert summary["head_to_head"]["lm"]["strengths"] == [None] * 4  # kto met nobody
    assert summary["head_to_head"]["gold"]["strengths_seeds"] == [0, 1]
    assert "lm has not compared kto against the reference, seed 0, 1" in as_markdown(summary)
    assert rows_of(summary)["kto"]["judge_agreement"] is None
    assert summary["judges"]["gold"]["missing"] == []


def test_what_no_judge_has_compared_is_missing_too(tmp_path: Path) -> None:
    """Of what the run compares and whose files are there; and nothing else."""
    what = Synthetic(specs=("dpo", "kto"), prompts=6, pairs=4, seeds=(0, 1), temperatures=(0.5,), best_of=(4,))
    folder = write_store(tmp_path, what)
    (folder / CHOSEN).parent.mkdir(parents=True)
    (folder / CHOSEN).write_text("")
    kept = [match_path(folder, what, "lm", "kto", "reference", seed).name for seed in what.seeds]
    for path in (folder / "verdicts").glob("*/*.json"):
        if path.parent.name != "lm-j1" or path.name not in kept:
            path.unlink()
    (folder / player_file(what, "best-of-4", 1)).unlink()
    rates = ["dpo against the {}, seed 0, 1", "dpo at temperature 0.5 against the {}, seed 0, 1"]
    rates += [line.replace("dpo", "kto") for line in rates]
    end, each_other = "best-of-4 against the {}, seed 0", "dpo against kto, seed 0, 1"
    reference = [*rates, "the reference at temperature 0.5 against the {}, seed 0, 1", end]
    by = {
        "reference": [line.format("reference") for line in reference],
        "chosen": [
            line.format("chosen") for line in (*rates, "the reference against the {}, seed 0, 1", *reference[4:])
        ],
        "each-other": [each_other],
    }
    expected: set[str]
    for against in (("reference", "chosen", "each-other"), ("chosen",), ("reference", "each-other")):
        write_json(folder / "run.json", read_json(folder / "run.json") | {"config": {"against": list(against)}})
        judges = summarise(folder)["judges"]
        expected = {line for kind in against for line in by[kind]} | {"the held-out pairs"}
        # what one judge has compared, every judge might have
        assert set(judges["gold"]["missing"]) == expected | {"kto against the reference, seed 0, 1"}
        assert set(judges["lm"]["missing"]) == expected - {"kto against the reference, seed 0, 1"}
        assert len(judges["gold"]["missing"]) == len(set(judges["gold"]["missing"]))


def test_unanswered_questions_leave_no_rate_and_are_counted(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo", "kto"), prompts=10, pairs=4, seeds=(0,))
    folder = write_store(tmp_path, what)
    triples = [["first", "unanswered", None], ["refused", "tie", None], *all_wins(what, 8)[:8]]
    write_verdicts(folder, what, "gold", "dpo", "reference", 0, triples)
    summary = summarise(folder)
    row, gold = rows_of(summary)["dpo"], summary["judges"]["gold"]
    assert row["win_rate"]["value"] is None and row["win_rate"]["bounds"] == pytest.approx([8.75 / 10, 9.75 / 10])
    why = "10.0% of the answers of judge gold cannot be used (5.0% refused, 5.0% unanswered)"
    assert why in row["win_rate"]["reason"]
    # over both rows: 40 answers
    assert (gold["unanswered"], gold["refused"], gold["ties"], gold["unusable"]) == (1 / 40, 1 / 40, 1 / 40, 2 / 40)
    assert (gold["answers"]["unanswered"], gold["answers"]["refused"]) == (1, 1)
    assert "dpo has no win rate (10.0% of the answers" in summary["verdict"]["sentence"]
    assert row["win_rate_length_controlled"] is None
    assert summary["head_to_head"]["gold"]["strengths"][0] is not None  # it still played against kto


# temperatures


def test_rates_by_temperature_are_those_of_the_files(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    for judge, against in itertools.product(("gold", "lm"), ("reference", "chosen")):
        found = summary["temperatures"][judge][against]
        assert set(found) == {"dpo", "kto", "ppo", "reference"}
        for player, t in itertools.product(found, (0.25, 0.7, 1.0)):
            if player == against:
                assert set(found[player]) == {"0.25", "0.7"}  # at 1 it would play against itself
                continue
            assert found[player][f"{t:g}"]["value"] == pytest.approx(rate_of(folder, judge, player, against, t))
    assert (
        summary["temperatures"]["gold"]["reference"]["dpo"]["1"]["value"]
        == rows_of(summary)["dpo"]["win_rate"]["value"]
    )


# baselines


def test_baselines_have_their_rates_means_and_a_bound_for_a_kl(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    reference, _, best = summary["baselines"]
    assert (reference["spec"], reference["n"], reference["kl"]["value"], reference["kl"]["bound"]) == (
        "reference",
        None,
        0,
        False,
    )
    assert reference["win_rate"] is None
    assert reference["win_rate_chosen"]["value"] == pytest.approx(rate_of(folder, "gold", "reference", "chosen"))
    assert (best["spec"], best["n"], best["kl"]["bound"]) == ("best-of-16", 16, True)
    assert best["kl"]["value"] == pytest.approx(math.log(16) - 15 / 16)
    rows = [row for seed in WHAT.seeds for row in read_jsonl(folder / player_file(WHAT, "best-of-16", seed))]
    for name in ("reward", "proxy_reward", "length"):
        assert best[name]["value"] == pytest.approx(np.mean([row[name] for row in rows]))
    assert best["unfinished"]["value"] == pytest.approx(1 / 12)
    for judge in ("gold", "reward", "lm"):
        assert best["judges"][judge]["win_rate"]["value"] == pytest.approx(
            rate_of(folder, judge, "best-of-16", "reference")
        )
    text = (folder / "table.md").read_text()
    assert f"| best-of-16 (baseline) | {best['win_rate']['value']:.3f} [" in text
    assert "| ≤ 1.84, bound |" in text
    header, *lines = (folder / "table.csv").read_text().splitlines()
    place = header.split(",").index("kl_is_a_bound")
    assert [line.split(",")[place] for line in lines] == ["False"] * 4 + ["True"] * 2


def test_a_missing_baseline_is_left_out(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0, 1), prompts=6, pairs=2, best_of=(4, 16))
    folder = write_store(tmp_path, what)
    (folder / player_file(what, "best-of-4", 0)).unlink()
    for seed in what.seeds:
        (folder / player_file(what, "best-of-16", seed)).unlink()
        for judge, opponent in itertools.product(what.judges, ("reference", "chosen")):
            match_path(folder, what, judge, "best-of-16", opponent, seed).unlink()
    summary = summarise(folder)
    assert [row["spec"] for row in summary["baselines"]] == ["reference", "best-of-4"]
    assert summary["baselines"][1]["reward"]["per_seed"][0] is None
    rows = read_jsonl(folder / player_file(what, "reference", 0))
    write_jsonl(folder / player_file(what, "best-of-4", 0), [row | {"reward": None} for row in rows])
    assert summarise(folder)["baselines"][1]["reward"] is None


def test_turned_matches_are_read_turned(reported: tuple[Path, Json]) -> None:
    folder, _ = reported
    names = [player_file(WHAT, spec, 0) for spec in ("dpo", "ppo")]
    ours, theirs = (read_match(folder / "verdicts/lm-j1", *order) for order in (names, names[::-1]))
    assert ours is not None and theirs is not None
    assert [v.score for v in ours.verdicts] == pytest.approx([1 - v.score for v in theirs.verdicts])
