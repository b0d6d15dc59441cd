"""Agreement on the published data, and on a file small enough to be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alignbench.agree.figures import RESAMPLES, Answers, Items, statistics, three
from alignbench.records import Verdict
from alignbench.results import Json, read_jsonl

from .agreeing import PAIRS, agreed, call, figures, jsonl, judge_file

# --- the figures of the published data, as a person gets them


@pytest.mark.parametrize(
    ("data", "judge", "accuracy", "kappa", "orders", "order_kappa"),
    [
        ("natural", "gpt-4", 0.955, 0.9078, 0.950, 0.8977),
        ("natural", "chatgpt", 0.815, 0.6197, 0.710, 0.4287),
        ("neighbor", "gpt-4", 0.7873, 0.5712, 0.9328, 0.8651),
        ("neighbor", "chatgpt", 0.1940, -0.6005, 0.7164, 0.4616),
    ],
)
def test_llmbar(
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: str,
    judge: str,
    accuracy: float,
    kappa: float,
    orders: float,
    order_kappa: float,
) -> None:
    monkeypatch.chdir(data_folder / "llmbar")
    name = f"replay:{data}-verdicts-{judge}.json"
    summary = agreed(monkeypatch, tmp_path, f"{data}.json", name)
    found = summary["judges"][name]
    label, own = found["label"]["every"], found["self"]
    assert (label["raw"]["value"], label["kappa"]["value"]) == pytest.approx((accuracy, kappa), abs=5e-5)
    assert (own["agreement"]["value"], own["kappa"]["value"]) == pytest.approx((orders, order_kappa), abs=5e-5)
    for figure in (label["raw"], label["kappa"], label["alpha"], own["agreement"], own["kappa"], own["position_bias"]):
        assert figure["low"] < figure["value"] < figure["high"], figure
    shown = capsys.readouterr().out
    printed = figures(shown, f"replay:{data}")
    assert [float(figure) for figure in (*printed[:2], *printed[3:5])] == pytest.approx(
        [accuracy, kappa, orders, order_kappa], abs=5e-5
    )


def test_pandalm(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data_folder / "pandalm")
    name = "replay:gpt-3.5-turbo-verdicts.json"
    summary = agreed(monkeypatch, tmp_path, "testset-v1.json", name)
    humans, found = summary["humans"], summary["judges"][name]
    raw = [pair["every"]["raw"]["value"] for pair in humans["pairs"]]
    kappa = [pair["every"]["kappa"]["value"] for pair in humans["pairs"]]
    assert len(raw) == 3 and (min(raw), max(raw)) == pytest.approx((0.913, 0.929), abs=5e-4)
    assert (min(kappa), max(kappa)) == pytest.approx((0.852, 0.879), abs=5e-4)
    expected = {"every": (0.698, 0.476), "usable": (0.716, 0.493), "decided": (0.815, 0.630)}
    for treatment, values in expected.items():
        label = found["label"][treatment]
        assert (label["raw"]["value"], label["kappa"]["value"]) == pytest.approx(values, abs=5e-4)
    assert found["orders"] == 1 and found["self"] is None
    assert found["answers"] == {
        "first": 460, "second": 476, "tie": 38, "refused": 0, "unparsed": 25, "unanswered": 0
    }  # fmt: skip
    # People stand above the judge on the same items.
    assert found["leave_one_out"]["every"]["n"] == humans["leave_one_out"]["every"]["n"]
    assert found["leave_one_out"]["every"]["raw"]["high"] < humans["leave_one_out"]["every"]["raw"]["low"]
    shown = capsys.readouterr().out
    printed = [figures(shown, start)[:2] for start in ("replay:gpt", "usable", "no ties", "annotator")]
    assert printed == [["0.6977", "0.4755"], ["0.7156", "0.4929"], ["0.8151", "0.6299"], ["0.9129", "0.8520"]]
    assert "pairs of 170 prompts, 3 annotators" in shown


# --- by hand


def values(found: Json) -> tuple[int, float, float]:
    return found["n"], found["raw"]["value"], found["kappa"]["value"]


def test_a_judge_against_labels_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the judge's eight answers (1 1, 1 2, 2 refused, tie 2) five are the labels (1, 1, 2, tie).

    Expected by chance: 4/8 * 3/8 + 2/8 * 3/8 + 2/8 * 1/8 = 5/16; kappa (5/8 - 5/16) / (11/16) = 5/11. Usable are seven.
    Without ties the labels are 1 1 1 1 2 and the answers 1 1 1 2 2: (.8 - .56) / .44 = 6/11.
    """
    mine = judge_file(tmp_path / "mine.py")
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl"), mine)
    found = summary["judges"][mine]
    assert values(found["label"]["every"]) == pytest.approx((8, 5 / 8, 5 / 11))
    # Labels 7 ones, 5 twos, 3 ties, 1 unusable; 3 items differ: 1 - 15 * 6 / (7*9 + 5*11 + 3*13 + 1*15).
    assert found["label"]["every"]["alpha"]["value"] == pytest.approx(1 - 90 / 172)
    assert values(found["label"]["usable"])[:2] == pytest.approx((7, 5 / 7))
    assert values(found["label"]["decided"]) == pytest.approx((5, 4 / 5, 6 / 11))
    # Pairs 1, 2 and 4 have two usable answers: 1 1, 1 2, tie 2. Chance is 2/3 * 1/3 = 2/9.
    own = found["self"]
    assert own["n"] == 3 and own["agreement"]["value"] == pytest.approx(1 / 3)
    assert own["kappa"]["value"] == pytest.approx(1 / 7)
    assert own["position_bias"]["value"] == pytest.approx((0 + 1 + 0.5) / 3), "the output shown first is favoured"
    assert own["contradictions"]["value"] == pytest.approx(1 / 3)
    # Where the lengths differ the judge names a winner five times, four times the longer; people one of two.
    assert found["longer"]["n"] == 5 and found["longer"]["value"] == pytest.approx(4 / 5)
    assert (summary["humans"]["longer"]["n"], summary["humans"]["longer"]["value"]) == (2, 0.5)
    assert summary["humans"]["labels"] == {"first": 2, "second": 1, "tie": 1, "none": 0}
    assert found["answers"] == {
        "first": 3, "second": 3, "tie": 1, "refused": 1, "unparsed": 0, "unanswered": 0
    }  # fmt: skip


def test_people_against_each_other_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes 1 1 2, 1 1 1, 2 2 2, tie 2 tie. Of twelve twos of people eight agree: 1 + 3 + 3 + 1.

    The others have a majority eight times: for the first annotator on pairs 2 and 3, for the second on 2, 3 and 4 (a
    tie, and the vote is 2), for the third on 1 (1, and the vote is 2), 2 and 3. Six votes are like it.
    """
    votes = ([1, 1, 2], [1, 1, 1], [2, 2, 2], [0, 2, 0])
    rows = [{**row, "labels": labels} for row, labels in zip(PAIRS, votes, strict=True)]
    for row in rows:
        del row["label"]
    first = judge_file(tmp_path / "first.py", [("first", "first")] * 4)
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl", rows), first)
    humans, found = summary["humans"], summary["judges"][first]
    assert [pair["every"]["raw"]["value"] for pair in humans["pairs"]] == [3 / 4, 3 / 4, 2 / 4]
    assert values(humans["pooled"]["every"])[:2] == pytest.approx((12, 8 / 12))
    assert humans["pooled"]["decided"]["n"] == 9
    assert values(humans["leave_one_out"]["every"])[:2] == (8, 6 / 8)
    assert [pair["label"] for pair in read_jsonl(tmp_path / "out" / "verdicts.jsonl")] == [1, 1, 2, 0]
    # "first" is the majority of the others in four of the eight, and 5 of all 12 votes; in both orders alike.
    assert values(found["leave_one_out"]["every"])[:2] == (16, 4 / 8)
    assert values(found["annotators"]["every"])[:2] == pytest.approx((24, 5 / 12))
    # Alpha of all: coincidences of 12 votes, 5 ones, 5 twos, 2 ties; pairs 1 and 4 disagree in 2 of 3.
    assert humans["alpha"]["value"] == pytest.approx(1 - 11 * (2 + 2) / (5 * 7 + 5 * 7 + 2 * 10))


def test_judges_who_both_fail_do_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judges = [
        judge_file(tmp_path / name, said)
        for name, said in (
            ("a.py", [("refused", "first"), ("tie", "tie"), ("first", "first"), ("second", "second")]),
            ("b.py", [("refused", "unparsed"), ("tie", "tie"), ("second", "first"), ("second", "second")]),
        )
    ]
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl"), ",".join(judges))
    (found,) = summary["between"]
    assert (found["a"], found["b"]) == tuple(judges)
    assert values(found["every"])[:2] == (8, 5 / 8)
    assert values(found["usable"])[:2] == (6, 5 / 6)
    assert values(found["decided"])[:2] == (4, 3 / 4)


@pytest.mark.parametrize("name", ["raw", "kappa", "alpha"])
def test_both_orders_of_a_pair_and_all_pairs_of_a_prompt_are_resampled_together(name: str) -> None:
    rng = np.random.default_rng(1)
    label = 1.0 + (rng.random(150) < 0.5)
    judge = np.where(rng.random(150) < 0.7, label, 3 - label)
    width = []
    for clusters in (np.arange(300), np.tile(np.arange(150), 2)):
        found = statistics(Items(np.tile(label, 2), np.tile(judge, 2), clusters), "test")[name]
        assert found["n"] == 300
        width.append(found["high"] - found["low"])
    # As independent items the two orders would make the interval too narrow.
    assert width[1] / width[0] == pytest.approx(2**0.5, rel=0.1)
    assert RESAMPLES >= 1000


def test_perfect_agreement_has_the_bound_that_so_few_prompts_allow() -> None:
    labels = np.array([1.0, 2.0] * 10)
    found = three(Items(labels, labels, np.arange(20)), "test")["every"]
    assert found["raw"]["value"] == 1 and found["raw"]["high"] == 1
    assert 0.8 < found["raw"]["low"] < 0.9, "20 of 20"
    assert found["kappa"]["value"] == 1 and found["kappa"]["low"] is None


def test_the_order_that_was_asked_counts_whichever_it_is() -> None:
    verdicts = [Verdict("first", "unanswered"), Verdict("unanswered", "second")]
    answers = Answers.of(verdicts, one_order=True)
    assert answers.codes.tolist() == [[1.0, 2.0]] and not answers.both
    assert answers.asked.tolist() == [[0, 1]]
    assert Answers.of(verdicts).codes.tolist() == [[1.0, -1.0], [-1.0, 2.0]]


def test_judges_are_compared_on_the_order_that_both_were_asked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one was asked in the swapped order alone about pairs 2 and 4, and says there what the other says there."""
    prompts = [row["prompt"] for row in PAIRS]
    texts = {row["prompt"]: row for row in PAIRS}
    one = [
        {**texts[prompt], "judge": "one", "forward": said, "swapped": None}
        for prompt, said in zip(prompts, ("first", "second", "first", "tie"), strict=True)
    ]
    for turned in (one[1], one[3]):  # as another file may name them: what it shows first is our output_2
        turned["output_1"], turned["output_2"] = turned["output_2"], turned["output_1"]
        turned["forward"] = {"second": "first", "tie": "tie"}[turned["forward"]]
    both = [("first", "second"), ("first", "second"), ("first", "second"), ("first", "tie")]
    other = [
        {**texts[prompt], "judge": "other", "forward": said[0], "swapped": said[1]}
        for prompt, said in zip(prompts, both, strict=True)
    ]
    partly = [row for place, row in enumerate(one) if place != 1] + [
        {**texts[prompts[1]], "judge": "third", "forward": "first", "swapped": None}
    ]
    names = [
        f"replay:{jsonl(tmp_path / f'{name}.jsonl', [{**row, 'judge': name} for row in rows])}"
        for name, rows in (("one", one), ("other", other), ("third", partly))
    ]
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl"), ",".join(names))
    with_other, among, _ = summary["between"]
    assert with_other["orders"] == 1 and values(with_other["every"])[:2] == (4, 1)
    # of pair 2 they were asked in different orders, which is no common question
    assert values(among["every"])[:2] == (3, 1)


def test_a_label_without_a_majority_counts_in_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "labels": [1, 2] if n == 0 else [2, 2]} for n, row in enumerate(PAIRS)]
    for row in rows:
        del row["label"]
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl", rows), "length")
    assert summary["humans"]["labels"] == {"first": 0, "second": 3, "tie": 0, "none": 1}
    assert summary["judges"]["length"]["label"]["every"]["n"] == 6
    assert summary["humans"]["leave_one_out"] is None, "of two annotators, the others are one"


def test_limit_and_replay_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts without texts stay with their pairs where a record is skipped and only some are wanted."""
    rows = [row | {"label": 3} if n == 1 else row for n, row in enumerate(PAIRS)]
    verdicts = [{"idx": n, "gpt_result": said} for n, said in enumerate(["1", "1", "2", "Tie"])]
    replay = f"replay:{jsonl(tmp_path / 'v.jsonl', verdicts)}"
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl", rows), replay, "--limit", "2")
    assert summary["judges"][replay]["label"]["every"]["raw"]["value"] == 1
    assert summary["judges"][replay]["label"]["every"]["n"] == 2
    assert summary["data"]["records"] == 4 and summary["data"]["pairs"] == 2
    assert "was asked in one order only" in " ".join(summary["notes"])
    short = f"replay:{jsonl(tmp_path / 'short.jsonl', verdicts[:3])}"
    assert call(monkeypatch, str(tmp_path / "p.jsonl"), "--judge", short, "--out", str(tmp_path / "out")) == 2
