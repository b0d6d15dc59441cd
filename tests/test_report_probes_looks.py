"""How answers to probes look: terminal, plot, page in a browser, and where texts want to break out."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.cells import cell_len

from alignbench.report import judging, write_report
from alignbench.report.probes_page import PLOTS, WORDS
from alignbench.report.probes_plots import ROOM, change, window
from alignbench.report.probes_tables import DIFFERENCES, brief, build
from alignbench.results import read_json, write_json
from tests.browser import browser, find_browser
from tests.hostile import ALL, TEXTS
from tests.html_page import Element, parse, squeezed
from tests.synthetic import Synthetic
from tests.synthetic_exact import TWELVE
from tests.synthetic_probes import Probes, files, probes_of, write_probes
from tests.synthetic_store import printed, summarise, without_style, write_store
from tests.test_page import ATTRIBUTES, TAGS
from tests.test_page_browser import CUT_OFF, REACHES_OUT
from tests.test_report_exact_looks import HOSTILE, SIZES, figures, inside, xy

__all__ = ["figures"]
Json = dict[str, Any]
GROUPS = {"identity": HOSTILE, "unrelated": "w" * 300}
SCORES = {"new": "<b>new</b>|$x_1$", "old": "o" * 200, "exact": "\x1b[31mexact\u202e"}


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        yield


def probed(folder: Path, specs: Sequence[str], seeds: Sequence[int] = (0, 1), probes: Probes | None = None) -> Path:
    what = Synthetic(specs=specs, seeds=seeds, **SIZES)
    return write_probes(write_store(folder, what), what, probes)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    """Every text of a file of answers wants to break out; as many probes as there are such texts."""
    what = Synthetic(specs=(HOSTILE, "=1+1", "w" * 300), seeds=(0, 1), failed=[("=1+1", 1)], reason=ALL, **SIZES)
    folder = tmp_path_factory.mktemp("hostile")
    write_probes(write_store(folder, what), what, Probes(named=len(TEXTS), unrelated=3))
    for path in files(folder):
        found = read_json(path)
        for i, row in enumerate(found["rows"]):
            text = TEXTS[i % len(TEXTS)]
            row |= {"group": GROUPS[row["group"]], "prompt": f"{i} {text}", "answer": text, "completion": text}
            row["ended"] = i % 2 == 0
            row["scores"] = {SCORES[name]: value for name, value in row["scores"].items()}
        write_json(path, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignbench.report.probes_samples.DRAWN", len(TEXTS))
        return folder, write_report(folder)


@pytest.fixture(scope="module")
def page(hostile: tuple[Path, Json]) -> Element:
    return parse((hostile[0] / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def section(page: Element) -> Element:
    return next(each for each in page.all("section") if each.attributes.get("aria-labelledby") == "probes")


def test_no_text_breaks_out(hostile: tuple[Path, Json]) -> None:
    folder, summary = hostile
    for name in ("probes.md", "probes.csv", "probes.tex", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text), name
        assert "<script" not in text or name in ("probes.csv", "probes.tex"), name
    shown = printed(summary)
    assert not any(each in shown for each in ("\x1b[31m", "\x1b[2J", "\x07", "\u202e"))
    rows = [line for line in (folder / "probes.md").read_text().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 2  # of either table
    assert "'=1+1" in (folder / "probes.csv").read_text()
    assert max(cell_len(line) for line in without_style(shown).splitlines()) <= 100


@pytest.mark.parametrize("width", [120, 80])
def test_the_tables_follow_the_main_one_and_fit(tmp_path: Path, width: int) -> None:
    folder = probed(tmp_path, ("dpo", "kto", "preferred_ft"))
    summary = summarise(folder)
    lines = without_style(printed(summary, width)).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "…" not in "".join(lines)
    text = re.sub(r"\s+", " ", " ".join(lines))
    assert (
        text.index("win rate") < text.index("probes: identity (12 probes") < text.index("probes: unrelated (20 probes")
    )
    for title in ("new", "old", "exact", "change, a token", "forgotten", "learned", "which specs differ after it"):
        assert title in text[text.index("probes: identity") :]


def test_the_lines_of_many_pairs_are_in_the_file_alone(tmp_path: Path) -> None:
    parts = build([{"probes": probes_of(probed(tmp_path, TWELVE[:4], probes=Probes(named=3, unrelated=4)))}])
    assert len(dict(parts[-1][1].sections)[DIFFERENCES]) == 5 * 6
    assert dict(brief(parts)[-1][1].sections)[DIFFERENCES] == ["30 pairs of specs: in probes.md"]


@pytest.mark.parametrize("specs", [TWELVE, ("dpo",), (HOSTILE, "dpo")])
def test_the_plot_holds_many_specs_and_one(
    tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch, specs: Sequence[str]
) -> None:
    monkeypatch.setattr("alignbench.report.probes.compare", lambda *_: [])  # the tests of 66 pairs take their time
    probes = probes_of(probed(tmp_path, specs, probes=Probes(named=3, unrelated=11)))
    assert change({"probes": probes}, tmp_path / "change.png")
    (drawn,) = figures
    inside(drawn)
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == [
        "identity · new", "identity · old", "identity · change in log-prob",
        "unrelated · exact", "unrelated · change in log-prob", "unrelated · forgotten",
    ]  # fmt: skip
    names = [label.get_text() for label in shown[0].get_yticklabels()]
    assert len(names) == len(specs) == len(set(names))
    for axes, values in zip(shown, _values(probes, specs), strict=True):
        points = {(round(x, 9), round(y, 9)) for line in axes.lines for x, y in xy(line)}
        assert {(round(value, 9), float(place)) for place, value in enumerate(values)} <= points
    before = probes["reference"]["unrelated"]["scores"]["exact"]["value"]
    dashed = [[x for x, _ in xy(line)] for line in shown[3].lines if line.get_linestyle() == "--"]
    assert [before, before] in dashed


def _values(probes: Json, specs: Sequence[str]) -> list[list[float]]:
    """What the panels show of each spec."""
    name, other = ([probes["rows"][spec]["groups"][group] for spec in specs] for group in ("identity", "unrelated"))
    return [
        [each["scores"]["new"]["after"]["value"] for each in name],
        [each["scores"]["old"]["after"]["value"] for each in name],
        [each["token"]["change"]["value"] for each in name],
        [each["scores"]["exact"]["after"]["value"] for each in other],
        [each["token"]["change"]["value"] for each in other],
        [each["forgotten"]["value"] for each in other],
    ]


def test_a_spec_without_a_value_is_named_and_says_so(tmp_path: Path, figures: list[Figure]) -> None:
    what = Synthetic(specs=("dpo", "kto"), seeds=(0,), failed=[("kto", 0)], **SIZES)
    probes = probes_of(write_probes(write_store(tmp_path, what), what))
    change({"probes": probes}, tmp_path / "change.png")
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["no value"]
    assert "seed 0 alone" in figures[0].get_supxlabel()


def test_a_wide_interval_does_not_press_the_values_together() -> None:
    low, high = window([0.4, 0.5], [-9.0, 0.6], cut=True)
    assert -ROOM * 0.1 + 0.4 - 0.05 < low < 0.2 and 0.6 < high < 0.7
    assert window([0.4, 0.5], [0.0, 1.0], cut=False) == pytest.approx((-0.06, 1.06))
    assert np.isfinite(window([], [], cut=True)).all()


def test_titles_of_long_names_do_not_run_into_each_other(tmp_path: Path, figures: list[Figure]) -> None:
    folder = probed(tmp_path, ("dpo",), (0,), Probes(named=4, unrelated=2))
    for path in files(folder):
        found = read_json(path)
        for row in found["rows"]:
            row |= {"group": row["group"] * 9, "scores": {name * 9: value for name, value in row["scores"].items()}}
        write_json(path, found)
    change({"probes": probes_of(folder)}, tmp_path / "change.png")
    shown = [axes for axes in figures[0].axes if axes.get_visible()]
    boxes = [text.get_window_extent() for axes in shown for text in _titles(axes)]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def _titles(axes: Axes) -> list[Text]:
    return [child for child in axes.get_children() if isinstance(child, Text) and " · " in child.get_text()]


def test_the_page_has_tables_plot_and_answers(hostile: tuple[Path, Json], page: Element, section: Element) -> None:
    headings = [squeezed(h.text) for h in page.all("h2")]
    assert headings[:2] == ["Results", "Probes: what changed, and what should not have"]
    assert [squeezed(dt.text) for dt in section.all("dt")] == list(WORDS)
    (image,) = section.all("img")
    picture = base64.b64decode((image.attributes["src"] or "").partition(",")[2])
    assert picture == (hostile[0] / "plots" / "probes_change.png").read_bytes()
    assert (image.attributes["alt"] or "").startswith(f"Plot: {PLOTS['probes_change'][0]}.")
    forgotten = [row["groups"][GROUPS["unrelated"]]["forgotten"] for row in hostile[1]["probes"]["rows"].values()]
    assert f"{forgotten[0]['value']:.3f}" in (image.attributes["alt"] or "")
    tables = section.classed("answers")
    assert len(tables) >= 2
    cells = [squeezed(each.text) for table in tables for each in table.classed("text")]
    assert any("document.title='ran'" in cell for cell in cells)
    assert any(squeezed(td.text) == "nothing cut off" for table in tables for td in table.all("td"))
    assert any("cut off" in squeezed(td.text) for table in tables for td in table.all("td"))


def test_the_page_keeps_its_rules(page: Element) -> None:
    assert {element.tag for element in page.everything()} <= TAGS
    assert {name for element in page.everything() for name in element.attributes} <= ATTRIBUTES
    ids = [element.attributes["id"] for element in page.everything() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert all((link.attributes["href"] or "").removeprefix("#") in ids for link in page.all("a"))


@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_nothing_runs_and_nothing_leaves_the_page(
    hostile: tuple[Path, Json], tmp_path: Path, width: int
) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    with browser(program, tmp_path) as opened:
        opened.open(hostile[0] / "report.html", width)
        assert opened.evaluate("document.querySelectorAll('script').length") == 0
        assert opened.evaluate("document.title") != "ran"
        opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        assert opened.evaluate(REACHES_OUT) == [] and opened.evaluate(CUT_OFF) == []
        assert opened.happened("Runtime.exceptionThrown") == []
