"""`report.html` in a real browser: nothing that it shows can run, and nothing leaves its width."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignbench.report import judging, page, write_report
from alignbench.report.store import read_store
from alignbench.report.tables import build
from alignbench.visible import plain
from tests.browser import Page, browser, find_browser
from tests.hostile import TEXTS, hostile_store

WIDTHS = (400, 1400)
A4 = round((210 - 2 * 13) / 25.4 * 96)  # the width between the margins, in CSS pixels
TRACES = "[document.title, typeof window.ran, document.documentElement.dataset.ran ?? null, document.forms.length]"
REACHES_OUT = """[...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !element.closest('.scroll');
}).map(element => element.tagName + '.' + element.className)"""
# What a reader cannot reach: text that is wider than its box and that no scrolling brings back.
CUT_OFF = """[...document.querySelectorAll('body *')].filter(element => {
  const style = getComputedStyle(element);
  return element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && style.display !== 'inline'
    && !['auto', 'scroll'].includes(style.overflowX) && !element.closest('.scroll');
}).map(element => element.tagName + '.' + element.className)"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    with browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page is made of. Every prompt is among the first ones, so that every hostile text is on it."""
    folder = hostile_store(tmp_path_factory.mktemp("hostile"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        patch.setattr("alignbench.report.page_samples.FIRST", len(TEXTS))
        summary = write_report(folder)
        shown = page.examples(read_store(folder))
    plots = sorted((folder / "plots").iterdir())
    return {"folder": folder, "arguments": (summary, build([summary]), plots, shown)}


@pytest.fixture(scope="module")
def file(parts: dict[str, Any]) -> Path:
    found: Path = parts["folder"] / "report.html"
    return found


def unsafe(parts: dict[str, Any]) -> str:
    """The same page from templates that escape nothing."""
    real = page.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "environment", lambda: real().overlay(autoescape=False))
        text = page.write_page(*parts["arguments"])
    # An injected order to go elsewhere would end the page before anybody could look at it.
    return text.replace("http-equiv=refresh", "")


def blocked(opened: Page) -> list[Any]:
    """What the page's policy had to forbid, and what the browser complained of."""
    issues = [event["issue"]["code"] for event in opened.happened("Audits.issueAdded")]
    logged = [event["entry"]["text"] for event in opened.happened("Log.entryAdded")]
    return [*[code for code in issues if "ContentSecurityPolicy" in code], *logged]


def requested(opened: Page) -> set[str]:
    return {event["request"]["url"] for event in opened.happened("Network.requestWillBeSent")}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_runs_is_asked_for_or_forbidden(chromium: Page, file: Path, width: int) -> None:
    chromium.open(file, width)
    title, *traces = chromium.evaluate(TRACES)
    assert title.startswith("<script>document.title='ran'")
    assert traces == ["undefined", None, 0]
    assert chromium.happened("Page.javascriptDialogOpening") == []
    assert chromium.happened("Runtime.exceptionThrown") == []
    assert blocked(chromium) == []
    assert {url for url in requested(chromium) if not url.startswith("data:image/png;base64,")} == {file.as_uri()}
    assert chromium.evaluate("document.querySelectorAll('script,iframe,svg,base,link,form,textarea').length") == 0
    assert chromium.evaluate("getComputedStyle(document.body).display") == "block"
    assert chromium.evaluate("[...document.links].every(link => link.getAttribute('href').startsWith('#'))") is True


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_leaves_the_width_of_the_page(chromium: Page, file: Path, width: int) -> None:
    chromium.open(file, width)
    inside = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert chromium.evaluate(inside) == [width, width]
    assert chromium.evaluate(REACHES_OUT) == []
    assert chromium.evaluate(CUT_OFF) == []
    chromium.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert chromium.evaluate(inside) == [width, width]


def test_texts_are_shown_as_they_were_written(chromium: Page, file: Path) -> None:
    chromium.open(file, 1400)
    shown = chromium.evaluate("[...document.querySelectorAll('.prompt')].map(element => element.textContent)")
    assert shown == ["\n".join(plain(line) for line in text.split("\n")) for text in TEXTS]
    first = "document.querySelectorAll('.card')[1].querySelector('.text')"
    assert chromium.evaluate(f"{first}.textContent") == TEXTS[0]
    # Text that runs from right to left stays in its own box and turns nothing around it.
    turned = chromium.evaluate("[...document.querySelectorAll('.text')].every(e => e.getAttribute('dir') === 'auto')")
    assert turned is True


def test_on_paper_nothing_is_cut_off_and_everything_lies_open(chromium: Page, file: Path, tmp_path: Path) -> None:
    chromium.open(file, A4)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert chromium.evaluate("document.documentElement.scrollWidth") <= A4
        for expression in (REACHES_OUT, CUT_OFF):
            assert chromium.evaluate(expression.replace(" && !element.closest('.scroll')", "")) == []
        glossary = chromium.evaluate("document.querySelector('.glossary').getBoundingClientRect().height")
        assert glossary > 100
    finally:
        chromium.call("Emulation.setEmulatedMedia", media="")
    data = chromium.pdf()
    assert data.startswith(b"%PDF")
    reader = shutil.which("pdftotext")
    if reader is not None:
        (tmp_path / "report.pdf").write_bytes(data)
        text = subprocess.run([reader, str(tmp_path / "report.pdf"), "-"], capture_output=True, check=True).stdout
        printed = re.sub(r"\s+", " ", text.decode())
        assert "How to read this" in printed
        assert "the judge followed the place and not the text" in printed  # from the section that is folded on screen


def test_without_escaping_the_policy_still_stops_it_and_this_test_sees_it(
    chromium: Page, parts: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "unsafe.html"
    file.write_text(unsafe(parts), encoding="utf-8")
    chromium.open(file, 1400)
    assert chromium.evaluate(TRACES)[1:3] == ["undefined", None]
    assert len(blocked(chromium)) > 0


def test_without_escaping_and_policy_it_runs_and_this_test_sees_it(
    chromium: Page, parts: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "unsafe.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", unsafe(parts))
    file.write_text(text, encoding="utf-8")
    chromium.open(file, 1400)
    assert chromium.evaluate(TRACES)[:3] == ["ran", "number", "1"]
