from __future__ import annotations

import json
import random
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from alignbench.agreement import krippendorff_alpha
from alignbench.doctor import CHECKS, LEVELS, examine, view
from alignbench.doctor.labels import agreement
from alignbench.errors import InputError
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt, Ranking
from tests.doctor_records import found, labels, one, pairs, text

# --- the shape of an examination ---


def test_every_check_gives_one_finding_worst_first() -> None:
    for records in (pairs(60), labels(pairs(60)), [_ranking(i) for i in range(60)]):
        examination = examine(records)
        assert sorted(finding.check for finding in examination.findings) == sorted(CHECKS)
        levels = [LEVELS.index(finding.level) for finding in examination.findings]
        assert levels == sorted(levels)
        for finding in examination.findings:
            assert finding.said.endswith(".") and finding.advice.endswith(".") and not finding.said[0].islower()
            assert "\n" not in finding.said
            if finding.check != "skipped":  # those have lines
                assert finding.where == ("line" if records[0].line else "record")


def _ranking(seed: int) -> Ranking:
    rng = random.Random(seed)
    return Ranking(Prompt(text(rng, 60)), tuple(Completion(text(rng)) for _ in range(5)))


def test_the_same_records_give_the_same_json() -> None:
    records = pairs(120, each=3)
    first, second = (json.dumps(examine(records).json(), allow_nan=False, sort_keys=True) for _ in range(2))
    assert first == second
    document = json.loads(first)
    assert (document["schema"], document["kind"], document["records"]) == (1, "pairs", 120)
    assert {"lengths", "words", "shortcut", "margins", "agreement", "balance"} <= set(document["figures"])


def test_no_records_and_gold_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="no preference record"):
        examine([])
    with pytest.raises(ValueError, match="one reward for each completion"):
        examine(pairs(2), gold=[[1.0, 2.0], [1.0]])


def test_records_without_a_line_are_named_by_their_place() -> None:
    records: list[Pair] = [replace(pair, line=None) for pair in pairs(40)]
    records += records[:1]
    finding = one(records, "duplicates")
    assert (finding.lines, finding.where) == ((1, 41), "record") and "records 1 and 41" in finding.said
    mixed = [replace(records[0], line=7), *records[1:]]
    assert one(mixed, "duplicates").lines == (1, 41)


def test_of_many_records_a_sample_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "SAMPLE", 100)
    records = pairs(300)
    examination = examine([*records, records[5]])
    assert sum(examination.figures["lengths"]["chosen"]) == 100
    for check in ("length_gap", "shortcut", "markers", "near_duplicates"):
        assert "in a sample of 100 of the 301 records" in found(examination, check).said
    sample = view.View(records).sample
    assert sorted(set(sample)) == list(sample) == list(view.View(records).sample) and sum(sample) > 120 * 100
    assert found(examination, "duplicates").lines == (60,)  # the copy stands on the same line


# --- lengths ---


def test_a_length_gap_by_hand() -> None:
    def made(a: int, b: int, i: int) -> Pair:
        return Pair(Prompt(f"prompt {i}"), Completion("w " * a), Completion("w " * b), line=i + 1)

    records = (
        [made(9, 3, i) for i in range(30)]
        + [made(2, 2, i) for i in range(30, 34)]
        + [made(1, 5, i) for i in range(34, 40)]
    )
    examination = examine(records)
    lengths = examination.figures["lengths"]
    assert (lengths["longer_chosen"], lengths["equal"]) == (30 / 40, 4 / 40)
    assert (lengths["mean_chosen"], lengths["mean_rejected"]) == ((270 + 8 + 6) / 40, (90 + 8 + 30) / 40)
    finding = found(examination, "length_gap")
    assert "3.9 words longer" in finding.said and "median gap +6" in finding.said
    assert finding.level == "bad" and finding.count == 30  # the interval of .80 lies above .65
    assert one(records[:29], "length_gap").level == "unknown"


@pytest.mark.parametrize(
    ("longer", "level"), [(0.5, "fine"), (0.6, "look"), (0.4, "look"), (0.75, "bad"), (0.25, "bad")]
)
def test_levels_of_the_length_gap(longer: float, level: str) -> None:
    n, one_more = 1000, round(1000 * longer)
    sides = [(11, 10)] * one_more + [(10, 11)] * (n - one_more)
    records = [Pair(Prompt(str(i)), Completion("w " * a), Completion("w " * b)) for i, (a, b) in enumerate(sides)]
    assert one(records, "length_gap").level == level


def test_the_interval_is_by_prompt() -> None:
    """Forty copies of a prompt's pairs say no more than one."""
    records = [pair for pair in pairs(50, seed=3) for _ in range(8)]
    narrow, wide = (
        examine([replace(pair, prompt=Prompt(str(i))) for i, pair in enumerate(records)]).figures["lengths"],
        examine(records).figures["lengths"],
    )
    assert wide["high"] - wide["low"] > 2.4 * (narrow["high"] - narrow["low"])


@pytest.mark.parametrize("longest", [40, 90])
def test_empty_completions_are_in_no_bin(longest: int) -> None:
    sides = [(0 if i < 7 else longest, 1) for i in range(40)]
    records = [Pair(Prompt(str(i)), Completion("w " * a), Completion("w " * b)) for i, (a, b) in enumerate(sides)]
    lengths = examine(records).figures["lengths"]
    assert lengths["empty"] == [7, 0] and (sum(lengths["chosen"]), sum(lengths["rejected"])) == (33, 40)
    assert lengths["mean_chosen"] == pytest.approx(33 * longest / 40)


def test_lengths_of_labels_are_those_of_all_couples() -> None:
    rows = [(n, True) for n in (3, 5, 5, 9) * 10] + [(n, False) for n in (1, 5, 8) * 12]
    records = [
        LabelledCompletion(Prompt(str(i)), Completion("w " * n), good, i + 1) for i, (n, good) in enumerate(rows)
    ]
    lengths = examine(records).figures["lengths"]
    couples = [(a, b) for a, good in rows if good for b, also in rows if not also]
    assert lengths["longer_chosen"] == pytest.approx(mean(a > b for a, b in couples))
    assert lengths["equal"] == pytest.approx(mean(a == b for a, b in couples))
    middle = 2 * lengths["longer_chosen"]
    assert lengths["low"] + lengths["high"] == pytest.approx(middle, abs=lengths["equal"] / 4)
    assert (
        lengths["names"] == ["desirable", "undesirable"] and lengths["low"] < lengths["longer_chosen"] < lengths["high"]
    )


# --- balance, gold and annotators ---


@pytest.mark.parametrize(
    ("good", "bad", "weights", "level"),
    [
        (10, 10, (1, 1), "fine"), (40, 30, (1, 1), "fine"), (41, 30, (1, 1.03), "look"), (10, 20, (2, 1), "look"),
        (30, 10, (1, 2.25), "look"), (7, 10, (1.43, 1), "look"), (1, 12, (12, 1), "bad"), (100, 7, (1, 10.8), "bad"),
    ],
)  # fmt: skip
def test_weights_for_kto(good: int, bad: int, weights: tuple[float, float], level: str) -> None:
    records = [LabelledCompletion(Prompt(str(i)), Completion("a"), i < good) for i in range(good + bad)]
    examination = examine(records)
    figures, finding = examination.figures["balance"], found(examination, "balance")
    assert (figures["desirable"], figures["undesirable"]) == (good, bad) and finding.level == level
    assert (figures["desirable_weight"], figures["undesirable_weight"]) == pytest.approx(weights)
    ratio = figures["desirable_weight"] * good / (figures["undesirable_weight"] * bad)
    assert 1 <= ratio <= 4 / 3 + 1e-12
    assert ("kto:" in finding.advice) == (weights != (1, 1))


def test_one_kind_of_label_is_bad_and_pairs_are_balanced() -> None:
    examination = examine([LabelledCompletion(Prompt("a"), Completion("b"), True)])
    assert found(examination, "balance").said == "All 1 completions are desirable."
    assert examination.figures["balance"]["desirable_weight"] is None
    for check in ("length_gap", "shortcut", "markers"):
        assert found(examination, check).level == "unknown"
    assert examine(pairs(5)).figures["balance"]["undesirable"] == 5
    assert examine([_ranking(0)]).figures["balance"]["desirable"] == 2  # of five, the middle one has no label


def test_margins_of_gold() -> None:
    gold = [[0.5, 0.1], [0.2, 0.9], [1.0, 1.0], [0.0, -2.0]] * 10
    margins = examine(pairs(40), gold=gold).figures["margins"]
    assert (margins["agree"], margins["tied"], sum(margins["counts"])) == (0.5, 0.25, 40)
    assert any(abs(edge) < 1e-12 for edge in margins["edges"])
    below = sum(n for n, edge in zip(margins["counts"], margins["edges"], strict=False) if edge < -1e-12)
    assert below == 10
    ranked = examine([_ranking(i) for i in range(3)], gold=[[4, 3, 2, 1, 9]] * 3).figures["margins"]
    assert ranked["agree"] == 0.5  # 4 against 9 and 3 against 1
    assert examine(labels(pairs(2)), gold=[[1.0]] * 4).figures["margins"] is None
    assert examine(pairs(2)).figures["margins"] is None


def test_agreement_of_annotators() -> None:
    votes = [(True, True, True)] * 6 + [(True, True, False)] * 3 + [(True, False, False)]
    records = [replace(pair, votes=given) for pair, given in zip(pairs(10), votes, strict=True)]
    agreed = examine(records, gold=[[1.0, 0.0]] * 9 + [[0.0, 1.0]]).figures["agreement"]
    assert (agreed["annotators"], agreed["pairs"], agreed["unanimous"]) == (3, 10, 0.6)
    assert agreed["pairwise"] == pytest.approx((6 * 1 + 4 / 3) / 10)
    assert agreed["with_gold"] == pytest.approx((18 + 6 + 2) / 30)
    # The 30 votes, half of either code, and 4 pairs on which 2 of 3 couples of votes differ.
    assert agreed["alpha"] == pytest.approx(1 - (4 * (2 / 3) / 10) / (2 * 15 * 15 / (30 * 29)))
    # His own formula, where the names that the pairs happen to have are balanced: pairs 0 to 4 the other way round.
    even = [*([(True, True, False)] * 2), *([(True, False, False)] * 2), *([(True,) * 3] * 3), *([(False,) * 3] * 3)]
    assert agreed["alpha"] == pytest.approx(krippendorff_alpha(np.array(even, float)))
    alone = [replace(records[0], votes=(True,)), replace(records[1], votes=(True, True))]
    assert agreement(view.View(alone), None) == {
        "annotators": 2, "pairs": 2, "unanimous": 1.0, "pairwise": 1.0, "with_gold": None, "alpha": 1.0,
        # of one pair alone: .05 / 2
        "unanimous_low": pytest.approx(0.025), "unanimous_high": 1.0,
        "pairwise_low": pytest.approx(0.025), "pairwise_high": 1.0,
    }  # fmt: skip
    assert agreed["pairwise_low"] < agreed["pairwise"] < agreed["pairwise_high"] <= 1
    assert agreed["unanimous_low"] < 0.6 < agreed["unanimous_high"]
    assert examine(pairs(3)).figures["agreement"] is None


def test_alpha_does_not_hang_on_what_is_called_chosen() -> None:
    """Random votes: coded as votes for the completion that most of them named, they would seem to disagree (-.36)."""
    rng = np.random.default_rng(0)
    drawn = rng.random((600, 3)) < 0.5
    votes = [tuple(bool(vote) for vote in (row if row.sum() > 1 else ~row)) for row in drawn]
    records = [replace(pair, votes=given) for pair, given in zip(pairs(600), votes, strict=True)]
    found_ = agreement(view.View(records), None)
    assert found_ is not None
    assert found_["alpha"] == pytest.approx(krippendorff_alpha(drawn.astype(float)), abs=0.002)
    assert abs(found_["alpha"]) < 0.1
