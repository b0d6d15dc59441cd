from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from math import comb
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from alignbench.agreement import krippendorff_alpha
from alignbench.data import read_records
from alignbench.doctor import CHECKS, LEVELS, Examination, examine, near, view
from alignbench.doctor.labels import agreement
from alignbench.doctor.near import edit_distance
from alignbench.errors import InputError
from alignbench.formats import Skipped
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt, Ranking
from tests.doctor_records import found, labels, one, pairs, text

Row = tuple[int, str, str, str]  # line, prompt, chosen, rejected


# --- the pairs of Anthropic HH, against plain Python on the raw file ---


@pytest.fixture(scope="module")
def hh_file(data_folder: Path) -> Path:
    path = data_folder / "hh" / "harmless-base-test-1500.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return path


@pytest.fixture(scope="module")
def hh(hh_file: Path) -> Examination:
    records = read_records(str(hh_file))
    return examine(records.records, skipped=records.skipped)


@pytest.fixture(scope="module")
def raw(hh_file: Path) -> tuple[list[Row], list[int]]:
    """The usable rows and the lines of the others: an empty reply, or unequal prompts."""
    usable, others = [], []
    with gzip.open(hh_file, "rt", encoding="utf-8") as file:
        for line, content in enumerate(file, 1):
            row = json.loads(content)
            sides = [row[name].rsplit("\n\nAssistant:", 1) for name in ("chosen", "rejected")]
            if sides[0][0] == sides[1][0] and sides[0][1].strip() and sides[1][1].strip() and sides[0] != sides[1]:
                usable.append((line, sides[0][0], sides[0][1], sides[1][1]))
            else:
                others.append(line)
    return usable, others


def test_hh_counts_and_lines_of_skipped_records(hh: Examination, raw: tuple[list[Row], list[int]]) -> None:
    usable, others = raw
    assert (hh.kind, hh.n) == ("pairs", len(usable) == 1495 and 1495)
    skipped = found(hh, "skipped")
    assert skipped.lines == tuple(others) == (87, 517, 926, 1104, 1255)
    assert skipped.level == "look" and "5 of 1,500 records (0.3 %)" in skipped.said
    assert "4 (chosen: empty completion)" in skipped.said
    assert found(hh, "empty_or_equal").level == "fine"


def test_hh_lengths(hh: Examination, raw: tuple[list[Row], list[int]]) -> None:
    _, _, *sides = zip(*raw[0], strict=True)
    chosen, rejected = ([len(str(reply).split()) for reply in side] for side in sides)
    longer = sum(a > b for a, b in zip(chosen, rejected, strict=True)) / len(chosen)
    lengths = hh.figures["lengths"]
    assert lengths["unit"] == "words"
    assert lengths["mean_chosen"] == pytest.approx(mean(chosen)) == pytest.approx(30.97, abs=0.01)
    assert lengths["mean_rejected"] == pytest.approx(mean(rejected)) == pytest.approx(39.16, abs=0.01)
    assert lengths["longer_chosen"] == pytest.approx(longer) == pytest.approx(0.4294, abs=1e-4)
    # A bootstrap agrees with the normal interval of a share of this many pairs.
    half = 1.96 * (longer * (1 - longer) / len(chosen)) ** 0.5
    assert (lengths["low"], lengths["high"]) == pytest.approx((longer - half, longer + half), abs=0.003)
    assert lengths["empty"] == [0, 0]
    for side, counted in (("chosen", chosen), ("rejected", rejected)):
        edges = lengths["edges"]
        by_hand = [sum(low <= n < high for n in counted) for low, high in pairwise(edges)]
        assert lengths[side] == by_hand and sum(by_hand) == 1495
    gap = found(hh, "length_gap")
    assert gap.level == "look"
    assert gap.said.startswith(
        "Chosen is 8.2 words shorter than rejected on average (31.0 against 39.2, median gap -3)"
    )
    assert "42.9 % [" in gap.said and "the shorter in 55.0 %" in gap.said and "`--judge length`" in gap.advice


def test_hh_repetitions(hh: Examination, raw: tuple[list[Row], list[int]]) -> None:
    rows = raw[0]
    assert len({row[1:] for row in rows}) == len(rows) and found(hh, "duplicates").level == "fine"
    assert len({row[1] for row in rows}) == 1493  # two prompts stand twice: no finding, a split keeps them together
    orders = {(prompt, a, b) for _, prompt, a, b in rows}
    assert not any((prompt, b, a) in orders for prompt, a, b in orders)
    assert found(hh, "contradictions").level == "fine"
    letters = [[re.sub(r"[^a-z0-9]+", "", side.lower().replace("’", "'")) for side in row[2:]] for row in rows]
    alike = {row[0] for row, (a, b) in zip(rows, letters, strict=True) if a == b}
    near = found(hh, "near_duplicates")
    assert len(alike) == 3 and alike <= set(near.lines) and "completions of 3 of 1,495 pairs" in near.said
    # Every two prompts, not by hashes: those that share four of five runs of three words.
    runs = {prompt: _runs(prompt) for _, prompt, _, _ in rows}
    close = {
        frozenset((a, b))
        for a, b in combinations(runs, 2)
        if 5 * len(runs[a]) >= 4 * len(runs[b]) and 5 * len(runs[b]) >= 4 * len(runs[a])
        if len(runs[a] & runs[b]) >= 0.8 * len(runs[a] | runs[b]) > 0
    }
    by_line = {row[0]: row[1] for row in rows}
    said = {frozenset(by_line[line] for line in group) for group in hh.figures["groups"]["near_duplicates"]}
    assert said == close and len(close) >= 3


def _runs(prompt: str) -> set[tuple[str, ...]]:
    words = re.sub(r"""[\s.,;:!?…"'“”‘’()\[\]{}_#`]+|\*\*""", " ", prompt.casefold()).split()[
        1:
    ]  # all begin with "human"
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_hh_words(hh: Examination, raw: tuple[list[Row], list[int]]) -> None:
    """What tells harmless replies from others there is that they are sorry."""
    has = [[bool(re.search(r"\bsorry\b", side.lower())) for side in row[2:]] for row in raw[0]]
    only_chosen = [row[0] for row, (a, b) in zip(raw[0], has, strict=True) if a and not b]
    only_rejected = [row[0] for row, (a, b) in zip(raw[0], has, strict=True) if b and not a]
    n, k = len(only_chosen) + len(only_rejected), len(only_chosen)
    marks = found(hh, "markers")
    assert marks.level == "look" and marks.said.startswith('The word "sorry" marks chosen: ')
    assert f"right in {100 * k / n:.1f} %" in marks.said and f"{100 * n / 1495:.1f} % of all" in marks.said
    assert marks.lines == tuple(only_chosen)
    (mark,) = hh.figures["markers"]
    assert mark["p_value"] == pytest.approx(2 * sum(comb(n, i) for i in range(k, n + 1)) / 2**n)
    sums = [sum(side) for side in zip(*has, strict=True)]
    word = hh.figures["words"][0]
    assert (word["word"], [word["chosen"], word["rejected"]]) == ("sorry", sums)
    shortcut = hh.figures["shortcut"]
    assert 0.5 < shortcut["low"] < shortcut["accuracy"] < shortcut["high"] < 0.65 and shortcut["n"] == 1495
    assert found(hh, "shortcut").level == "fine"  # what words tell is no more than preferences are about


def test_hh_endings(hh: Examination, raw: tuple[list[Row], list[int]]) -> None:
    final = set(".!?…\"'”’»)]}>*_`~|。")
    open_ = [
        row[0] for row in raw[0] for side in row[2:] if side.strip()[-1] not in final and ord(side.strip()[-1]) < 9728
    ]
    ends = found(hh, "no_end")
    assert ends.lines == tuple(sorted(set(open_))) and f"{len(open_)} of 2,990 completions" in ends.said
    assert "look cut off" in ends.said and ends.level == "look"


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


# --- repeated, contradictory, empty ---


def _small(rows: list[tuple[str, str, str]]) -> list[Pair]:
    return [Pair(Prompt(p), Completion(a), Completion(b), line=i) for i, (p, a, b) in enumerate(rows, 1)]


def test_duplicates_name_both_lines() -> None:
    rows = [("p", "a", "b"), ("p", "a", "c"), ("q", "a", "b"), ("p", "a", "b"), ("p", "a", "b")]
    examination = examine(_small(rows))
    finding = found(examination, "duplicates")
    assert (finding.lines, finding.count, finding.level) == ((1, 4, 5), 2, "bad")
    assert "2 of 5 pairs (40.0 %) repeat another record word for word; lines 1 and 4" in finding.said
    assert examination.figures["groups"]["duplicates"] == [[1, 4, 5]]
    many = [*pairs(100), pairs(100)[7]]
    assert one(many, "duplicates").level == "look"
    both = labels(pairs(3))
    assert found(examine([*both, replace(both[0], desirable=False)]), "duplicates").level == "fine"
    assert found(examine([*both, replace(both[0], line=99)]), "duplicates").lines == (1, 99)


def test_one_text_under_many_prompts() -> None:
    """A canned refusal that is chosen is told; an answer that stands as often on the other side is not."""
    made = [replace(p, chosen=Completion("I'm sorry, no.")) if i % 10 == 0 else p for i, p in enumerate(pairs(200))]
    made[0] = replace(made[0], rejected=Completion(" "))
    finding = one([*made, made[10]], "duplicates")
    lines = tuple(range(10, 2000, 100))
    assert (finding.level, finding.lines, finding.count) == ("look", lines, 21), "the repeat is one of them"
    assert (
        'one text, "I\'m sorry, no.", is chosen under 20 of 200 prompts (10.0 %) and rejected under 0' in finding.said
    )
    assert "whether that text answers" in finding.advice and "keep one" in finding.advice.lower()
    assert one(made[5:95], "duplicates").level == "fine"  # 9 of 90
    balanced = [replace(p, rejected=Completion("I'm sorry, no.")) if i % 20 == 5 else p for i, p in enumerate(made)]
    assert one(balanced, "duplicates").level == "fine"
    empty = [replace(p, rejected=Completion("")) for p in pairs(40)]
    assert one(empty, "duplicates").level == "fine"  # another check's
    refused = found(
        examine(labels([replace(p, rejected=Completion("No."), line=i) for i, p in enumerate(made)])), "duplicates"
    )
    assert '"No.", is undesirable under 200 of 200 prompts (100.0 %)' in refused.said


def test_contradictions_name_both_lines() -> None:
    rows = [("p", "a", "b"), ("q", "b", "a"), ("p", "b", "c"), ("p", "b", "a"), ("p", "a", "c")]
    examination = examine(_small(rows))
    finding = found(examination, "contradictions")
    assert (finding.lines, finding.level) == ((1, 4), "bad") and "lines 1 and 4, for instance" in finding.said
    assert "read as labels, 2 completions would be" in finding.said  # a and b, on both sides of prompt p
    assert examination.figures["groups"]["contradictions"] == [[1, 4]]
    assert one(_small([rows[0], rows[1], rows[4]]), "contradictions").level == "fine"


def test_contradictions_but_for_case_spaces_and_punctuation() -> None:
    rows = [("p", "A cat!", "B dog"), ("p", "b  dog.", "a cat"), ("q", "?", "!"), ("q", "!", "?"), ("r", "So.", "so")]
    finding = one(_small([*rows, ("r", "x", "y")]), "contradictions")
    assert finding.lines == (1, 2, 3, 4) and finding.said.startswith("2 times, in 4 of 6 pairs")
    assert finding.level == "bad" and "once only if case and punctuation do not count" in finding.said
    answers = [("Yes.", True), ("yes", False), ("no", False)]
    given = [LabelledCompletion(Prompt("p"), Completion(a), good, i) for i, (a, good) in enumerate(answers, 1)]
    finding = found(examine(given), "contradictions")
    assert finding.lines == (1, 2) and finding.said.startswith("Once, in 2 of 3")
    assert finding.level == "look", "it may be what is to be taught"


def test_a_completion_on_both_sides_is_looked_at_for_kto() -> None:
    """b is better than c and worse than a: no contradiction, but as a label it has both."""
    finding = one(_small([("p", "a", "b"), ("o", "a", "b"), ("p", "B.", "c"), ("q", "b", "d")]), "contradictions")
    assert (finding.level, finding.lines, finding.count) == ("look", (1, 3), 1) and "kto" in finding.advice
    assert finding.said == (
        "No two completions have both orders; read as labels, 1 completion would be desirable and undesirable, "
        "lines 1 and 3 for instance."
    )


def test_contradictions_of_labels_and_of_rankings() -> None:
    both = labels(pairs(3))
    finding = found(examine([*both, replace(both[2], desirable=False, line=9)]), "contradictions")
    assert finding.lines == (3, 9) and "both labels" in finding.said
    a, b, c = (Completion(name) for name in "abc")
    lists = [Ranking(Prompt("p"), order, line) for line, order in enumerate([(a, b, c), (c, b), (b, a)], 1)]
    conflicts = examine(lists).figures["groups"]["contradictions"]
    assert conflicts == [[1, 3], [1, 2]] or conflicts == [[1, 2], [1, 3]]
    assert found(examine([lists[0], Ranking(Prompt("q"), (c, a), 4)]), "contradictions").level == "fine"


def test_empty_and_equal_completions() -> None:
    rows = [("p", "a", "b"), ("q", " \n", "b"), ("r", "a", "a"), ("s", "b", "c")]
    finding = one(_small(rows), "empty_or_equal")
    assert (finding.lines, finding.count, finding.level) == ((2, 3), 2, "bad")
    assert (
        "1 of 4 pairs (25.0 %) has an empty completion and 1 of 4 pairs (25.0 %) has equal completions" in finding.said
    )


def test_skipped_records_by_reason() -> None:
    skipped = [Skipped(4, "chosen", "null"), Skipped(9, "chosen", "null"), Skipped(None, "prompt", "missing")]
    finding = found(examine(pairs(97), skipped=skipped), "skipped")
    assert finding.said == "3 of 100 records (3.0 %) are left out: 2 (chosen: null) and 1 (prompt: missing)."
    assert (finding.lines, finding.count, finding.level) == ((4, 9), 3, "look")
    assert found(examine(pairs(3), skipped=skipped), "skipped").level == "bad"
    assert found(examine(pairs(3), skipped=()), "skipped").said == "Every record of the source was read."
    unknown = found(examine(pairs(3)), "skipped")
    assert (unknown.level, unknown.said) == ("unknown", "Which records of the source were left out is not known here.")


def test_nearly_equal_completions() -> None:
    words = " ".join(f"word{i}" for i in range(30))
    rows = [
        ("p1", "Well, done!", "well   done"),  # but for signs
        ("p2", words, words.replace("word7", "other").replace("word9", "some")),  # 2 of 30 words
        ("p3", words, words.replace("word7", "x").replace("word8", "y").replace("word9", "z")),  # 3 of 30: not above .9
        ("p4", words, "first " + words),  # an insertion
        ("p5", "3 - 5", "3 + 5"),
        ("p6", "I am Llama", "I am Athene"),
        ("p7", words, " ".join(reversed(words.split()))),  # the same words
        ("p8", "same", "same"),
        ("p9", "?!", "..."),
    ]
    finding = one(_small(rows), "near_duplicates")
    assert finding.lines == (1, 2, 4) and "not compared" not in finding.said
    assert "completions of 1 of 9 pairs (11.1 %) differ in case" in finding.said
    assert (
        "completions of 2 of 9 pairs (22.2 %) differ in less than a tenth" in finding.said and "dpop" in finding.advice
    )


def test_what_is_too_long_to_compare_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheap comparisons come first; a long one is not begun where it takes more cells than are left."""
    short, long = (" ".join(f"w{i}" for i in range(n)) for n in (30, 3000))
    swapped = " ".join(["w1", "w0", *long.split()[2:]])
    rows = [("p1", long, swapped), ("p2", short, short + " end"), ("p3", short, "w29 " + short)]
    cost = 7 * 30  # a band of 3 to either side
    monkeypatch.setattr(near, "CELLS", 2 * cost)
    finding = one(_small(rows), "near_duplicates")
    assert finding.lines == (2, 3) and "; 1 pair of long completions is not compared, which" in finding.said
    monkeypatch.setattr(near, "CELLS", 2 * cost - 1)
    assert "2 pairs of long completions are not compared" in one(_small(rows), "near_duplicates").said
    finding = one(_small(rows[:1]), "near_duplicates")
    assert finding.said.startswith("No pair that could be compared has")


def test_edit_distances() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (["xyz"[i] for i in rng.integers(3, size=rng.integers(9))] for _ in range(2))
        full = list(range(len(b) + 1))
        for i, word in enumerate(a, 1):
            above, full[0] = full[0], i
            for j, other in enumerate(b, 1):
                above, full[j] = full[j], min(above + (word != other), full[j] + 1, full[j - 1] + 1)
        for most in (1, 2, 4, 9):
            assert edit_distance(a, b, most) == min(full[-1], most + 1)


def _prompted(prompts: Iterator[str]) -> list[Pair]:
    return [Pair(Prompt(p), Completion(f"a {i}."), Completion(f"b {i}."), line=i) for i, p in enumerate(prompts, 1)]


def test_nearly_equal_prompts() -> None:
    rng = random.Random(5)
    bodies = [text(rng, 60) for _ in range(60)]
    long = " ".join(f"w{i}" for i in range(40))
    prompts = [
        *bodies,
        bodies[3].upper() + " !",
        long,
        long.replace("w20", "other"),
        bodies[3],
        f"3 - 5 = {bodies[9][0]}",
    ]
    examination = examine(_prompted(iter(prompts)))
    assert examination.figures["groups"]["near_duplicates"] == [[4, 61], [62, 63]]  # 4 and 64 are equal: no finding
    finding = found(examination, "near_duplicates")
    assert finding.count == 2 and "evaluates" in finding.advice and finding.level == "look"


def test_a_frame_that_all_prompts_share_makes_none_alike() -> None:
    """A long instruction in front of every question, as text and as a system message."""
    rng = random.Random(6)
    frame = " ".join(f"rule{i}" for i in range(200))
    questions = [text(rng, 25) for _ in range(40)]
    framed = [f"{frame}\n{q}\nAnswer:" for q in questions]
    assert one(_prompted(iter(framed)), "near_duplicates").level == "fine"
    # Neither does one that does not have it, nor a second frame, take the frame for what they say.
    other = [f"{' '.join(reversed(frame.split()))} {text(rng, 25)}" for _ in range(15)]
    copy = framed[3].replace(questions[3], questions[3].upper().replace(" ", ", "))
    mixed = _prompted(iter([*framed, "Hello there", *other, copy]))
    assert examine(mixed).figures["groups"]["near_duplicates"] == [[4, 57]]
    # The same long question under two frames of a few words is told, under two long ones it is not.
    long = [" ".join(f"{word}{i}" for i in range(50)) for word in ("red", "blue")]
    both = [*(f"put into French {q}" for q in questions), *(f"say in plain German {q}" for q in questions)]
    asked = [*both, f"put into French {long[0]}", f"say in plain German {long[0]}"]
    asked += [f"{frame} {long[1]}", *framed, f"{' '.join(reversed(frame.split()))} {long[1]}"]
    groups = examine(_prompted(iter(asked))).figures["groups"]["near_duplicates"]
    assert [81, 82] in groups and not any({83, 124} & set(group) for group in groups)
    chats = [Prompt(q, (("system", f"{frame} {i % 2}"), ("user", q))) for i, q in enumerate(questions)]
    records = [Pair(chat, Completion("a b."), Completion("c d.")) for chat in chats]
    assert one(records, "near_duplicates").level == "fine"
