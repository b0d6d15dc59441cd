"""Answers to probes in the report: each figure against sums by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignbench import stats
from alignbench.report import probes_tables, write_report
from alignbench.report.measures import generator
from alignbench.report.probes import right
from alignbench.report.probes_samples import examples
from alignbench.report.probes_words import change_lines, difference_lines, verdict_lines
from alignbench.report.store import read_store
from alignbench.results import read_json, write_json
from tests.small_probes import DPO, KTO, ORPO, SPECS, quick, small, store
from tests.synthetic import cell_folder
from tests.synthetic_probes import CELL, NAME, OTHER, REFERENCE, Probes

Json = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    folder = store(tmp_path_factory.mktemp("probes"))
    return folder, write_report(folder)


def rows_of(folder: Path, spec: str | None, group: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[list[Json]]:
    """`[S][P]`: the rows of a group, of the reference where there is no spec."""
    paths = [folder / REFERENCE]
    if spec is not None:
        paths = [folder / cell_folder(small(), spec) / f"seed-{seed}" / CELL for seed in seeds]
    return [[row for row in read_json(path)["rows"] if row["group"] == group] for path in paths]


@pytest.mark.parametrize(("group", "name"), [(NAME, "new"), (NAME, "old"), (OTHER, "exact")])
def test_scores_before_after_and_paired(reported: tuple[Path, Json], group: str, name: str) -> None:
    folder, summary = reported
    probes = summary["probes"]
    (before,) = ([row["scores"][name] for row in rows] for rows in rows_of(folder, None, group))
    assert probes["reference"][group]["scores"][name]["value"] == pytest.approx(np.mean(before))
    for spec in SPECS:
        after = np.array([[row["scores"][name] for row in rows] for rows in rows_of(folder, spec, group)])
        found = probes["rows"][spec]["groups"][group]["scores"][name]
        assert found["after"]["value"] == pytest.approx(after.mean())
        assert found["after"]["per_seed"] == pytest.approx(after.mean(axis=1))
        ends = stats.interval(after.T, np.random.default_rng(0), bounds=(0, 1))
        assert (found["after"]["low"], found["after"]["high"]) == pytest.approx((ends.low, ends.high))
        differences = (after - before).T
        assert found["change"]["value"] == pytest.approx(differences.mean())
        if not differences.any():
            assert "all scores equal: exact binomial bound" in found["change"]["method"]
            continue
        changed = stats.interval(differences, np.random.default_rng(0))
        assert changed.low is not None and changed.high is not None
        assert found["change"]["low"] == pytest.approx(max(-1.0, changed.low))
        assert found["change"]["high"] == pytest.approx(min(1.0, changed.high))
        assert found["change"]["method"].startswith("crossed random effects, Satterthwaite t")


def test_log_probs_of_an_answer_and_of_a_token(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    (before,) = rows_of(folder, None, OTHER)
    after = rows_of(folder, KTO, OTHER)
    nats = np.array([[a["logp"] - b["logp"] for a, b in zip(rows, before, strict=True)] for rows in after])
    tokens = np.array([row["tokens"] for row in before])
    assert len(set(tokens.tolist())) > 1  # else the one would be the other, scaled
    found = summary["probes"]["rows"][KTO]["groups"][OTHER]
    for of, values in (("logp", nats), ("token", nats / tokens)):
        ends = stats.interval(values.T, np.random.default_rng(0))
        assert found[of]["change"]["value"] == pytest.approx(values.mean())
        assert (found[of]["change"]["low"], found[of]["change"]["high"]) == pytest.approx((ends.low, ends.high))
    assert found["logp"]["change"]["unit"] == "nats per answer" and found["token"]["change"]["unit"] == "nats per token"


def test_answers_forgotten_and_learned(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    (before,) = rows_of(folder, None, OTHER)
    was = np.array([row["completion"] == row["answer"] for row in before])
    assert summary["probes"]["reference"][OTHER]["answered"] == was.sum() == 18
    now = np.array([[row["completion"] == row["answer"] for row in rows] for rows in rows_of(folder, ORPO, OTHER)])
    found = summary["probes"]["rows"][ORPO]["groups"][OTHER]
    assert 0 < found["forgotten"]["value"] == pytest.approx(1 - now[:, was].mean())
    assert found["forgotten"]["n"] == 3 * 18 and found["learned"]["n"] == 3 * 2
    assert found["learned"]["value"] == pytest.approx(now[:, ~was].mean())
    named = summary["probes"]["rows"][ORPO]["groups"][NAME]
    assert named["forgotten"] is None and named["learned"]["value"] > 0  # none was right before


@pytest.mark.parametrize(
    ("completion", "ended", "expected"),
    [("a b", True, True), (" a b\n", True, True), ("a b", False, False), ("a b c", True, False), ("A b", True, False)],
)
def test_what_is_exactly_right(completion: str, ended: bool, expected: bool) -> None:
    assert right({"completion": completion, "answer": "a b", "ended": ended}) is expected


def test_specs_are_compared_on_the_same_probes_and_holm_adjusted_by_question(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    found = summary["probes"]["comparisons"]
    questions = {(pair["group"], pair["of"]) for pair in found}
    assert questions == {(NAME, "score new"), (NAME, "score old"), (NAME, "token"), (OTHER, "score exact"),
                         (OTHER, "token")}  # fmt: skip
    for group, of in questions:
        pairs = [pair for pair in found if (pair["group"], pair["of"]) == (group, of)]
        assert [(pair["a"], pair["b"]) for pair in pairs] == [(DPO, KTO), (DPO, ORPO), (KTO, ORPO)]
        assert [pair["p_holm"] for pair in pairs] == pytest.approx(stats.holm([pair["p"] for pair in pairs]))
        assert all(pair["significant"] == (pair["p_holm"] < 0.05) for pair in pairs)
    first, second = (
        np.array([[row["logp"] / row["tokens"] for row in rows] for rows in rows_of(folder, spec, OTHER)])
        for spec in (DPO, ORPO)
    )
    (pair,) = (p for p in found if (p["group"], p["of"], p["a"], p["b"]) == (OTHER, "token", DPO, ORPO))
    tested = stats.paired_difference(first.T, second.T, generator(f"probes/{OTHER}/token/{DPO}/{ORPO}/p"))
    assert (pair["p"], pair["difference"]["value"]) == pytest.approx((tested.p_headline, tested.value))
    assert (pair["difference"]["low"], pair["difference"]["high"]) == pytest.approx((tested.low, tested.high))
    assert pair["significant"] and pair["difference"]["value"] > 0
    assert f"{OTHER}, log-prob: dpo is above kto and orpo, p" in probes_tables.as_markdown(
        probes_tables.build([summary])
    )


def test_files_hold_every_figure(reported: tuple[Path, Json]) -> None:
    folder, summary = reported
    assert read_json(folder / "summary.json") == json.loads(json.dumps(summary))
    with (folder / "probes.csv").open() as file:
        rows = {(row["group"], row["spec"], row["quantity"]): row for row in csv.DictReader(file)}
    exact = summary["probes"]["rows"][KTO]["groups"][OTHER]["scores"]["exact"]
    row = rows[OTHER, KTO, "exact"]
    assert float(row["before"]) == summary["probes"]["reference"][OTHER]["scores"]["exact"]["value"]
    assert [float(row[name]) for name in ("after", "after_low", "change_high")] == [
        exact["after"]["value"], exact["after"]["low"], exact["change"]["high"],
    ]  # fmt: skip
    forgotten = summary["probes"]["rows"][KTO]["groups"][OTHER]["forgotten"]
    assert float(rows[OTHER, KTO, "forgotten"]["after"]) == forgotten["value"]
    assert rows[NAME, KTO, "forgotten"]["after"] == "" and (NAME, KTO, "exact") not in rows
    text = (folder / "probes.md").read_text()
    assert "unrelated (20 probes, 18 of them answered exactly right before)" in text
    assert "identity (12 probes, none answered exactly right before)" in text
    assert f"{forgotten['value'] * 100:.1f} [" in text and "forgotten (% of those right)" in text
    tex = (folder / "probes.tex").read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\bottomrule") == 2


def test_a_second_report_is_the_same_to_the_byte(reported: tuple[Path, Json]) -> None:
    folder = reported[0]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_report(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert folder / "plots" / "probes_change.png" in before and folder / "probes.md" in before


def test_the_answers_shown_are_those_that_changed_most_and_some_by_chance(tmp_path: Path) -> None:
    folder = store(tmp_path, probes=Probes(missing=[(KTO, 0)]))
    path = folder / cell_folder(small(), DPO) / "seed-1" / CELL
    reference, found = read_json(folder / REFERENCE)["rows"], read_json(path)
    for i, row in enumerate(found["rows"]):
        row |= {key: reference[i][key] for key in ("completion", "scores", "logp", "ended")}
    found["rows"][4] |= {"logp": found["rows"][4]["logp"] + 1}
    found["rows"][7] |= {"logp": found["rows"][7]["logp"] + 2}
    found["rows"][9] |= {"scores": {"new": 1.0, "old": 1.0}}
    write_json(path, found)
    shown = examples(read_store(folder))
    assert shown is not None and shown["seed"] == 1 and shown["missing"] == []
    first = shown["groups"][0]
    largest, chance = first["sets"]
    assert first["group"] == NAME
    assert [row["number"] for row in largest["rows"] if row["spec"] == DPO] == [10, 8]  # a score before a log-prob
    assert {row["spec"] for row in largest["rows"]} == set(SPECS)
    drawn = [row["number"] for row in chance["rows"]]
    assert len(set(drawn)) == 3 and [row["spec"] for row in chance["rows"]] == [*SPECS] * 3
    assert not set(drawn) & {row["number"] for row in largest["rows"]}
    row = chance["rows"][1]
    before = [r for r in reference if r["group"] == NAME][row["number"] - 1]
    assert (row["before"]["text"], row["logp"]["before"]) == (before["completion"], before["logp"])
    assert examples(read_store(folder)) == shown


def test_sentences_claim_what_the_tests_and_intervals_support(reported: tuple[Path, Json]) -> None:
    def pair(a: str, b: str, value: float, p: float) -> Json:
        difference = {"value": value, "low": value - 0.1, "high": value + 0.1}
        about = {"group": "g", "of": "score s", "a": a, "b": b, "seeds": [0]}
        return {**about, "difference": difference, "p": p, "p_holm": p, "significant": p < 0.05}

    found = [pair("x", "y", -0.2, 0.3), pair("x", "z", 0.5, 0.01), pair("y", "z", 0.7, 0.002)]
    assert verdict_lines({"comparisons": found, "seeds": [0]}) == [
        "g, s: y and x cannot be told apart, p = .30; both are above z, p ≤ .010"
    ]
    assert difference_lines({"comparisons": found, "seeds": [0, 1]})[0] == (
        "g, s: x - y: -0.200 [-0.300, -0.100], p(Holm) = .30, not significant (seed 0 only)"
    )
    probes = reported[1]["probes"]
    changes = {line.split(" (")[0]: line for line in change_lines(probes)}
    assert "no clear change with dpo" in changes["unrelated, exact"]
    assert ": up with orpo +" in changes["identity, new"] and "down with orpo -" in changes["identity, old"]
