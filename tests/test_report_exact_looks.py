"""How exact figures look: on the terminal, in plots of many specs, on the page, and where texts want to break out."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.cells import cell_len

from alignbench.report import judging, write_report
from alignbench.report.exact_page import PLOTS, WORDS
from alignbench.report.exact_plots import frontier
from alignbench.report.exact_share import shares
from alignbench.report.exact_tables import DIFFERENCES, brief, build
from alignbench.report.tables import write_latex, write_markdown
from alignbench.results import read_json, write_json
from tests.browser import browser, find_browser
from tests.html_page import Element, parse, squeezed
from tests.synthetic import Synthetic, cell_folder
from tests.synthetic_exact import CELL, SPECS, TWELVE, Exact, exact_of, write_exact
from tests.synthetic_store import printed, summarise, without_style, write_store
from tests.test_page import ATTRIBUTES, TAGS
from tests.test_page_browser import CUT_OFF, REACHES_OUT

Json = dict[str, Any]
HOSTILE = "x|y`<script>document.title='ran'</script>$\\alpha_1%&#~^{\x1b[31mred\x1b[2J\u202e\x07[a](javascript:b)"
SIZES: Json = {"prompts": 4, "pairs": 2, "gold": False, "held_out": False, "head_to_head": False}


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        yield


def exact_store(folder: Path, specs: Sequence[str], seeds: Sequence[int] = (0, 1, 2), **changes: Any) -> Path:
    what = Synthetic(specs=specs, seeds=seeds, **SIZES, **changes)
    return write_exact(write_store(folder, what), what, Exact())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    specs = (HOSTILE, "=1+1", "w" * 300, "ppo:beta=0.5")
    folder = exact_store(
        tmp_path_factory.mktemp("hostile"), specs, (0, 1), failed=[("=1+1", 1)], reason=HOSTILE, run={"name": HOSTILE}
    )
    return folder, write_report(folder)


def test_no_text_breaks_out(hostile: tuple[Path, Json]) -> None:
    folder, summary = hostile
    for name in ("exact.md", "exact.csv", "exact.tex", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text), name
        assert "<script" not in text or name in ("exact.csv", "exact.tex"), name
    shown = printed(summary)
    assert not any(each in shown for each in ("\x1b[31m", "\x1b[2J", "\x07", "\u202e"))
    rows = [line for line in (folder / "exact.md").read_text().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1
    assert "'=1+1" in (folder / "exact.csv").read_text()
    row = next(line for line in (folder / "exact.tex").read_text().splitlines() if line.startswith("x"))
    assert not re.search(r"(?<!\\)[%#$_]", row.split(" & ")[0])


@pytest.mark.parametrize("width", [160, 100, 72])
def test_the_exact_table_comes_first_and_fits(tmp_path: Path, width: int) -> None:
    summary = summarise(exact_store(tmp_path, TWELVE))
    lines = without_style(printed(summary, width)).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "…" not in "".join(lines)
    text = " ".join(lines)
    assert text.index("gain share") < text.index("on samples") < text.index("KL", text.index("on samples"))
    for title in ("beats", "E r, exact", "J* - J, beta 0.5", "limit", "lost to", "reward model", "training"):
        assert title in text
    for heading in ("exact verdict", "where the rest goes", "notes on the exact figures"):
        assert heading in text.replace("  ", " ")


def test_the_lines_of_many_pairs_are_in_the_file_alone(tmp_path: Path) -> None:
    table = build([{"exact": exact_of(exact_store(tmp_path, TWELVE, (0, 1)))}])
    assert len(dict(table.sections)[DIFFERENCES]) == 66
    assert dict(brief(table).sections)[DIFFERENCES] == ["66 pairs of specs: in exact.md, and who beats whom above"]
    assert write_markdown(table).count("significant") >= 66 and write_latex(table).count("significant") >= 66


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options)
        found.append(self)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def xy(line: Line2D) -> list[list[float]]:
    """The points of a line."""
    found: list[list[float]] = np.asarray(line.get_xydata(), dtype=np.float64).tolist()
    return found


def inside(drawn: Figure) -> None:
    """Nothing is cut off, and no legend covers data."""
    page, shown = drawn.bbox, [axes for axes in drawn.axes if axes.get_visible()]
    boxes = [axes.get_tightbbox() for axes in shown] + [legend.get_window_extent() for legend in drawn.legends]
    for box in (*boxes, *(text.get_window_extent() for text in drawn.texts)):
        assert box is not None
        assert page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1
        assert page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1
    for legend, axes in itertools.product(drawn.legends, shown):
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    for axes in shown:  # names and numbers stand apart
        for labels, axis in ((axes.get_xticklabels(), 0), (axes.get_yticklabels(), 1)):
            ends = sorted(
                label.get_window_extent().get_points()[:, axis].tolist() for label in labels if label.get_text()
            )
            inner = [end for end in ends if page.x0 <= end[0] and end[1] <= page.x1]
            assert all(a[1] <= b[0] + 0.5 for a, b in pairwise(inner))


@pytest.mark.parametrize(
    "specs", [TWELVE, (*TWELVE, *(f"dpo:beta={i}" for i in range(12))), ("dpo",), (HOSTILE, "dpo")]
)
def test_plots_hold_many_specs_and_one(tmp_path: Path, figures: list[Figure], specs: Sequence[str]) -> None:
    summary = {"exact": exact_of(exact_store(tmp_path, specs, (0, 1) if len(specs) > 12 else (0, 1, 2)))}
    assert frontier(summary, tmp_path / "frontier.png") and shares(summary, tmp_path / "share.png")
    for drawn in figures:
        inside(drawn)
    assert len(figures) == 2
    names = [label.get_text() for label in figures[1].axes[0].get_yticklabels()]
    assert len(names) == len(specs) == len(set(names))
    legend = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert {"best possible frontier", "optimum", "reference"} <= set(legend)


def test_a_policy_far_below_does_not_press_the_others_together(tmp_path: Path, figures: list[Figure]) -> None:
    """Its share and its limit are written at the edge."""
    what = Synthetic(specs=SPECS, seeds=(0, 1), **SIZES)
    folder = write_exact(write_store(tmp_path, what), what, Exact())
    for seed in what.seeds:
        path = folder / cell_folder(what, SPECS[0]) / f"seed-{seed}" / CELL
        found = read_json(path)
        found |= {"gain_share": -7.25, "kl": 20.0 + seed, "limit": found["limit"] | {"gain_share": -9.5, "kl": 25.0}}
        write_json(path, found)
    exact = exact_of(folder)
    shares({"exact": exact}, tmp_path / "share.png")
    frontier({"exact": exact}, tmp_path / "frontier.png")
    left, right = figures[0].axes
    assert left.get_xlim()[0] > -1.2
    assert "◂ -7.25, limit -9.50" in [text.get_text() for text in left.texts]
    assert "8.250 ▸" in [text.get_text() for text in right.texts]
    assert figures[1].axes[1].get_ylim()[0] > -1.2
    for drawn in figures:
        inside(drawn)


def test_marks_stand_where_the_figures_are(tmp_path: Path, figures: list[Figure]) -> None:
    exact = exact_of(exact_store(tmp_path, ("ipo:beta=0.5",)))
    frontier({"exact": exact}, tmp_path / "frontier.png")
    row, at = exact["rows"]["ipo:beta=0.5"], set()
    for axes in figures[0].axes:
        at |= {(round(float(x), 9), round(float(y), 9)) for line in axes.lines for x, y in xy(line)}
    reward, share = ({"y": name} for name in ("expected_reward", "gain_share"))
    for axis in (reward, share):
        known = [(row["kl"]["value"], row[axis["y"]]["value"])] if axis is reward else []
        known += list(zip(row["kl"]["per_seed"], row[axis["y"]]["per_seed"], strict=True))
        known += [(exact[end]["kl"], exact[end][axis["y"]]) for end in ("optimum", "reference")]
        known += [(row["limit"]["kl"], row["limit"][axis["y"]])]
        for x, y in known:
            assert any(abs(x - a) < 1e-6 and abs(y - b) < 1e-6 for a, b in at), (axis, x, y)


@pytest.fixture(scope="module")
def page(hostile: tuple[Path, Json]) -> Element:
    return parse((hostile[0] / "report.html").read_text(encoding="utf-8"))


def test_the_page_opens_with_the_exact_headline(hostile: tuple[Path, Json], page: Element) -> None:
    summary = hostile[1]
    assert page.all("p")[0].attributes["class"] == "verdict"
    assert squeezed(page.all("p")[0].text).startswith("Of what the best possible policy gains over the reference")
    headings = [squeezed(h.text) for h in page.all("h2")]
    assert headings[:2] == ["Exact results", "Results on samples"]
    section = next(each for each in page.all("section") if each.attributes.get("aria-labelledby") == "exact")
    specs = [squeezed(row.all("th")[0].text) for row in section.all("tbody")[0].all("tr")]
    assert specs[0].startswith("optimum") and specs[-1].startswith("reference") and len(specs) == 6
    words = [squeezed(dt.text) for dt in section.all("dt")]
    assert words == list(WORDS)
    titles = [(i.attributes["alt"] or "").split(". ")[0] for i in section.all("img")]
    assert titles == [f"Plot: {title}" for title, _ in PLOTS.values()]
    pictures = [base64.b64decode((i.attributes["src"] or "").partition(",")[2]) for i in section.all("img")]
    assert pictures == [(hostile[0] / "plots" / f"{name}.png").read_bytes() for name in PLOTS]
    share = summary["exact"]["rows"]["ppo:beta=0.5"]["gain_share"]["value"]
    assert f"ppo:beta=0.5: gain share {share:.3f}" in (section.all("img")[1].attributes["alt"] or "")


def test_the_page_keeps_its_rules(page: Element) -> None:
    assert {element.tag for element in page.everything()} <= TAGS
    assert {name for element in page.everything() for name in element.attributes} <= ATTRIBUTES
    ids = [element.attributes["id"] for element in page.everything() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert all((link.attributes["href"] or "").removeprefix("#") in ids for link in page.all("a"))
    levels = [int(element.tag[1]) for element in page.everything() if re.fullmatch(r"h\d", element.tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


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
        for unfolded in (False, True):
            if unfolded:
                opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert opened.evaluate("document.documentElement.scrollWidth") == width
            assert opened.evaluate(REACHES_OUT) == []
        assert opened.evaluate(CUT_OFF) == []
        assert opened.happened("Runtime.exceptionThrown") == []
