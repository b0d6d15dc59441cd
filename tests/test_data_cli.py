"""`alignbench data` as a command: what it prints, what it returns, and the mistakes that people make."""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from alignbench.cli import main
from alignbench.data import read_records
from alignbench.doctor import CHECKS, Examination, Finding, examine
from tests.preference_files import Row, lines
from tests.small_tokenizers import words

Json = dict[str, Any]
HOSTILE = "[bold red]x[/bold red] [/] \x1b[2J\x1b[31mred\x07\u202egnp.exe \x9b0m\r\n end"
ESCAPES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LEVELS = ("bad", "look", "fine", "unknown")

# Lines 1 to 3 say one thing, 4 to 6 the opposite; 7 has no completion.
PAIRS: list[Row] = [
    *({"prompt": "How are you?", "chosen": " Well, thank you.", "rejected": " Bad."} for _ in range(3)),
    *({"prompt": "How are you?", "chosen": " Bad.", "rejected": " Well, thank you."} for _ in range(3)),
    {"prompt": "Who are you?", "chosen": " ", "rejected": " Nobody."},
]
SOUND: list[Row] = [{"prompt": f"Say {i}.", "chosen": f" It is {i}.", "rejected": f" Never {i}."} for i in range(12)]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path, columns: int = 80) -> int:
    """`alignbench data` in this process; returns its exit code."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["alignbench", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def file(folder: Path, rows: Sequence[Row] = PAIRS, name: str = "prefs.jsonl") -> Path:
    (folder / name).write_bytes(lines(*rows))
    return folder / name


def printed_checks(shown: str) -> list[tuple[str, str]]:
    """The first two columns of the rows that begin a finding."""
    known = "|".join(check.replace("_", " ") for check in CHECKS)
    found = re.findall(rf"^ ({known}) +({'|'.join(LEVELS)}) ", shown, re.MULTILINE)
    return [(check.replace(" ", "_"), level) for check, level in found]


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_every_finding_is_printed_the_worst_first_within_the_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    assert call(monkeypatch, file(tmp_path), columns=columns) == 0
    shown = capsys.readouterr().out
    records = read_records(str(tmp_path / "prefs.jsonl"))
    expected = examine(records.records, skipped=records.skipped).findings
    assert printed_checks(shown) == [(finding.check, finding.level) for finding in expected]
    assert [LEVELS.index(finding.level) for finding in expected] == sorted(LEVELS.index(f.level) for f in expected)
    assert max(map(cell_len, shown.splitlines())) <= columns
    flat = re.sub(r"\s+", "", shown)
    for finding in expected:
        assert re.sub(r"\s+", "", finding.said) in flat
        assert ("→" + re.sub(r"\s+", "", finding.advice) in flat) is (
            finding.level != "fine" and not finding.advice.startswith("Nothing")
        )
    assert "6pairs" in flat and "line7" in flat
    assert "…" not in shown and "\x1b" not in shown


@pytest.mark.parametrize(
    ("most", "said"),
    [(0, None), (1, "lines 1 and 5 more"), (2, "lines 1, 2 and 4 more"), (9, "lines 1, 2, 3, 4, 5, 6")],
)
def test_as_many_lines_are_named_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], most: int, said: str | None
) -> None:
    assert call(monkeypatch, file(tmp_path), "--lines", str(most), columns=120) == 0
    named = [line.strip() for line in capsys.readouterr().out.splitlines() if re.match(r" +lines? \d", line)]
    assert (said in named) if said else not named


def found(*findings: Finding) -> Examination:
    figures = dict.fromkeys(("lengths", "shortcut", "margins", "agreement", "balance"))
    return Examination("pairs", 6, findings, figures | {"words": []})


def test_no_text_of_the_data_speaks_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = found(Finding("shortcut", "look", HOSTILE, HOSTILE, (3,), 1))
    monkeypatch.setattr("alignbench.doctor.examine", lambda *_, **__: hostile)
    path = file(tmp_path, name="[bold]name\x1b[31m\x07.jsonl")
    assert call(monkeypatch, path, columns=120) == 0
    shown = capsys.readouterr().out
    assert not ESCAPES.search(shown)
    assert shown.count("[bold red]x[/bold red] [/] \\x1b[2J\\x1b[31mred\\x07\\u202egnp.exe \\x9b0m") == 2
    assert "[bold]name\\x1b[31m\\x07.jsonl" in shown.replace("\n", "")
    assert call(monkeypatch, path, "--json") == 0
    shown = capsys.readouterr().out
    assert shown.isascii() and not ESCAPES.search(shown)
    assert json.loads(shown)["sources"][0]["findings"][0]["said"] == HOSTILE


def test_words_of_real_records_are_escaped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeated prompt and a label that is none are quoted."""
    rows = [
        {"prompt": HOSTILE + str(i % 2), "completion": HOSTILE, "label": HOSTILE if i > 3 else i % 2} for i in range(6)
    ]
    assert call(monkeypatch, file(tmp_path, rows)) == 0
    assert not ESCAPES.search(capsys.readouterr().out)


def test_json_is_one_document_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = file(tmp_path), file(tmp_path, SOUND, "sound.jsonl")
    assert call(monkeypatch, one, two, "--json") == 0
    written = capsys.readouterr()
    assert written.err == ""
    document = json.loads(written.out)
    assert list(document) == ["schema", "sources"] and document["schema"] == 1
    for shown, path in zip(document["sources"], (one, two), strict=True):
        records = read_records(str(path))
        assert shown["source"] == str(path) and shown["fingerprint"] == records.fingerprint
        expected = examine(records.records, skipped=records.skipped).json()
        assert {name: shown[name] for name in expected} == expected
        assert (shown["model"], shown["context"], shown["split"], shown["remarks"]) == (None, None, None, [])


def test_each_source_has_a_table_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, file(tmp_path), file(tmp_path, SOUND, "sound.jsonl"), columns=200) == 0
    shown = capsys.readouterr().out
    assert len(printed_checks(shown)) == 2 * len(CHECKS)
    assert shown.index("prefs.jsonl: 6 pairs; ") < shown.index("sound.jsonl: 12 pairs; ")


@pytest.mark.parametrize("as_json", [False, True])
def test_strict_fails_on_what_is_bad_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    more = ["--json"] if as_json else []
    bad, sound = file(tmp_path), file(tmp_path, SOUND, "sound.jsonl")
    assert call(monkeypatch, bad, *more) == 0
    assert call(monkeypatch, bad, "--strict", *more) == 1
    assert call(monkeypatch, sound, bad, "--strict", *more) == call(monkeypatch, bad, sound, "--strict", *more) == 1
    look = found(Finding("markers", "look", "Said.", "Do."))
    monkeypatch.setattr("alignbench.doctor.examine", lambda *_, **__: look)
    assert call(monkeypatch, bad, "--strict", *more) == 0


def size(path: Path) -> tuple[int, int]:
    image = path.read_bytes()
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def test_a_picture_is_drawn_beside_the_table_or_the_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "all.png"
    assert call(monkeypatch, file(tmp_path), "--plot", picture, columns=300) == 0
    assert f"drawn to {picture}" in capsys.readouterr().out
    assert min(size(picture)) > 300
    assert call(monkeypatch, file(tmp_path), "--plot", picture, "--json", columns=300) == 0
    written = capsys.readouterr()
    assert f"drawn to {picture}" in written.err and json.loads(written.out)["schema"] == 1
    monkeypatch.setattr("alignbench.doctor.examine", lambda *_, **__: found())
    assert call(monkeypatch, file(tmp_path), "--plot", tmp_path / "none.png", columns=300) == 0
    assert "nothing is drawn" in capsys.readouterr().out
    assert not (tmp_path / "none.png").exists()


def test_a_picture_that_cannot_be_written_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alignbench.doctor.examine", None)
    assert call(monkeypatch, file(tmp_path), "--plot", f"/proc/{tmp_path.name}.png") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_nothing_in_a_file_speaks_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of its fields neither, which an error repeats."""
    assert call(monkeypatch, file(tmp_path, [{"x\x1b]0;title\x07\u202e": "y"}])) == 2
    said = capsys.readouterr().err
    assert "\\x1b]0;title\\x07\\u202e" in said and not {"\x1b", "\x07", "\u202e"} & set(said)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A folder with a tokenizer alone."""
    words(begin=True).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Json:
    assert call(monkeypatch, *arguments, "--json") == 0
    source: Json = json.loads(capsys.readouterr().out)["sources"][0]
    return source


def test_a_model_counts_the_tokens(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are not read: there are none."""
    path = file(tmp_path, [{"prompt": "a b c", "chosen": "d e f g", "rejected": "h"}, *SOUND])
    without = read(monkeypatch, capsys, path)
    assert without["figures"]["lengths"]["unit"] == "words"
    levels = {finding["check"]: finding["level"] for finding in without["findings"]}
    assert (levels["context"], levels["begin_end_tokens"]) == ("unknown", "unknown")
    (tokenizer / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 8}))
    shown = read(monkeypatch, capsys, path, "--model", tokenizer)
    assert (shown["model"], shown["context"]) == (str(tokenizer), 8)
    assert shown["figures"]["lengths"]["unit"] == "tokens"
    short = next(finding for finding in shown["findings"] if finding["check"] == "context")
    assert short["lines"] == [1]  # "<s> a b c d e f g </s>"; the others are 7 tokens
    assert read(monkeypatch, capsys, path, "--model", tokenizer, "--context", "9")["context"] == 9
    (tokenizer / "config.json").unlink()
    roomy = read(monkeypatch, capsys, path, "--model", tokenizer, "--context", "9")
    assert next(finding for finding in roomy["findings"] if finding["check"] == "context")["level"] == "fine"


WRONG: list[tuple[list[str], str]] = [
    (["gone.jsonl"], "gone.jsonl is missing: give a data file, a data set folder or a hub id."),
    (["notes.txt"], "notes.txt is of no known type: give a file that ends in .jsonl"),
    (["other.jsonl"], "other.jsonl is in no known format: it has the fields x, y, and understood are prompt/chosen/"),
    (["broken.jsonl"], "broken.jsonl line 2 is not JSON"),
    (["ties.jsonl"], "ties.jsonl holds no pair of which one output is preferred"),
    (["unlabelled.jsonl"], "unlabelled.jsonl has no human label: it has the fields"),
    (["prefs.jsonl", "--split", "test"], "prefs.jsonl is one file and has no split 'test'"),
    (["prefs.jsonl", "--context", "512"], "--context 512 counts tokens, which only a tokenizer can: name a --model"),
    (["prefs.jsonl", "--model", "./gone"], "model ./gone: there is no such folder."),
    (["prefs.jsonl", "--model", "./tokenizer"], "has no config.json, so it is no model of transformers; or give its"),
    (
        ["prefs.jsonl", "--plot", "all.jpg"],
        "--plot all.jpg: the picture is a PNG file, so give a name that ends in .png.",
    ),
    (["prefs.jsonl", "--plot", "gone/all.png"], "--plot gone/all.png: there is no folder gone, make it first."),
    (["prefs.jsonl", "--plot", "folder.png"], "--plot folder.png is a folder: give the name of the picture."),
    (["prefs.jsonl", "prefs.jsonl", "--plot", "a.png"], "--plot draws one source and 2 are given: name one"),
]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    file(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "broken.jsonl").write_bytes(lines(PAIRS[0]) + b"{\n")
    file(tmp_path, [{"x": 1, "y": 2}], "other.jsonl")
    file(tmp_path, [{"prompt": "a", "output_1": "b", "output_2": "c", "label": "tie"}], "ties.jsonl")
    file(tmp_path, [{"input": "a", "output_1": "b", "output_2": "c"}], "unlabelled.jsonl")
    for arguments, sentence in WRONG:
        assert call(monkeypatch, *arguments, *(["--json"] * as_json)) == 2, arguments
        written = capsys.readouterr()
        assert written.out == "", arguments
        assert written.err.startswith("alignbench: ") and sentence in written.err, (arguments, written.err)
        assert written.err.count("\n") == 1 and written.err.endswith(".\n"), written.err


def test_bad_usage_and_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch) == 2
    assert call(monkeypatch, file(tmp_path), "--lines", "-1") == 2

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alignbench.doctor.examine", stopped)
    capsys.readouterr()
    assert call(monkeypatch, file(tmp_path)) == 130
    assert capsys.readouterr().err == "stopped.\n"
