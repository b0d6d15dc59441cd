"""`alignbench agree` as a command: what it writes and prints, and the mistakes that people make."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from rich.cells import cell_len

from alignbench.agree import plot
from alignbench.agree.plot import agreement_plot
from alignbench.report.style import Look
from alignbench.results import Json, read_json, read_jsonl

from .agreeing import PAIRS, SAID, agreed, call, jsonl, judge_file


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here intervals are shown, not trusted."""
    monkeypatch.setattr("alignbench.agree.figures.RESAMPLES", 100)


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "table.csv").read_text(encoding="utf-8").splitlines()))


def test_everything_is_written_and_the_verdicts_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, pairs = judge_file(tmp_path / "mine.py"), jsonl(tmp_path / "my.pairs.jsonl")
    assert call(monkeypatch, pairs, "--judge", f"{mine},length") == 0
    out = tmp_path / "results" / "agree" / "my.pairs"
    assert {path.name for path in out.iterdir()} == {
        "summary.json", "table.md", "table.csv", "verdicts.jsonl", "agreement.png"
    }  # fmt: skip
    summary = read_json(out / "summary.json")
    assert summary["schema"] == 1 and summary["kind"] == "agreement"
    assert [(row["forward"], row["swapped"]) for row in read_jsonl(out / "verdicts.jsonl")[:4]] == SAID
    rows = table(out)
    (accuracy,) = [
        row for row in rows if (row["rater"], row["answers"], row["statistic"]) == (mine, "every", "raw")
        and row["against"] == "label"
    ]  # fmt: skip
    assert (float(accuracy["value"]), int(accuracy["n"])) == (5 / 8, 8)
    assert "0.6250" in (out / "table.md").read_text(encoding="utf-8")
    # A judge again, from its own verdicts.
    for name in (mine, "length"):
        replay = f"replay:{out / 'verdicts.jsonl'}::{name}"
        again = agreed(monkeypatch, tmp_path, pairs, replay)["judges"][replay]
        assert again | {"problems": [], "remote": False} == summary["judges"][name] | {"problems": [], "remote": False}
    # And the verdicts hold the labels too: a file of pairs.
    kept = tmp_path / "v.jsonl"
    kept.write_text("\n".join((out / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()[:4]), encoding="utf-8")
    assert agreed(monkeypatch, tmp_path, str(kept), "length")["judges"]["length"] == summary["judges"]["length"]
    assert "written to results/agree/my.pairs: summary.json, table.md" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal_shows_every_figure_within_its_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    rows = [{**PAIRS[n % 4], "prompt": str(n), "label": 1 + (n % 3 > 0), "annotator1": 1 + n % 2, "annotator2": 1,
             "annotator3": 2 - n % 2} for n in range(40)]  # fmt: skip
    judges = f"{judge_file(tmp_path / 'with_a_long_name.py', SAID * 10)},length,random"
    pairs = jsonl(tmp_path / "p.jsonl", rows)
    assert call(monkeypatch, pairs, "--judge", judges, "--out", str(tmp_path / "out"), columns=columns) == 0
    shown = capsys.readouterr().out
    tables = shown[shown.index("Judges against the human label") : shown.index(" - intervals")]
    assert max(map(cell_len, tables.splitlines())) <= columns
    assert "…" not in tables
    summary = read_json(tmp_path / "out" / "summary.json")
    for judge in summary["judges"].values():
        for found in (judge["label"]["every"]["raw"], judge["self"]["position_bias"], judge["longer"]):
            assert f"{found['value']:.4f}" in tables
            if found["low"] is not None:  # a judge that scores has no position bias in any resample
                assert re.sub(r"(?<!\d)0\.", ".", f"[{found['low']:.3f},{found['high']:.3f}]") in tables
    for title in ("People against each other", "Judges beside people", "The two orders", "Judges against each other"):
        assert title in tables


def test_without_a_judge_only_people_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = jsonl(tmp_path / "p.jsonl")
    agreed(monkeypatch, tmp_path, pairs, "length")
    assert (tmp_path / "out" / "agreement.png").exists()
    capsys.readouterr()
    assert agreed(monkeypatch, tmp_path, pairs)["judges"] == {}
    shown = capsys.readouterr().out
    assert "there is nothing to agree; name judges with --judge" in " ".join(shown.split())
    assert "Judges" not in shown and "fused" not in shown
    # What an earlier call with a judge left behind is gone.
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.json", "table.md", "table.csv"}


def test_options_reach_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order: opened with everything, checked, then asked."""
    kept = tmp_path / "kept.txt"
    note = f"with open({str(kept)!r}, 'a', encoding='utf-8') as file: file.write"
    mine = judge_file(
        tmp_path / "mine.py",
        check=f"{note}('checked ')",
        before=f"c = self.context\n        {note}(json.dumps([question, self.argument, c.url, c.timeout, "
        "c.concurrency, c.price, c.device, str(c.answers), [i.prompt.text for i in items]]))",
        remote=True,
    )
    options = ["--judge-url", "http://127.0.0.1:1/v1", "--judge-timeout", "2.5", "--judge-concurrency", "3"]
    options += ["--judge-price", "2.5/10", "--device", "cpu", "--question", "Which rhymes?"]
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl"), f"{mine}:x:y", *options)
    checked, _, asked = kept.read_text(encoding="utf-8").partition(" ")
    assert checked == "checked"
    assert json.loads(asked) == [
        "Which rhymes?", "x:y", "http://127.0.0.1:1/v1", 2.5, 3, [2.5, 10], "cpu",
        str(tmp_path / "out" / "answers.sqlite"), ["p1", "p2", "p3", "p4"],
    ]  # fmt: skip
    assert summary["question"] == "Which rhymes?" and list(summary["judges"]) == [f"{mine}:x:y"]


def test_what_a_server_never_answered_ends_with_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [("first", "unanswered"), *SAID[1:]]
    arguments = [jsonl(tmp_path / "p.jsonl"), "--out", str(tmp_path / "out"), "--judge"]
    problem = "1 question: the server was gone."
    mine = judge_file(tmp_path / "a.py", said, remote=True, problems=[problem])
    assert call(monkeypatch, *arguments, mine) == 1
    assert problem in " ".join(capsys.readouterr().out.split())
    assert call(monkeypatch, *arguments, judge_file(tmp_path / "b.py", SAID, remote=True)) == 0


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which a call is refused: exit code 2, without a traceback."""
    assert call(monkeypatch, *arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return " ".join(shown.split())


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("lenght", "unknown judge 'lenght'"),
        ("length,length", "the judge 'length' is given twice"),
        ("gold", "judge gold needs a benchmark's true reward, which pairs with human labels lack"),
        ("reward", "judge reward is a model that a run trains, and there is no run here: write reward:PATH."),
        ("lm", "write lm:PATH."),
        ("reward:nowhere", "nowhere"),
        ("replay:nowhere.json", "nowhere.json is missing"),
        ("length:5", "judge length takes no argument"),
        ("./nowhere.py", "cannot be read"),
    ],
)
def test_a_wrong_judge_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], judge: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, capsys, jsonl(tmp_path / "p.jsonl"), "--judge", judge)
    assert not (tmp_path / "results").exists()


def test_a_wrong_judge_of_the_users_own_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = jsonl(tmp_path / "p.jsonl")
    for options, message in (
        ({"before": "raise ValueError('no such thing')"}, r"a\.py failed \(line \d+\): ValueError: no such thing\."),
        ({"check": "return 1 / 0"}, r"a\.py failed \(line \d+\): ZeroDivisionError"),
        ({"before": "return None"}, r"a\.py: compare must return a list of 4 Verdicts, one for each item"),
        ({"before": "return ['first'] * 4"}, "compare must return a list of 4 Verdicts"),
        ({"said": SAID[:3]}, "compare must return a list of 4 Verdicts"),
    ):
        mine = judge_file(tmp_path / "a.py", **options)
        out = ["--out", str(tmp_path / "out")]
        assert re.search(message, refused(monkeypatch, capsys, pairs, "--judge", mine, *out)), message


def test_nobody_is_asked_before_every_judge_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    first = judge_file(tmp_path / "a.py", before=f"open({str(asked)!r}, 'w').close()")
    second = judge_file(tmp_path / "b.py", check="raise OSError('no key')")
    said = refused(monkeypatch, capsys, jsonl(tmp_path / "p.jsonl"), "--judge", f"{first},{second}")
    assert "no key" in said and not asked.exists()
    # Neither where recorded verdicts are on other pairs.
    other = jsonl(tmp_path / "v.jsonl", [{"idx": 0, "gpt_result": "1"}])
    said = refused(monkeypatch, capsys, str(tmp_path / "p.jsonl"), "--judge", f"{first},replay:{other}")
    assert "holds 1 verdicts, and there are 4 pairs" in said and not asked.exists()


@pytest.mark.parametrize("price", ["x", "1", "1/-2", "1/2/3"])
def test_a_wrong_price_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], price: str
) -> None:
    said = refused(monkeypatch, capsys, jsonl(tmp_path / "p.jsonl"), "--judge", "length", "--judge-price", price)
    assert "--judge-price" in said


def test_a_file_of_pairs_that_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nowhere.jsonl is missing" in refused(monkeypatch, capsys, str(tmp_path / "nowhere.jsonl"))


def test_a_call_that_is_stopped_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = judge_file(tmp_path / "a.py", before="raise KeyboardInterrupt")
    assert call(monkeypatch, jsonl(tmp_path / "p.jsonl"), "--judge", mine, "--out", str(tmp_path / "out")) == 130
    assert "stopped" in capsys.readouterr().err


# --- names and texts are anybody's

NASTY = "[red]|<script>$x$\x1b[31m\u202e"


def test_names_and_texts_are_shown_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = judge_file(tmp_path / f"{NASTY.replace('/', '')}.py", problems=[NASTY])
    rows = [*PAIRS, {**PAIRS[0], "label": NASTY}]
    monkeypatch.chdir(tmp_path)
    pairs = jsonl(tmp_path / f"{NASTY.replace('/', '')}.jsonl", rows)
    summary = agreed(monkeypatch, tmp_path, Path(pairs).name, f"./{Path(mine).name}")
    assert summary["notes"][-1].endswith(NASTY)
    shown = capsys.readouterr().out
    written = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    for text in (shown, written):
        assert "\x1b" not in text and "\u202e" not in text
        assert "\\x1b" in text.replace("\\\\", "\\")
    assert "[red]|<script>" in "".join(shown.split()), "as it is, with its brackets"
    assert "<script>" not in written and "\\[red\\]\\|&lt;script&gt;" in written
    assert "\x1b" not in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8")


def test_a_spreadsheet_takes_no_name_for_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge_file(tmp_path / "=cmd().py")
    agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl"), "=cmd().py")
    rows = table(tmp_path / "out")
    assert {row["rater"] for row in rows} == {"people", "'=cmd().py"}


@pytest.mark.parametrize("rows", [[{"\x1b[31m": 1}], [{"prompt": "p", "output_1": "a", "output_2": "b", "\x1b": 1}]])
def test_an_error_shows_the_names_of_fields_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: list[Json]
) -> None:
    pairs = jsonl(tmp_path / "p.jsonl", rows)
    for arguments in ((pairs,), (jsonl(tmp_path / "q.jsonl"), "--judge", f"replay:{pairs}")):
        assert call(monkeypatch, *arguments) == 2
        assert "\x1b" not in capsys.readouterr().err


# --- the plot


def test_the_plot_has_a_mark_for_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []
    mark = plot._mark

    def seen(axes: Axes, look: Look, found: Json, place: float) -> None:
        drawn.append((found["value"], place))
        mark(axes, look, found, place)

    monkeypatch.setattr(plot, "_mark", seen)
    rows = [{**row, "annotator1": 1, "annotator2": 1 + n % 2} for n, row in enumerate(PAIRS)]
    summary = agreed(monkeypatch, tmp_path, jsonl(tmp_path / "p.jsonl", rows), judge_file(tmp_path / "mine.py"))
    assert (tmp_path / "out" / "agreement.png").read_bytes()[1:4] == b"PNG"
    expected = []
    for key in ("raw", "kappa"):
        for place, found in enumerate((summary["humans"]["pooled"], *(j["label"] for j in summary["judges"].values()))):
            expected += [(found[t][key]["value"], place + d) for t, d in (("every", -0.14), ("decided", 0.14))]
    assert drawn == [at for at in expected if at[0] is not None]
    assert len(drawn) >= 7
    assert agreement_plot(summary | {"judges": {}, "humans": summary["humans"] | {"pooled": None}}, tmp_path) is None
