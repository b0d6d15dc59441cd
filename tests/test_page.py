"""`report.html`: what it holds, by which rules it chooses, and that it asks nothing of anybody."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alignbench.judge import Usage
from alignbench.report import judging, write_report
from alignbench.report.marks import mark_lines
from alignbench.report.page import TEMPLATES
from alignbench.report.page_alternatives import describe
from alignbench.report.page_plots import TEXTS as PLOTS
from alignbench.report.page_samples import DISPUTED, FIRST, read_verdict
from alignbench.report.store import read_store
from alignbench.report.tables import build
from alignbench.report.text import count
from alignbench.results import read_json, write_json
from tests.html_page import Element, parse, squeezed
from tests.synthetic import Synthetic
from tests.synthetic_store import write_store

Json = dict[str, Any]
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "nav", "section", "article", "h1", "h2", "h3",
    "h4", "h5", "p", "ul", "li", "a", "bdi", "span", "strong", "dl", "dt", "dd", "div", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img", "pre",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "src", "alt", "width", "height", "scope",
    "dir", "tabindex", "role", "aria-label", "aria-labelledby",
}  # fmt: skip
TUNING = {
    "folder": "tuning", "grid": {"learning_rate": [1e-4, 3e-4]}, "seed": 999, "prompts": 8, "judge": "gold",
    "trials": [
        {"spec": "dpo", "trial": "dpo:learning_rate=0.0001", "point": {"learning_rate": "0.0001"},
         "value": 0.625, "low": 0.5, "high": 0.75,
         "status": "done", "reason": None, "chosen": True},
        {"spec": "dpo", "trial": "dpo:learning_rate=0.0003", "point": {"learning_rate": "0.0003"},
         "value": None, "low": None, "high": None,
         "status": "failed", "reason": "the loss is NaN at step 3", "chosen": False},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json, Element]:
    """A run that has everything; its folder, summary and page."""
    what = Synthetic(
        failed=[("kto", 1)], temperatures=(0.5,), best_of=(4,), capability=True, unparsed=0.02,
        usage=Usage(480, 100, 3, 51_000, 900, 0.0123), run={"tuning": TUNING},
    )  # fmt: skip
    folder = write_store(tmp_path_factory.mktemp("store"), what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 25)
        summary = write_report(folder)
    return folder, summary, parse((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_opens_with_the_honest_verdict(whole: tuple[Path, Json, Element]) -> None:
    _, summary, page = whole
    (heading,) = page.all("h1")
    assert squeezed(heading.text) == "reviews"
    verdict = page.all("p")[0]
    assert verdict.attributes["class"] == "verdict"
    assert squeezed(verdict.text) == squeezed(summary["verdict"]["sentence"])
    assert "dpo" in verdict.text


def test_it_loads_nothing_and_runs_nothing(whole: tuple[Path, Json, Element]) -> None:
    page = whole[2]
    assert {element.tag for element in page.everything()} <= TAGS
    assert {name for element in page.everything() for name in element.attributes} <= ATTRIBUTES
    ids = [element.attributes["id"] for element in page.everything() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    for link in page.all("a"):
        assert (link.attributes["href"] or "").removeprefix("#") in ids
    for image in page.all("img"):
        assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", image.attributes["src"] or "")
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_its_policy_allows_its_own_style_and_pictures_alone(whole: tuple[Path, Json, Element]) -> None:
    page = whole[2]
    policy = next(m for m in page.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy")
    known = base64.b64encode(hashlib.sha256(page.all("style")[0].text.encode()).digest()).decode()
    rules = [rule.strip() for rule in (policy.attributes["content"] or "").split(";")]
    assert rules == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{known}'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    before = page.everything()[: page.everything().index(policy)]
    assert {element.tag for element in before} == {"html", "head", "meta"}  # it holds for all that follows


def test_headings_tables_and_pictures_can_be_heard(whole: tuple[Path, Json, Element]) -> None:
    folder, summary, page = whole
    levels = [int(element.tag[1]) for element in page.everything() if re.fullmatch(r"h\d", element.tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in page.all("table"):
        assert len(table.all("caption")) == 1
        columns = len(table.all("thead")[0].all("th"))
        assert {th.attributes["scope"] for th in table.all("thead")[0].all("th")} == {"col"}
        for row in table.all("tbody")[0].all("tr"):
            assert {th.attributes["scope"] for th in row.all("th")} == {"row"}
            assert len(row.all("th")) + len(row.all("td")) == columns
    drawn = sorted((folder / "plots").iterdir())
    assert len(page.all("img")) == len(drawn)
    pictures = {base64.b64decode((i.attributes["src"] or "").partition(",")[2]): i for i in page.all("img")}
    for path in drawn:
        image = pictures[path.read_bytes()]
        size = struct.unpack(">II", path.read_bytes()[16:24])
        assert (image.attributes["width"], image.attributes["height"]) == tuple(map(str, size))
        alt = image.attributes["alt"] or ""
        assert alt.startswith(f"Plot: {PLOTS[path.stem][0]}. ")
        assert _figures(summary)[path.stem] in alt
    assert {path.stem for path in drawn} == set(PLOTS) == set(_figures(summary))


def _figures(summary: Json) -> dict[str, str]:
    """Something that each plot shows and its text must say."""
    row, agreed = summary["rows"][2], summary["judges"]["lm"]["held_out"]["against_gold"]["raw"]
    beaten = summary["head_to_head"]["gold"]["win_rate"][2][0]
    at_half = summary["temperatures"]["gold"]["reference"]["ppo"]["0.5"]
    change = row["capability"]["reviews_grammar"]["acc"]["change"]
    return {
        "frontier": f"ppo: KL {row['kl']['value']:.2f} [",
        "win_rates": f"ppo: win rate {row['win_rate']['value']:.3f} [",
        "head_to_head": f"ppo: over dpo {beaten['value']:.3f} [",
        "temperatures": f"ppo: at temperature 0.5 win rate {at_half['value']:.3f} [",
        "training": "dpo; kto; ppo",
        "proxy_gold": f"ppo: proxy reward {row['proxy_reward']['value']:.2f} [",
        "agreement": f"judge lm: agrees with gold on held-out pairs {agreed['value']:.3f}",
        "lengths": f"ppo: mean length in tokens {row['length']['value']:.1f} [",
        "capability": f"ppo: reviews_grammar acc changed by {change:+.4f} [",
        "tuning": "dpo: learning_rate=0.0001 0.625 [0.500, 0.750] (chosen), learning_rate=0.0003 not known",
        "cost": "kto: stage ",
    }


def test_every_column_of_the_table_is_explained(whole: tuple[Path, Json, Element]) -> None:
    _, summary, page = whole
    columns = build([summary]).columns
    titles = [column.title for column in columns]
    assert {"win rate", "beats", "KL", "reviews_grammar"} <= set(titles)
    words = [squeezed(dt.text) for dt in page.classed("glossary")[0].all("dt")]
    assert words[: len(columns)] == [
        f"{column.title}, {column.unit}" if titles.count(column.title) > 1 else column.title for column in columns
    ]
    assert all(len(squeezed(dd.text)) > 20 for dd in page.classed("glossary")[0].all("dd"))
    assert {"tie", "contradiction", "refused", "unparsed", "unanswered"} <= set(words)


def test_the_marks_of_the_table_are_explained_below_it(whole: tuple[Path, Json, Element]) -> None:
    _, summary, page = whole
    legend = mark_lines(summary)
    said = [squeezed(li.text) for li in page.all("li")]
    assert legend and [line for line in said if line in map(squeezed, legend)] == [squeezed(line) for line in legend]


def test_what_is_better_the_lower_it_is_is_called_so(tmp_path: Path) -> None:
    folder = write_store(tmp_path, Synthetic(specs=("dpo",), seeds=(0,), prompts=6, pairs=2, capability=True))
    for path in (folder / "stages/capability-l1/result.json", next(folder.glob("cells/*/seed-0/capability-l1.json"))):
        found = read_json(path)
        metrics = found["tasks"]["reviews_grammar"]["metrics"]
        ppl = metrics["acc"] | {"value": 20.0, "higher_is_better": False}
        found["tasks"]["reviews_lm"] = {"metrics": {"ppl": ppl}, "version": 1, "n_shot": 0, "samples": []}
        write_json(path, found)
    summary = write_report(folder)
    page = parse((folder / "report.html").read_text(encoding="utf-8"))
    heads = [squeezed(th.text) for table in page.all("table") for th in table.all("thead")[0].all("th")]
    for task, better in (("reviews_grammar", False), ("reviews_lm", True)):
        own = [head for head in heads if head.startswith(task)]
        assert len(own) == 2 and all(("lower is better" in head) == better for head in own), own
    meanings = {squeezed(dt.text): squeezed(dd.text) for dt, dd in zip(
        page.classed("glossary")[0].all("dt"), page.classed("glossary")[0].all("dd"), strict=True
    )}  # fmt: skip
    assert "below zero, alignment has cost" in meanings["reviews_grammar"]
    assert "above zero, alignment has cost" in meanings["reviews_lm"]
    assert "reviews_lm ppl changed by +0.0000 [-0.0615, 0.0615], lower is better" in describe("capability", summary)
    text = (folder / "table.md").read_text()
    assert "reviews\\_lm (change in ppl, lower is better)" in text and "one standard error, lower is better)" in text


def _scores(folder: Path, position: int) -> list[list[float]]:
    """Each spec's scores by the three judges, read from the files of verdicts again."""
    store = read_store(folder)
    found = []
    for spec in ("dpo", "kto", "ppo"):
        matches = [store.match(judge, spec, "reference", 0) for judge in store.judges]
        verdicts = [match.verdicts[position] for match in matches if match is not None]
        found.append([verdict.score for verdict in verdicts if not verdict.unusable])
    return found


def test_prompts_are_chosen_by_the_two_rules_that_the_page_states(whole: tuple[Path, Json, Element]) -> None:
    folder, _, page = whole
    apart = []
    for position in range(24):
        gaps = [abs(a - b) for row in _scores(folder, position) for i, a in enumerate(row) for b in row[:i]]
        apart.append(sum(gaps) / len(gaps))
    expected = [*range(FIRST), *sorted(range(FIRST, 24), key=lambda p: (-apart[p], p))[:DISPUTED]]
    assert min(apart[p] for p in expected[FIRST:]) > 0
    shown = page.classed("prompt-samples")
    assert [squeezed(article.all("h4")[0].text).split(" judges")[0] for article in shown] == [
        f"Prompt {position + 1} of 24" for position in expected
    ]
    assert [squeezed(p.text) for p in page.classed("prompt")] == [f"this film number {p}" for p in expected]
    titles = [squeezed(heading.text) for heading in page.all("h3")]
    assert titles.index("The first prompts") < titles.index("Where the judges disagree most")
    for position, article in zip(expected, shown, strict=True):
        opposed = [max(row) > 0.5 > min(row) for row in _scores(folder, position)]
        assert [bool(card.classed("disputed")) for card in article.classed("card")] == [False, *opposed]


def test_a_sample_stands_beside_the_reference_with_each_judges_verdict(whole: tuple[Path, Json, Element]) -> None:
    folder, _, page = whole
    store = read_store(folder)
    first = page.classed("prompt-samples")[0]
    cards = first.classed("card")
    assert [squeezed(card.all("h5")[0].text) for card in cards] == ["reference", "dpo", "kto", "ppo"]
    assert [card.classed("text")[0].text for card in cards] == ["a dull film ."] + ["a good film . it moved me"] * 3
    assert cards[0].classed("cut")  # the first sample of the reference did not end
    rows = [store.rows("reference", 0)[0], *(store.rows(spec, 0)[0] for spec in ("dpo", "kto", "ppo"))]
    assert [f"reward {row['reward']:.2f}" in squeezed(card.text) for row, card in zip(rows, cards, strict=True)] == [
        True
    ] * 4
    for spec, card in zip(("dpo", "kto", "ppo"), cards[1:], strict=True):
        matches = {judge: store.match(judge, spec, "reference", 0) for judge in store.judges}
        words = [read_verdict(j, m.verdicts[0]) for j, m in matches.items() if m is not None]
        said = [squeezed(li.text) for li in card.classed("verdicts")[0].all("li")]
        assert said == [f"{word['judge']} {word['outcome']} {word['orders']}" for word in words]


def test_costs_and_what_was_left_open_are_told(whole: tuple[Path, Json, Element]) -> None:
    _, summary, page = whole
    tables = {squeezed(table.all("caption")[0].text): table for table in page.all("table")}
    used = summary["judges"]["lm"]["usage"]
    (row,) = tables["What the judges cost"].all("tbody")[0].all("tr")
    counts = summary["judges"]["lm"]["answers"]
    assert squeezed(row.all("td")[0].text) == count(sum(counts.values()))
    assert squeezed(row.all("td")[1].text) == count(used["questions"])
    assert f"{used['retries']:.3g}" == squeezed(row.all("td")[3].text)
    assert f"{used['cost']:.4f}" == squeezed(row.all("td")[6].text)
    assert counts["unparsed"] > 0
    said = f"lm: {counts['unparsed']:,} of {sum(counts.values()):,} answers unparsed"
    assert said in [squeezed(li.text) for li in page.all("li")]
    text = squeezed(page.text)
    assert "Every question got an answer" not in text
    assert "kto: seed 1: the loss is NaN at step 12" in text
    assert "start 20.0 s, judge lm 8.0 s, data 3.0 s, cache 1.5 s" in text
    for found in ("alignbench run --objectives dpo,kto,ppo", "f00d", "small, from scratch (5a11)", "torch 2.13.0"):
        assert found in text, found


def test_tuning_and_capability_are_shown(whole: tuple[Path, Json, Element]) -> None:
    _, summary, page = whole
    tables = {squeezed(table.all("caption")[0].text): table for table in page.all("table")}
    tuning = next(
        table for caption, table in tables.items() if caption.startswith("grid: learning_rate = 0.0001, 0.0003; ")
    )
    rows = [squeezed(row.text) for row in tuning.all("tbody")[0].all("tr")]
    assert rows == [
        "dpo learning_rate=0.0001 0.625 [0.500, 0.750] chosen",
        "dpo learning_rate=0.0003 – the loss is NaN at step 3 failed",
    ]
    capability = next(table for caption, table in tables.items() if caption.startswith("lm-eval"))
    found = summary["rows"][0]["capability"]["reviews_grammar"]["acc"]
    shown = [squeezed(row.text) for row in capability.all("tbody")[0].all("tr")]
    assert shown[0].startswith("reference 0.")
    assert shown[1].startswith(f"dpo {found['value']:.4f} {found['change']:+.4f} ± {found['stderr']:.4f} [")


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_can_be_read_on_its_ground(scheme: int) -> None:
    css = (TEMPLATES / "report.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent", "won", "lost", "warn") for ground in ("page", "soft")]
    for ink, ground in [*pairs, ("warn", "warn-soft")]:
        light, dark = sorted((_luminance(colours[name]) for name in (ink, ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
