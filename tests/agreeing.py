"""What the tests of `alignbench agree` share: small files, a judge of their own, and the command in this process."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alignbench.cli import main
from alignbench.results import Json, read_json

Row = dict[str, Any]

# Four pairs whose figures were worked out by hand, see test_agree.py. Longer is: first, second, neither, second.
PAIRS: list[Row] = [
    {"prompt": "p1", "output_1": "long", "output_2": "s", "label": 1},
    {"prompt": "p2", "output_1": "s", "output_2": "long", "label": 1},
    {"prompt": "p3", "output_1": "same", "output_2": "size", "label": 2},
    {"prompt": "p4", "output_1": "s", "output_2": "long", "label": "tie"},
]
SAID = [("first", "first"), ("first", "second"), ("second", "refused"), ("tie", "second")]

JUDGE = '''
import json
from alignbench import Judge, Verdict


class Mine(Judge):
    """A judge for a test: what it says is written in it."""

    summary = "says what it was told to say"
    remote = {remote}

    @classmethod
    def open(cls, argument, context):
        judge = cls()
        judge.argument, judge.context = argument, context
        return judge

    def check(self):
        {check}

    def compare(self, question, items):
        {before}
        return [Verdict(*said) for said in {said}]

    def problems(self):
        return {problems}
'''


def judge_file(
    path: Path,
    said: Sequence[tuple[str, str]] = SAID,
    *,
    remote: bool = False,
    check: str = "pass",
    before: str = "pass",
    problems: Sequence[str] = (),
) -> str:
    """A judge in a file of its own, which says `said` of the pairs in their order."""
    code = JUDGE.format(said=list(said), remote=remote, check=check, before=before, problems=list(problems))
    path.write_text(code, encoding="utf-8")
    return str(path)


def jsonl(path: Path, rows: Sequence[Row] = PAIRS) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, columns: int = 100) -> int:
    """`alignbench agree` in this process; returns its exit code."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["alignbench", "agree", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def agreed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pairs: str, judges: str = "", *more: str) -> Json:
    """The summary of a call that goes well."""
    judge = ["--judge", judges] if judges else []
    assert call(monkeypatch, pairs, *judge, "--out", str(tmp_path / "out"), *more) == 0
    return read_json(tmp_path / "out" / "summary.json")


def figures(shown: str, name: str) -> list[str]:
    """The figures with four digits on the lines of the terminal that begin with a name."""
    lines = [line for line in shown.splitlines() if line.strip().startswith(name)]
    return [figure for line in lines for figure in re.findall(r"[+-]?\d\.\d{4}", line)]
