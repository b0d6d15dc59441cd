"""The report's looks: text that wants to break out of it, and tables and plots that must fit."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from rich.cells import cell_len

from alignbench.report import judging, write_report
from alignbench.report.text import csv_text, latex, markdown, number, p_value, shorten
from alignbench.visible import plain
from tests.synthetic import Synthetic
from tests.synthetic_store import printed, summarise, without_style, write_store

Json = dict[str, Any]
PLOTS = 11
EIGHT = ("dpo:beta=0.05", "dpo:beta=0.1", "dpo:beta=0.5", "kto", "ppo", "simpo:gamma=1.5", "./my_loss.py:b=2", "orpo")
HOSTILE = "x|y`<script>alert(1)</script>$\\alpha_1%&#~^{\x1b[31mred\x1b[2J\u202e\x07[a](javascript:b)[/red]$\\frac$"


def tuning_of(specs: Sequence[str]) -> Json:
    trials = [
        {
            "spec": spec, "trial": f"{spec}:learning_rate={rate}:beta=0.1",
            "point": {"learning_rate": rate, "beta": 0.1}, "value": 0.6, "low": 0.5, "high": 0.7,
            "status": "done", "reason": None, "chosen": rate == "1e-3",
        }
        for spec in specs
        for rate in ("1e-4", "1e-3")
    ]  # fmt: skip
    grid = {"learning_rate": ["1e-4", "1e-3"], "beta": ["0.1"]}
    return {"folder": "tuning", "grid": grid, "seed": 999, "prompts": 8, "judge": "gold", "trials": trials}


TUNED = {"tuning": tuning_of(EIGHT)}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    what = Synthetic(
        specs=(HOSTILE, "=1+1", "损失🙂"),
        seeds=(0, 1),
        prompts=5,
        pairs=4,
        failed=[("=1+1", 0)],
        completion=HOSTILE + "\nsecond line",
        reason=HOSTILE,
        temperatures=(0.5,),
        best_of=(4,),
        run={"name": HOSTILE, "question": HOSTILE, "warnings": [HOSTILE], "tuning": tuning_of([HOSTILE, "kto"])},
    )
    folder = write_store(tmp_path_factory.mktemp("hostile"), what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        return folder, write_report(folder)


def test_no_control_character_reaches_any_text_output(hostile: tuple[Path, Json]) -> None:
    folder, summary = hostile
    for name in ("table.md", "table.csv", "table.tex", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text), name
    shown = printed(summary)
    assert "\x1b[31m" not in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[2J" in without_style(shown)


def test_markdown_shows_hostile_text_as_text(hostile: tuple[Path, Json]) -> None:
    text = (hostile[0] / "table.md").read_text()
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in rows]
    assert len(set(bars)) == 1
    assert not re.search(r"(?<!\\)`", text)
    assert "](" not in text.replace("\\](", "")


def test_html_shows_hostile_text_as_text(hostile: tuple[Path, Json]) -> None:
    text = (hostile[0] / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", text)
    assert "second line" in text  # completions are there, line breaks and all
    assert text.count("data:image/png;base64,") == len(list((hostile[0] / "plots").iterdir()))


def test_latex_escapes_its_special_characters(hostile: tuple[Path, Json]) -> None:
    text = (hostile[0] / "table.tex").read_text()
    row = next(line for line in text.splitlines() if line.startswith("x"))
    head = row.split(" & ")[0]
    for special in "%&#$_{":
        assert re.search(rf"\\\{special}", head), special
    assert r"\textbackslash{}alpha\_1" in head
    assert not re.search(r"(?<!\\)[%#$&_]", head)
    columns = next(line for line in text.splitlines() if line.startswith("spec")).count("&")
    assert row.replace(r"\&", "").count("&") == columns


def test_csv_gives_back_the_spec_and_no_formula(hostile: tuple[Path, Json]) -> None:
    with (hostile[0] / "table.csv").open(newline="") as file:
        specs = [record["spec"] for record in csv.DictReader(file)]
    assert specs == [plain(HOSTILE), "'=1+1", "损失🙂", "reference", "best-of-4"]


def test_text_for_people() -> None:
    assert plain("a\nb\x1b[0m\u202e") == "a b\\x1b[0m\\u202e"
    assert markdown("a|b_`<i>") == "a\\|b\\_\\`&lt;i&gt;"
    assert latex("50 % of $x_1$ ~ {a}\\") == r"50 \% of \$x\_1\$ \textasciitilde{} \{a\}\textbackslash{}"
    assert latex("≤ 1.84") == r"$\leq$ 1.84"
    assert csv_text("@x") == "'@x"
    assert number(-0.0001, 2) == "0.00"
    assert number(None, 2) == "–"
    assert (p_value(0.0004), p_value(0.0213), p_value(0.21), p_value(1.0)) == (
        " < .001",
        " = .021",
        " = .21",
        " = 1.00",
    )
    assert shorten("dpo:learning_rate=0.0001", 11) == "dpo:l….0001"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Json:
    specs = (*EIGHT[:-1], "./a_folder/with_a_long_name/my_own_loss.py:learning_rate=0.00001:gamma=0.25")
    what = Synthetic(specs=specs, seeds=(0, 1), prompts=6, pairs=4, best_of=(4, 128), capability=True, run=TUNED)
    return summarise(write_store(tmp_path_factory.mktemp("many"), what))


@pytest.mark.parametrize("width", [160, 100, 80, 72])
def test_the_terminal_table_fits(many: Json, width: int) -> None:
    lines = without_style(printed(many, width)).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "…" not in "".join(lines)  # nothing was cut off
    assert "".join(line[:17].strip() for line in lines).count("dpo:beta=0.05") >= 1
    headings = " ".join(lines)
    for title in (
        "win rate",
        "beats",
        "at equal length",
        "over the chosen",
        "change in acc",
        "≤ 3.86",
        "reward",
        "KL",
        "agreement",
        "length",
        "unfinished",
        "cost",
    ):
        assert title in headings


LONG = "./a_folder/my_own_loss.py:learning_rate=0.00001:gamma=0.25"


@pytest.mark.parametrize("specs", [(*EIGHT[:-1], LONG), ("a",), ("a", LONG)])
def test_legends_and_labels_stay_inside_and_off_the_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: Sequence[str]
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        figures.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    judges = {} if len(specs) > 2 else {"judges": {"gold": "verdicts/gold-j1"}, "agreement_judge": "gold"}
    what = Synthetic(
        specs=specs, seeds=(0, 1), prompts=6, pairs=8, temperatures=(0, 0.5), best_of=(1, 4, 128), capability=True,
        run=judges | {"tuning": tuning_of(specs)},
    )  # fmt: skip
    write_report(write_store(tmp_path, what))
    assert len(figures) == PLOTS - (specs == ("a",))  # one spec alone has no head to head
    for drawn in figures:
        page = drawn.bbox
        shown = [axes for axes in drawn.axes if axes.get_visible()]
        boxes = [axes.get_tightbbox() for axes in shown] + [legend.get_window_extent() for legend in drawn.legends]
        boxes += [text.get_window_extent() for text in drawn.texts]  # the captions
        for box in boxes:
            assert box is not None
            assert page.x0 - 1 <= box.x0
            assert box.x1 <= page.x1 + 1
            assert page.y0 - 1 <= box.y0
            assert box.y1 <= page.y1 + 1
        for legend, axes in itertools.product(drawn.legends, shown):
            assert not legend.get_window_extent().overlaps(axes.get_window_extent())
