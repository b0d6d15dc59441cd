"""Answers to probes in the report where something is missing, is one alone or does not belong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.report import probes_tables, write_report
from alignbench.report.probes_plots import change as change_plot
from alignbench.report.probes_samples import examples
from alignbench.report.store import read_store
from alignbench.results import read_json, write_json
from tests.small_probes import DPO, KTO, ORPO, SPECS, quick, rewrite, small, store
from tests.synthetic import cell_folder
from tests.synthetic_probes import CELL, NAME, OTHER, REFERENCE, Probes, files, probes_of
from tests.synthetic_store import summarise, write_store

Json = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with quick():
        yield


def test_holes_are_shown_with_their_reason(tmp_path: Path) -> None:
    what = small(specs=(*SPECS, "simpo"), failed=[(KTO, 1), *(("simpo", seed) for seed in (0, 1, 2))])
    probes = probes_of(store(tmp_path, what, Probes(missing=[(DPO, 2)])))
    rows = probes["rows"]
    assert {spec: row["status"] for spec, row in rows.items()} == {
        DPO: "partial", KTO: "partial", ORPO: "done", "simpo": "failed",
    }  # fmt: skip
    assert rows[DPO]["reason"] == "seed 2: its answers to the probes are not there: run the same command again"
    assert rows[KTO]["reason"] == "seed 1: the loss is NaN at step 12"  # although a file lies there
    assert rows[KTO]["groups"][NAME]["scores"]["new"]["after"]["per_seed"][1] is None
    assert rows["simpo"]["groups"] is None
    # Seed 0 alone, which is all that dpo and kto have in common, would claim too much.
    assert {(pair["a"], pair["b"]): pair["seeds"] for pair in probes["comparisons"]} == {
        (DPO, ORPO): [0, 1], (KTO, ORPO): [0, 2],
    }  # fmt: skip
    text = probes_tables.as_markdown(probes_tables.build([{"probes": probes}]))
    assert "| dpo (2 of 3 seeds) |" in text and "| simpo (failed) | – |" in text
    assert "not compared, for want of two seeds in common: dpo and kto" in text
    assert "simpo: seed 0: the loss is NaN at step 12" in text


def test_everything_failed_is_reported(tmp_path: Path) -> None:
    summary = write_report(store(tmp_path, small(specs=(DPO,), seeds=(0,), failed=[(DPO, 0)])))
    assert summary["probes"]["rows"][DPO]["groups"] is None
    assert "identity, new (0.000 [0.000, 0.265] before): no spec has a result" in " ".join(
        line for _, table in probes_tables.build([summary]) for _, lines in table.sections for line in lines
    )
    assert not (tmp_path / "plots" / "probes_change.png").exists()
    assert "Answers before and after" not in (tmp_path / "report.html").read_text()


def test_one_seed_is_a_bootstrap_by_probe_and_says_so(tmp_path: Path) -> None:
    probes = probes_of(store(tmp_path, small(seeds=(3,))))
    found = probes["rows"][ORPO]["groups"]
    for metric in (found[NAME]["scores"]["new"]["after"], found[OTHER]["token"]["change"]):
        assert metric["method"] == "BCa bootstrap by prompt, conditional on this seed"
        assert metric["low"] < metric["value"] < metric["high"]
    assert probes["reference"][OTHER]["token"]["method"] == "BCa bootstrap by prompt"  # no seed changes it
    assert (
        "conditional on seed 3" in probes["conditional_on"]
        and "nothing is known of other seeds" in (probes["conditional_on"])
    )
    assert all(pair["seeds"] == [3] for pair in probes["comparisons"]) and len(probes["comparisons"]) == 15


def test_one_probe_has_values_and_claims_nothing(tmp_path: Path) -> None:
    summary = write_report(store(tmp_path, small(specs=SPECS[:2]), Probes(named=1, unrelated=0)))
    probes = summary["probes"]
    found = probes["rows"][KTO]["groups"][NAME]
    assert list(probes["reference"]) == [NAME]
    assert found["token"]["change"]["low"] is None and found["token"]["change"]["method"] == "one prompt: no interval"
    assert not any(pair["significant"] for pair in probes["comparisons"])
    assert "identity (1 probe, not answered exactly right before)" in (tmp_path / "probes.md").read_text()


def test_nothing_changed_is_no_certainty(tmp_path: Path) -> None:
    """No variance seen is not the absence of any: the interval is what so few probes could hide."""
    folder = store(tmp_path, small(specs=(DPO, KTO)))
    reference = read_json(folder / REFERENCE)
    for path in files(folder)[1:]:
        write_json(path, read_json(path) | {"rows": reference["rows"]})
    probes = probes_of(folder)
    found = probes["rows"][DPO]["groups"][OTHER]
    share = 1 - 0.025 ** (1 / 20)
    assert (found["scores"]["exact"]["change"]["low"], found["scores"]["exact"]["change"]["high"]) == pytest.approx(
        (-share, share)
    )
    assert (found["forgotten"]["value"], found["logp"]["change"]["low"]) == (0, None)
    assert all(pair["p"] == 1 for pair in probes["comparisons"])


def test_a_log_prob_that_is_not_finite_leaves_its_figures_out_and_says_why(tmp_path: Path) -> None:
    folder = store(tmp_path)
    rewrite([folder / cell_folder(small(), DPO) / "seed-1" / CELL], lambda row: row.update(logp=None))
    summary = {"probes": probes_of(folder)}
    found = summary["probes"]["rows"][DPO]["groups"][OTHER]
    assert found["logp"]["change"]["value"] is None and found["scores"]["exact"]["after"]["value"] is not None
    assert change_plot(summary, tmp_path / "change.png")
    text = probes_tables.as_markdown(probes_tables.build([summary]))
    assert "dpo, unrelated, log-prob of the answer: 20 of 60 values are not finite" in text
    pairs = {(pair["a"], pair["b"]) for pair in summary["probes"]["comparisons"] if pair["of"] == "token"}
    assert pairs == {(KTO, ORPO)}


def test_scores_that_not_all_probes_of_a_group_have(tmp_path: Path) -> None:
    folder = store(tmp_path, small(specs=(DPO,)))

    def drop(row: Json) -> None:
        if row["prompt"].startswith(("Phrasing 1", "Name a city")):
            row["scores"].popitem()

    rewrite(files(folder), drop)
    probes = probes_of(folder)
    assert probes["reference"][NAME]["scores"]["old"]["n"] == 12 - 3
    assert probes["rows"][DPO]["groups"][OTHER]["scores"]["exact"]["after"]["n"] == 3 * 16
    rewrite(files(folder), lambda row: row["scores"].clear())
    bare = probes_of(folder)
    assert bare["reference"][NAME]["scores"] == {} and change_plot({"probes": bare}, tmp_path / "change.png")
    assert "log-prob (change, a token)" in probes_tables.as_markdown(probes_tables.build([{"probes": bare}]))


@pytest.mark.parametrize(
    "change", [{}, {"probes": None}, {"probes": {"reference": "stages/nowhere/probes.json", "cell": CELL}}]
)
def test_a_run_without_probes_has_none_of_it(tmp_path: Path, change: Json) -> None:
    folder = write_store(tmp_path, small(specs=(DPO,), seeds=(0,), run=change))
    assert "probes" not in summarise(folder) and examples(read_store(folder)) is None


def test_nor_has_its_report(tmp_path: Path) -> None:
    folder = write_store(tmp_path, small(specs=(DPO,), seeds=(0,)))
    write_report(folder)
    assert not list(folder.glob("probes*")) and not list((folder / "plots").glob("probes*"))
    assert "probes" not in (folder / "report.html").read_text().lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(schema=2), r"has schema 2 where 1 is known.*--fresh"),
        (lambda found: found["rows"].pop(), r"holds other probes or scores than the reference's file.*--fresh"),
        (lambda found: found["rows"][0].update(prompt="x"), r"holds other probes or scores than the reference's"),
        (lambda found: found["rows"][0]["scores"].update(more=1.0), r"holds other probes or scores"),
        (lambda found: found["rows"][2]["scores"].update(new=1.5), r"row 3: the score 'new' is 1\.5 where 0 to 1"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: Callable[[Json], object], words: str
) -> None:
    folder = store(tmp_path, small(specs=(DPO,), seeds=(0,)))
    found = read_json(files(folder)[1])
    change(found)
    write_json(files(folder)[1], found)
    with pytest.raises(InputError, match=words) as raised:
        probes_of(folder)
    assert "\n" not in str(raised.value)
