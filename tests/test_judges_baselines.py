"""Judges that need no model: the longer completion, a coin, and recorded verdicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.judge import JudgeContext
from alignbench.judges.length import Length
from alignbench.judges.random import Random
from alignbench.judges.replay import Replay
from alignbench.plugins import find, parse_judges
from alignbench.records import Comparison, Completion, Prompt, Verdict

CONTEXT = JudgeContext(lambda prompts, completions: None, {})
Row = dict[str, Any]


def item(first: str, second: str, prompt: str = "say") -> Comparison:
    return Comparison(Prompt(prompt), Completion(first), Completion(second))


def both(verdict: Verdict) -> tuple[str, str]:
    return verdict.forward, verdict.swapped


def test_the_baselines_are_found_by_name_and_take_no_argument() -> None:
    assert parse_judges("length,random,replay:some:file.json") == [
        ("length", ""), ("random", ""), ("replay", "some:file.json")
    ]  # fmt: skip
    for name in ("length", "random"):
        assert not find("judge", name).needs and not find("judge", name).remote
        with pytest.raises(InputError, match=f"{name} takes no argument, but was given 'words': write `{name}`"):
            find("judge", name).open("words", CONTEXT)


def test_the_longer_completion_wins_in_characters_without_outer_white_space() -> None:
    items = [item("abc", "ab"), item("a b", "wordy"), item("ab  \n", " ab"), item("", "a"), item("ééé", "ab")]
    verdicts = Length.open("", CONTEXT).compare("?", items)
    assert [both(v) for v in verdicts] == [
        ("first", "first"), ("second", "second"), ("tie", "tie"), ("second", "second"), ("first", "first")
    ]  # fmt: skip
    assert [v.margin for v in verdicts] == [1, -2, 0, -1, 1]


def test_a_coin_is_fixed_by_what_is_shown_and_fair_in_each_order() -> None:
    items = [item(f"one {n}", f"two {n}") for n in range(2000)]
    verdicts = Random.open("", CONTEXT).compare("which ?", items)
    assert verdicts == Random.open("", CONTEXT).compare("which ?", items), "asked again, the same"
    exchanged = Random.open("", CONTEXT).compare("which ?", [item(i.second.text, i.first.text) for i in items])
    other = {"first": "second", "second": "first"}
    assert [(other[v.swapped], other[v.forward]) for v in exchanged] == [both(v) for v in verdicts], "same questions"
    counts = {pair: [both(v) for v in verdicts].count(pair) for pair in {both(v) for v in verdicts}}
    # 500 of each are expected, with a standard deviation of 19: the two orders are independent and fair.
    assert len(counts) == 4 and all(abs(count - 500) < 100 for count in counts.values()), counts
    for changed in (
        Random().compare("who ?", items),
        Random().compare("which ?", [item(i.first.text, i.second.text, "tell") for i in items]),
    ):
        same = sum(both(a) == both(b) for a, b in zip(verdicts, changed, strict=True))
        assert abs(same - 500) < 100, "another question or prompt is another coin"


# --- recorded verdicts


def write(path: Path, rows: Sequence[Any], lines: bool = False) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows), encoding="utf-8")
    return str(path)


def replay(path: Path, rows: Sequence[Any], lines: bool = False) -> Replay:
    return Replay.open(write(path, rows, lines), CONTEXT)


def llmbar(prompt: str, forward: Any, swapped: Any) -> Row:
    orders = {"swap = False": {"completion": forward}, "swap = True": {"completion": swapped}}
    return {"input": prompt, "output_1": "x", "output_2": "y", "label": 1, "results": [orders]}


def test_llmbars_raw_replies_are_read_and_translated_back(tmp_path: Path) -> None:
    reasoned = "Output (a) is short. Output (b) follows. Therefore, Output (b) is better."
    replies = [
        (["Output (a)", "stop"], ["Output (b)", "stop"], ("first", "first")),
        ("output (b)", "Output (a).", ("second", "second")),
        ("Output (a)", "Output (a)", ("first", "second")),
        (reasoned, reasoned, ("second", "first")),
        ("Output (a) is better at first. Yet Output (b) is better.", "Output (b)", ("second", "first")),
        ("Output (a) or Output (b)", "neither", ("unparsed", "unparsed")),
        ("", None, ("unparsed", "unparsed")),
    ]
    rows = [llmbar(f"p{n}", forward, swapped) for n, (forward, swapped, _) in enumerate(replies)]
    judge = replay(tmp_path / "v.json", rows)
    items = [item("x", "y", f"p{n}") for n in range(len(rows))]
    assert [both(v) for v in judge.compare("?", items)] == [expected for _, _, expected in replies]
    assert not judge.one_order


def test_llmbars_winner_counts_where_there_is_no_reply(tmp_path: Path) -> None:
    row = llmbar("p", None, None)
    row["results"] = [{"swap = False": {"winner": "2"}, "swap = True": {"winner": "1"}}]
    assert both(replay(tmp_path / "v.json", [row]).compare("?", [item("x", "y", "p")])[0]) == ("second", "first")


OWN: list[Row] = [
    {"prompt": "p", "output_1": "x", "output_2": "y", "forward": "first", "swapped": "second", "margin": 0.5},
    {"prompt": "q", "output_1": "x", "output_2": "y", "forward": "refused", "swapped": "tie"},
    {"prompt": "r", "output_1": "x", "output_2": "y", "forward": "2", "swapped": "unanswered"},
]


def test_verdicts_are_found_by_their_texts_in_either_order(tmp_path: Path) -> None:
    judge = replay(tmp_path / "v.jsonl", OWN, lines=True)
    items = [item("x", "y", "r"), item("x", "y", "p"), item("y", "x", "p"), item("y", "x", "q"), item("x", "y", "new")]
    verdicts = judge.compare("?", items)
    assert verdicts[:2] == [Verdict("second", "unanswered"), Verdict("first", "second", 0.5)]
    # With the outputs the other way round, what was forward is now swapped, and names the other place.
    assert verdicts[2:4] == [Verdict("first", "second", -0.5), Verdict("tie", "refused")]
    assert verdicts[4] == Verdict("unanswered", "unanswered")
    assert judge.problems() == [f"{tmp_path}/v.jsonl holds no verdict on 1 of the comparisons: they stay unanswered."]


def test_texts_that_come_twice_are_taken_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [OWN[0] | {"forward": winner, "swapped": winner} for winner in ("first", "second")]
    judge = replay(tmp_path / "v.json", rows)
    assert [v.forward for v in judge.compare("?", [item("x", "y", "p")] * 2)] == ["first", "second"]
    assert [v.forward for v in judge.compare("?", [item("x", "y", "p")])] == ["first"], "each call starts anew"


def test_one_order_is_one_order(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "output_1": "x", "output_2": "y", "verdict": "B"}]
    judge = replay(tmp_path / "v.json", rows)
    assert judge.one_order
    assert judge.compare("?", [item("x", "y", "p")]) == [Verdict("second", "unanswered")]
    assert judge.compare("?", [item("y", "x", "p")]) == [Verdict("unanswered", "first")]


PANDALM = [{"idx": n, "gpt_result": said} for n, said in enumerate(["1", "2", "Tie", "garbage", None])]


def test_pandalms_verdicts_are_matched_by_number_or_place(tmp_path: Path) -> None:
    items = [item("x", "y", str(n)) for n in range(5)]
    expected = ["first", "second", "tie", "unparsed", "unparsed"]
    judge = replay(tmp_path / "v.json", PANDALM)
    assert [v.forward for v in judge.compare("?", items)] == expected, "as many as there are: by place"
    assert {v.swapped for v in judge.compare("?", items)} == {"unanswered"} and judge.one_order
    judge.align(total=5, places=[1, 4])
    assert [v.forward for v in judge.compare("?", items[:2])] == ["second", "unparsed"]
    judge.align(total=5, places=[0, 1], numbers=[2, 1, 0, 4, 3])
    assert [v.forward for v in judge.compare("?", items[:2])] == ["tie", "second"]


def test_verdicts_on_other_data_are_refused(tmp_path: Path) -> None:
    judge = replay(tmp_path / "v.json", PANDALM)
    with pytest.raises(InputError, match=r"v\.json holds 5 verdicts, and there are 4 pairs: give the verdicts on"):
        judge.align(total=4, places=[0, 1, 2, 3])
    with pytest.raises(InputError, match="no verdict on the pair of idx 7: it is about other pairs"):
        judge.align(total=5, places=[0], numbers=[0, 1, 2, 3, 7])
    with pytest.raises(InputError, match=r"5 verdicts without the texts .* cannot be matched with 2 comparisons"):
        replay(tmp_path / "v.json", PANDALM).compare("?", [item("x", "y")] * 2)
    by_text = replay(tmp_path / "w.json", OWN)
    with pytest.raises(InputError, match=r'on any of the 1 comparisons, .* prompt "say": it is about other data'):
        by_text.compare("?", [item("x", "y")])
    assert by_text.compare("?", []) == []


def test_a_file_of_several_judges_needs_a_name(tmp_path: Path) -> None:
    rows = [OWN[0] | {"judge": "lm:a/b"}, OWN[0] | {"judge": "length", "forward": "tie"}]
    file = write(tmp_path / "v.jsonl", rows, lines=True)
    with pytest.raises(InputError, match=r'the verdicts of "lm:a/b, length": name one judge, as in replay:.*::lm:a/b'):
        Replay.open(file, CONTEXT)
    judge = Replay.open(f"{file}::length", CONTEXT)
    assert judge.compare("?", [item("x", "y", "p")])[0].forward == "tie"
    with pytest.raises(InputError, match=r"no verdicts of judge 'random', but of \"lm:a/b, length\""):
        Replay.open(f"{file}::random", CONTEXT)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p", "label": 1}], "holds no verdicts that can be replayed: it has the fields \"label, prompt\""),
        ([OWN[0] | {"forward": 3}], r'line 1 \(forward\): "3" is none of 1, 2 or 0 for a tie'),
        ([OWN[0], OWN[1] | {"output_1": None}], r"line 1 \(output_1\): null"),
        ([{"idx": "x", "gpt_result": "1"}], r"line 1 \(idx\): no whole number"),
        ([llmbar("p", "", "") | {"results": []}], r'line 1 \(results\): its first entry has no "swap = False"'),
        ([], "is empty"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_replayed_is_one_sentence(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replay(tmp_path / "v.json", rows)


def test_replay_needs_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a file of recorded verdicts: write replay:FILE"):
        Replay.open("", CONTEXT)
    with pytest.raises(InputError, match=r"nowhere\.json is missing"):
        Replay.open(str(tmp_path / "nowhere.json"), CONTEXT)
