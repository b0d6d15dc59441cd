"""Capability and tuning in the report: the change with its error worked by hand, holes, and what is shown of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from alignbench.report import judging, write_report
from alignbench.results import read_json, write_json
from tests.synthetic import Synthetic, cell_folder
from tests.synthetic_store import as_markdown, rows_of, summarise, write_store

Json = dict[str, Any]
GRID = {"learning_rate": ["1e-4", "1e-3"]}


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


def write_task(path: Path, hits: list[int], perplexity: float, stderr: float | None, documents: str = "d") -> None:
    share = float(np.mean(hits))
    metrics = {
        "acc": {"value": share, "stderr": 0.1, "n": len(hits), "higher_is_better": True},
        "ppl": {"value": perplexity, "stderr": stderr, "n": len(hits), "higher_is_better": False},
    }
    task = {"metrics": metrics, "main": "acc", "samples": [float(hit) for hit in hits], "documents": documents}
    write_json(path, {"schema": 1, "tasks": {"grammar": task}})


def cell(folder: Path, what: Synthetic, spec: str, seed: int) -> Path:
    return folder / cell_folder(what, spec) / f"seed-{seed}" / "capability-l1.json"


def test_the_change_is_paired_by_document(tmp_path: Path) -> None:
    """One seed, d = -1 on two of eight documents: mean -1/4, sd sqrt(3/14), with Student's t on 7 degrees."""
    what = Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=2, capability=True)
    folder = write_store(tmp_path, what)
    write_task(folder / "stages/capability-l1/result.json", [1, 1, 1, 1, 1, 1, 0, 0], 20.0, 0.3)
    write_task(cell(folder, what, "dpo", 0), [0, 0, 1, 1, 1, 1, 0, 0], 21.0, 0.4)
    summary = summarise(folder)
    found = rows_of(summary)["dpo"]["capability"]["grammar"]
    assert summary["capability"]["grammar"]["acc"]["value"] == 0.75
    assert (found["acc"]["value"], found["acc"]["change"]) == (0.5, -0.25)
    assert found["acc"]["paired"] and found["acc"]["n"] == 8
    assert found["acc"]["stderr"] == pytest.approx(math.sqrt(3 / 14 / 8))
    assert found["acc"]["low"] < -0.25 < found["acc"]["high"]
    assert not found["ppl"]["paired"] and found["ppl"]["change"] == pytest.approx(1.0)
    assert found["ppl"]["stderr"] == pytest.approx(0.5)  # sqrt(.3^2 + .4^2)
    assert found["ppl"]["high"] == pytest.approx(1 + 0.5 * scipy.stats.norm.ppf(0.975))
    text = as_markdown(summary)
    assert "grammar (change in acc)" in text and "| -0.250 [" in text
    assert (
        "grammar, ppl (n = 8, ± one standard error, lower is better): reference 20.0000 ± 0.3000; dpo +1.0000 ± 0.5000"
        in text
    )


def test_seeds_are_averaged_and_their_variance_counts(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0, 1), prompts=6, pairs=2, capability=True)
    folder = write_store(tmp_path, what)
    write_task(folder / "stages/capability-l1/result.json", [1] * 10, 20.0, 0.3)
    write_task(cell(folder, what, "dpo", 0), [1] * 9 + [0], 21.0, 0.4)
    write_task(cell(folder, what, "dpo", 1), [1] * 5 + [0] * 5, 23.0, 0.4)
    found = rows_of(summarise(folder))["dpo"]["capability"]["grammar"]
    assert found["acc"]["change"] == pytest.approx(-0.3)
    # Mean squares: documents .1889 (one lost twice, four once), seeds .8, residual .0889 on 9, 1, 9 degrees; 20 cells
    d = np.array([[0.0, 0.0]] * 5 + [[0.0, -1.0]] * 4 + [[-1.0, -1.0]])
    documents = 2 * np.sum((d.mean(axis=1) + 0.3) ** 2) / 9
    seeds = 10 * np.sum((d.mean(axis=0) + 0.3) ** 2)
    residual = np.sum((d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) - 0.3) ** 2) / 9
    assert found["acc"]["stderr"] == pytest.approx(math.sqrt((documents + seeds - residual) / 20))
    # unpaired: the seeds' mean square error, the reference's, and half the variance between the seeds
    assert found["ppl"]["stderr"] == pytest.approx(math.sqrt(0.4**2 + 0.3**2 + 2.0 / 2))


def test_nothing_lost_is_no_certainty_and_other_documents_are_not_paired(tmp_path: Path) -> None:
    what = Synthetic(specs=("same", "other"), seeds=(0,), prompts=6, pairs=2, capability=True)
    folder = write_store(tmp_path, what)
    write_task(folder / "stages/capability-l1/result.json", [1, 0] * 10, 20.0, None)
    write_task(cell(folder, what, "same", 0), [1, 0] * 10, 20.0, None)
    write_task(cell(folder, what, "other", 0), [1, 0] * 10, 20.0, None, documents="e")
    rows = rows_of(summarise(folder))
    same, other = (rows[spec]["capability"]["grammar"] for spec in ("same", "other"))
    assert (same["acc"]["change"], same["acc"]["stderr"]) == (0, 0)
    assert same["acc"]["low"] == pytest.approx(-(1 - 0.025 ** (1 / 20)))
    assert not other["acc"]["paired"] and other["acc"]["stderr"] == pytest.approx(math.sqrt(2) * 0.1)
    assert other["ppl"]["stderr"] is other["ppl"]["low"] is None


def test_a_cell_without_capability_is_a_hole(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo", "kto"), seeds=(0, 1), prompts=6, pairs=4, capability=True)
    folder = write_store(tmp_path, what)
    cell(folder, what, "dpo", 1).unlink()
    for seed in what.seeds:
        cell(folder, what, "kto", seed).unlink()
    summary = write_report(folder)
    rows = rows_of(summary)
    assert rows["dpo"]["capability"]["reviews_grammar"]["acc"]["seeds"] == [0]
    assert rows["kto"]["capability"] is None
    assert (folder / "plots" / "capability.png").exists()
    (folder / "stages/capability-l1/result.json").unlink()
    summary = write_report(folder)
    assert summary["capability"] is rows_of(summary)["dpo"]["capability"] is None
    assert not (folder / "plots" / "capability.png").exists()


def test_every_trial_is_told_and_the_chosen_one_is_marked(tmp_path: Path) -> None:
    trials = [
        {
            "spec": spec,
            "trial": f"{spec}:learning_rate={rate}",
            "point": {"learning_rate": rate},
            "value": value,
            "low": None if value is None else value - 0.1,
            "high": None if value is None else value + 0.1,
            "status": "failed" if value is None else "done",
            "reason": "the loss is NaN | at step 3" if value is None else None,
            "chosen": chosen,
        }
        for spec, rate, value, chosen in (
            ("dpo", "1e-4", 0.55, False),
            ("dpo", "1e-3", 0.62, True),
            ("kto", "1e-4", 0.58, True),
            ("kto", "1e-3", None, False),
        )
    ]
    tuning = {"folder": "tuning", "grid": GRID, "seed": 999, "prompts": 64, "judge": "gold", "trials": trials}
    specs = ("dpo:learning_rate=1e-3", "kto:learning_rate=1e-4")
    what = Synthetic(specs=specs, seeds=(0,), prompts=6, pairs=4, run={"tuning": tuning})
    folder = write_store(tmp_path, what)
    summary = write_report(folder)
    assert summary["tuning"] == tuning
    text = as_markdown(summary)
    assert "grid: learning\\_rate = 1e-4, 1e-3; the same trials for every spec, with seed 999" in text
    assert "dpo: learning\\_rate=1e-4 0.550 \\[0.450, 0.650\\]; learning\\_rate=1e-3 0.620" in text
    assert "0.620 \\[0.520, 0.720\\] (chosen)" in text
    assert "learning\\_rate=1e-3 failed (the loss is NaN \\| at step 3)" in text
    assert (folder / "plots" / "tuning.png").exists()
    assert summary["identity"] == read_json(folder / "run.json")["identity"]
