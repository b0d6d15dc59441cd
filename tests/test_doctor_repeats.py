"""What the doctor says of records that repeat, contradict or nearly agree with others, or are empty."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from alignbench.doctor import examine, near
from alignbench.doctor.near import edit_distance
from alignbench.formats import Skipped
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt, Ranking
from tests.doctor_records import found, labels, one, pairs, text


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
