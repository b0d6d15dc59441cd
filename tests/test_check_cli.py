"""`alignbench check`, `alignbench new` and `alignbench list objectives`, as a person uses them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from alignbench.check import CHECKS, Outcome
from alignbench.cli import main
from alignbench.cli.check import print_outcomes
from alignbench.cli.new import class_name, template
from alignbench.plugins import available, describe


def call(
    *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int = 120
) -> tuple[int, str]:
    """The exit code of a command and what it prints on both outputs."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["alignbench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_file_is_checked_and_then_spoilt(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call("new", "my_loss.py", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0 and "alignbench check my_loss.py" in shown
    text = (here / "my_loss.py").read_text()
    assert "class MyLoss(Paired):" in text
    code, shown = call("check", "./my_loss.py", "sft", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    assert all(shown.count(name) >= 2 for name in CHECKS)
    assert re.search(r"my_loss\.py: \d+ passed, \d+ not applicable\.", shown)
    (here / "my_loss.py").write_text(text.replace("return -logsigmoid", "return logsigmoid"))
    code, shown = call("check", "my_loss.py", monkeypatch=monkeypatch, capsys=capsys, columns=80)
    assert code == 1
    assert "Traceback" not in shown
    assert re.search(r"my_loss\.py: \d+ passed, \d+ failed", shown)
    said = " ".join(shown.split())
    assert "look for a wrong sign or swapped sides, or declare `moves`." in said  # the whole sentence, on any terminal


@pytest.mark.parametrize(
    ("option", "base"),
    [("--online", "Online"), ("--unpaired", "Unpaired"), ("--listwise", "Listwise")],
)
def test_a_new_file_of_each_kind(
    option: str, base: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("new", "x2-y.py", option, monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    assert f"class X2Y({base}):" in (here / "x2-y.py").read_text()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("none", "NoneObjective"),
        ("completions", "CompletionsObjective"),
        ("pairs", "PairsObjective"),
        ("class", "Class"),
    ],
)
def test_a_new_class_takes_no_name_of_python_or_of_its_file(name: str, written: str) -> None:
    text = template("paired", class_name(Path(f"{name}.py")))
    assert f"class {written}(Paired):" in text and "import Completions, Paired, Pairs, Positive" in text
    compile(text, name, "exec")


def test_the_command_that_a_new_file_is_checked_by_can_be_pasted(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = call("new", "a loss.py", monkeypatch=monkeypatch, capsys=capsys)[1]
    assert "`alignbench check 'a loss.py'`" in shown


def test_checks_that_one_fault_fails_alike_share_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    alike = [Outcome(name, "failed", "typo.py:3 raises NameError; mend that line.") for name in list(CHECKS)[:20]]
    print_outcomes("typo.py", [*alike, Outcome("learns", "failed", "it does not.")], Console())
    shown = capsys.readouterr().out
    assert shown.count("mend that line.") == 1
    assert "declared, documented, example and 17 more" in shown and "typo.py: 21 failed." in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "there.py"], "there.py is there already"),
        (["new", "loss.txt"], "must begin with a letter and end in .py"),
        (["new", "2.py"], "must begin with a letter"),
        (["new", "a,b.py"], "leave it out"),
        (["new", "nowhere/loss.py"], "cannot be written"),
        (["new", "loss.py", "--online", "--unpaired"], "give one of them"),
        (["check", "dpoo"], "did you mean 'dpo'"),
        (["check", "./nothing.py"], "cannot be read"),
        (["check", "there.py"], "syntax error"),
        (["list", "objectives", "dpoo"], "did you mean 'dpo'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "there.py").write_text("def f(:\n")
    code, shown = call(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert said in " ".join(shown.split())
    assert (here / "there.py").read_text() == "def f(:\n"
    assert [path.name for path in here.iterdir()] == ["there.py"]


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_list_of_objectives_loses_no_word_at_any_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call("list", "objectives", monkeypatch=monkeypatch, capsys=capsys, columns=columns)
    assert code == 0
    assert max(map(len, shown.splitlines()[:-1])) <= columns
    assert "…" not in shown
    rows = describe("objective")
    assert shown.count("arXiv:") >= len(rows) - 2
    words = set(re.findall(r"[\w-]+", shown))
    for row in rows:
        missing = set(re.findall(r"[A-Za-z-]{4,}", re.sub(r"`.*", "", row.summary))) - words
        assert not {word for word in missing if not any(part in words for part in word.split("-"))}, (row.name, missing)
    assert f"{len(available('objective'))} objectives" in shown


def test_one_objective_is_shown_with_formula_source_and_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call("list", "objectives", "ppo", monkeypatch=monkeypatch, capsys=capsys, columns=100)
    assert code == 0
    said = " ".join(shown.split())
    for part in ("max(-A rho, -A clip(rho, 1 - clip, 1 + clip))", "arXiv:1506.02438, eq. 16", "clip=0.2 (above 0)"):
        assert part in said
    assert "reward=model (model or gold)" in said and "pass the check composition: advantages are whitened" in said
