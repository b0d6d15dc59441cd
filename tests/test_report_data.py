"""What was found in the data of a run: its section on the page, and the line below the tables."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignbench.doctor.findings import placed
from alignbench.errors import InputError
from alignbench.report import judging, write_report
from alignbench.report.data_page import LINES, PLOTS
from alignbench.report.data_plots import write_data_plots
from alignbench.report.data_words import KEPT, note, summarised
from alignbench.report.page import write_page
from alignbench.report.store import read_store
from alignbench.report.summary import build_summary
from alignbench.report.tables import build, write_latex, write_markdown
from alignbench.results import read_json, write_json
from tests.browser import browser, find_browser
from tests.examined import FOUND, HOSTILE, crowded, finding
from tests.html_page import Element, parse, squeezed
from tests.synthetic import Synthetic
from tests.synthetic_store import write_store
from tests.test_page import ATTRIBUTES, TAGS
from tests.test_page_browser import CUT_OFF, REACHES_OUT

Json = dict[str, Any]
DOCTOR = "stages/doctor-d1/doctor.json"
SIZES: Json = {"specs": ("dpo",), "seeds": (0,), "prompts": 4, "pairs": 2, "held_out": False, "head_to_head": False}


def examined_store(folder: Path, found: Json) -> Path:
    write_store(folder, Synthetic(**SIZES, run={"doctor": DOCTOR}))
    write_json(folder / DOCTOR, found)
    return folder


def quick_report(folder: Path) -> Json:
    """The summary, page and tables, with the plots of the data alone: the others take seconds."""
    store = read_store(folder)
    summary, plots = build_summary(store), folder / "plots"
    plots.mkdir()
    table = build([summary])
    drawn = [path for path in write_data_plots(store.doctor, plots) if path]
    page = write_page(summary, table, drawn, {"groups": [], "seed": 0, "missing": []})
    for name, text in (("report.html", page), ("table.md", write_markdown(table)), ("table.tex", write_latex(table))):
        (folder / name).write_text(text, encoding="utf-8")
    return summary


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json, Element]:
    folder = examined_store(tmp_path_factory.mktemp("store"), FOUND)
    summary = write_report(folder)
    return folder, summary, parse((folder / "report.html").read_text(encoding="utf-8"))


def section(page: Element) -> Element:
    return next(each for each in page.all("section") if each.attributes.get("aria-labelledby") == "data")


def test_the_page_has_a_row_for_each_finding_in_its_order(whole: tuple[Path, Json, Element]) -> None:
    shown = section(whole[2])
    rows = [[squeezed(cell.text) for cell in row.all("th") + row.all("td")] for row in shown.all("tbody")[0].all("tr")]
    first = ", ".join(str(3 * i) for i in range(1, LINES + 1))
    assert rows == [
        ["shortcut", "bad", "Words alone tell the sides apart.", "Balance them."],
        ["near duplicates", "look", f"90 pairs are almost the same. lines {first} and {90 - LINES} more", "Mend it."],
        ["no end", "fine", "Every completion ends.", "–"],
        ["context", "unknown", "Nothing is known of tokens.", "Name a model."],
    ]
    caption = squeezed(shown.all("caption")[0].text)
    assert caption == "The 1,200 pairs that were trained on: 1 bad, 1 to look at, 1 fine, 1 unknown"
    assert "#data" in [link.attributes["href"] for link in whole[2].all("nav")[0].all("a")]


def test_the_pictures_stand_in_the_section_alone_and_in_words_too(whole: tuple[Path, Json, Element]) -> None:
    folder, _, page = whole
    images = section(page).all("img")
    drawn = [base64.b64decode((image.attributes["src"] or "").partition(",")[2]) for image in images]
    assert drawn == [(folder / "plots" / f"{name}.png").read_bytes() for name in PLOTS]
    everywhere = [image.attributes["src"] for image in page.all("img")]
    assert len(everywhere) == len(set(everywhere)) == len(list((folder / "plots").iterdir()))
    alts = [image.attributes["alt"] or "" for image in images]
    for alt, (title, _), said in zip(
        alts,
        PLOTS.values(),
        (
            "mean length: chosen 14.2 words, rejected 12.5; chosen is longer in 56.2 % of the pairs.",
            "held-out accuracy 0.700, by length alone 0.550; words of chosen: sorry, help; words of rejected: kill.",
            "the gold reward of chosen is higher in 92.5 % of 40 pairs.",
            "annotators with each other 0.750, all of one mind 62.0 %, with gold 0.810, Krippendorff's alpha 0.500.",
        ),
        strict=True,
    ):
        assert alt == f"Plot: {title}. {said}"


def test_the_tables_have_one_line_on_the_data(whole: tuple[Path, Json, Element]) -> None:
    lines = [line for line in (whole[0] / "table.md").read_text().splitlines() if "data:" in line]
    assert lines == ["- data: 2 findings to look at (bad: shortcut; to look at: near duplicates), see report.html"]
    fine = FOUND | {"findings": FOUND["findings"][2:]}
    assert note(fine) is None and note(None) is None
    one = FOUND | {"findings": FOUND["findings"][1:]}
    assert note(one) == "data: 1 finding to look at (to look at: near duplicates), see report.html"


def test_the_summary_repeats_the_first_lines_only(whole: tuple[Path, Json, Element]) -> None:
    kept = read_json(whole[0] / "summary.json")["doctor"]["findings"][1]
    assert len(kept["lines"]) == KEPT < 90 and kept["lines"][:2] == [3, 6] and kept["all_lines"] == 90
    assert placed(kept, 2) == "lines 3, 6 and 88 more"
    assert whole[1]["doctor"]["figures"] == FOUND["figures"]
    more = FOUND | {"figures": FOUND["figures"] | {"groups": {"duplicates": [[1, 2]] * 10_000}}}
    assert summarised(more)["figures"] == FOUND["figures"]


@pytest.mark.parametrize(
    ("lines", "most", "said"),
    [
        ((), 5, ""),
        ((7,), 5, "line 7"),
        ((7, 9), 2, "lines 7, 9"),
        ((7, 9, 11), 2, "lines 7, 9 and 1 more"),
        (tuple(range(2000)), 1, "lines 0 and 1,999 more"),
        ((7, 9), 0, ""),
    ],
)
def test_lines_are_named(lines: tuple[int, ...], most: int, said: str) -> None:
    found = finding("duplicates", "look", "x", lines=lines)
    assert placed(found, most) == said
    assert placed(found | {"where": "record"}, most) == said.replace("line", "record")


@pytest.mark.parametrize("absent", ["not examined", "not there"])
def test_a_run_without_an_examination_is_as_before(tmp_path: Path, absent: str) -> None:
    """An earlier version did not look; a stage may have failed."""
    what = Synthetic(**SIZES, run={"doctor": DOCTOR} if absent == "not there" else {})
    summary = quick_report(write_store(tmp_path, what))
    assert "doctor" not in summary
    assert not list((tmp_path / "plots").iterdir())
    assert 'id="data"' not in (tmp_path / "report.html").read_text()
    assert "data:" not in (tmp_path / "table.md").read_text()


def test_an_examination_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = examined_store(tmp_path, FOUND | {"schema": 7})
    with pytest.raises(InputError, match=r"doctor\.json has schema 7 where 1 is known"):
        read_store(folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = crowded() | {"findings": [finding("shortcut", "bad", HOSTILE, HOSTILE, tuple(range(1, 500)))]}
    folder = examined_store(tmp_path_factory.mktemp("hostile"), found)
    quick_report(folder)
    return folder


def test_no_text_of_the_data_breaks_out(hostile: Path) -> None:
    for name in ("report.html", "table.md", "table.tex"):
        text = (hostile / name).read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text), name
        assert "<script" not in text, name
    page = parse((hostile / "report.html").read_text(encoding="utf-8"))
    assert {element.tag for element in page.everything()} <= TAGS
    assert {name for element in page.everything() for name in element.attributes} <= ATTRIBUTES
    assert "<script>document.title='ran'</script>[bold]x[/]" in squeezed(section(page).all("td")[1].text)


@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_the_table_keeps_to_the_page(hostile: Path, tmp_path: Path, width: int) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    with browser(program, tmp_path) as opened:
        opened.open(hostile / "report.html", width)
        assert opened.evaluate("document.title") != "ran"
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        assert opened.evaluate(REACHES_OUT) == []
        assert opened.evaluate(CUT_OFF) == []
