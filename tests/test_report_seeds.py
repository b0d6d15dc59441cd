"""What a report claims, and of which seeds it says that it rests on them, where some seeds are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignbench.report import judging
from alignbench.report.marks import with_marks
from alignbench.report.page_grids import build_grids
from alignbench.results import read_json, read_jsonl, write_json
from tests.synthetic import Synthetic, cell_folder, player_file
from tests.synthetic_judging import write_verdicts
from tests.synthetic_store import as_markdown, rows_of, summarise, write_store

Json = dict[str, Any]
WON, LOST, TIED = (["first", "first", None], ["second", "second", None], ["tie", "tie", None])


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


def test_one_seed_of_several_makes_no_claim(tmp_path: Path) -> None:
    """c wins all of its prompts, with the one seed that is left: nothing is said of it, and Holm knows one pair."""
    what = Synthetic(specs=("a", "b", "c"), seeds=(0, 1), prompts=30, pairs=2, failed=[("c", 0)])
    folder = write_store(tmp_path, what)
    for spec, wins in (("a", 25), ("b", 5), ("c", 30)):
        for seed in what.seeds[spec == "c" :]:
            write_verdicts(folder, what, "gold", spec, "reference", seed, [WON] * wins + [LOST] * (30 - wins))
    summary = summarise(folder)
    (found,) = summary["comparisons"]
    assert (found["a"], found["b"], found["p_holm"]) == ("a", "b", found["p"])
    row = rows_of(summary)["c"]
    assert row["win_rate"]["value"] == 1
    assert row["against_reference"] is None and not row["better_than_reference"]
    against = [rows_of(summary)[spec]["against_reference"] for spec in "ab"]
    smaller = min(each["p"] for each in against)
    assert min(each["p_holm"] for each in against) == pytest.approx(2 * smaller)  # two specs, not three
    assert "c has one seed only (1): not tested against the others or the reference." in summary["verdict"]["holes"]
    assert [each["marks"] for each in with_marks(summary)] == ["b", "", None]
    assert "the training seeds (0, 1; of c seed 1 only)" in summary["conditional_on"]
    assert "a figure of one seed: over the prompts, conditional on that seed" in summary["conditional_on"]


def test_the_p_that_is_shown_decides(tmp_path: Path) -> None:
    """Five prompts won and five undecided: the interval is above one half, but p = 2/32 claims nothing."""
    what = Synthetic(specs=("a",), seeds=(0,), prompts=10, pairs=2)
    folder = write_store(tmp_path, what)
    write_verdicts(folder, what, "gold", "a", "reference", 0, [WON] * 5 + [TIED] * 5)
    summary = summarise(folder)
    row = rows_of(summary)["a"]
    assert row["win_rate"]["low"] > 0.5 and row["against_reference"]["p_holm"] == pytest.approx(2 / 32)
    assert not row["better_than_reference"]
    assert summary["verdict"]["sentence"].startswith(
        "a cannot be told apart from the reference at n = 10 (10 prompts, "
    )
    assert ", p = .062: win rate 0.750 [" in summary["verdict"]["sentence"]


def test_figures_of_fewer_seeds_say_so(tmp_path: Path) -> None:
    what = Synthetic(prompts=12, pairs=6, capability=True)
    whole = as_markdown(summarise(write_store(tmp_path / "whole", what)))
    assert " only" not in whole
    what.failed = [("dpo", 1)]
    folder = write_store(tmp_path / "hole", what)
    summary = summarise(folder)
    text = as_markdown(summary)
    assert "at equal length, by gold, reward and lm: seeds 0 and 2 only, which all specs have" in text
    assert "Bradley-Terry strengths, by gold, reward and lm: seeds 0 and 2 only, which all specs have" in text
    (at_kl,) = (line for line in text.splitlines() if "gold reward at a KL of" in line)
    assert "seeds 0 and 2 only): dpo" in at_kl and summary["reward_at_kl"]["seeds"] == [0, 2]
    (capability,) = (line for line in text.splitlines() if "± one standard error" in line)
    assert capability.count("(seeds 0 and 2 only)") == 1
    pairs = {line.split(": ")[0][2:]: "(seeds 0 and 2 only)" in line for line in text.splitlines() if "p(Holm)" in line}
    assert pairs == {"dpo - kto": True, "dpo - ppo": True, "kto - ppo": False}
    assert [pair["frontier_area"]["seeds"] for pair in summary["comparisons"]] == [[0, 2], [0, 2], [0, 1, 2]]


def test_the_references_figures_are_those_of_its_own_files(tmp_path: Path) -> None:
    """The first spec has lost a seed: that moves nothing of the reference."""
    what = Synthetic(prompts=12, pairs=6, failed=[("dpo", 1)])
    folder = write_store(tmp_path, what)
    rows = [read_jsonl(folder / player_file(what, "reference", seed)) for seed in what.seeds]
    found = summarise(folder)["reference"]
    for name in ("reward", "proxy_reward", "length"):
        assert found[name]["per_seed"] == pytest.approx([np.mean([row[name] for row in each]) for each in rows])
    lengths = [row["length"] for each in rows for row in each]
    assert found["length"]["quantiles"][2] == np.median(lengths)


def test_no_kl_is_below_zero(tmp_path: Path) -> None:
    what = Synthetic(specs=("a",), seeds=(0, 1), prompts=6, pairs=2)
    folder = write_store(tmp_path, what)
    for seed, kl in enumerate((0.1, 3.0)):
        path = folder / cell_folder(what, "a") / f"seed-{seed}" / "evaluations" / "e1.json"
        evaluation = read_json(path)
        evaluation["values"] |= {"kl": [kl + 0.01 * i for i in range(6)], "k1": [kl + 0.01 * i for i in range(6)]}
        write_json(path, evaluation)
    row = rows_of(summarise(folder))["a"]
    assert row["kl"]["low"] == 0 and row["kl"]["method"].endswith("; cut at 0, which no KL is below")
    assert row["k1"]["low"] < 0  # an estimate of single samples, which may be


def test_what_would_be_needed_says_at_what_power(tmp_path: Path) -> None:
    what = Synthetic(specs=("a", "b", "c"), seeds=(0,), prompts=40, pairs=2)
    folder = write_store(tmp_path, what)
    for spec, wins in (("a", 22), ("b", 20), ("c", 21)):
        write_verdicts(folder, what, "gold", spec, "reference", 0, [WON] * wins + [LOST] * (40 - wins))
    summary = summarise(folder)
    prompts = summary["comparisons"][0]["needed"]["prompts"]
    expected = f"to tell such a difference apart (power 0.8 at the level 0.017): about {prompts:,} prompts in all"
    assert expected in as_markdown(summary)


def test_the_page_says_over_which_kl_rewards_were_compared(tmp_path: Path) -> None:
    summary = summarise(write_store(tmp_path, Synthetic(prompts=6, pairs=2)))
    summary["comparisons"][0]["frontier_area"] |= {"value": 0.25, "low": 0.125, "high": 0.5, "kl": [1.25, 3.5]}
    summary["comparisons"][1] |= {"frontier_area": None, "frontier_reason": "no common KL was measured"}
    grid = build_grids(summary)["differences"]
    assert grid is not None
    column = [title for title, _ in grid.heads].index("at equal KL")
    cells = [(row[column].value, row[column].detail) for row in grid.rows[:2]]
    assert cells == [("+0.25", "[0.12, 0.50] at 1.2 to 3.5 nats"), ("–", "no common KL was measured")]
