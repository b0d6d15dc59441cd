"""The doctor on the pairs of Anthropic HH, against plain Python on the raw file."""

from __future__ import annotations

import gzip
import json
import re
from itertools import combinations, pairwise
from math import comb
from pathlib import Path
from statistics import mean

import pytest

from alignbench.data import read_records
from alignbench.doctor import Examination, examine
from tests.doctor_records import found

Row = tuple[int, str, str, str]  # line, prompt, chosen, rejected


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
