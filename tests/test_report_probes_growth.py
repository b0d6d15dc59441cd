"""How answers to probes move with the pairs: runs joined, and what is not joined."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.cells import cell_len

from alignbench.errors import InputError
from alignbench.report import compare, judging, plots, probes_growth
from alignbench.results import read_json
from tests.synthetic import Synthetic
from tests.synthetic_exact import TWELVE
from tests.synthetic_probes import NAME, OTHER, Probes, probes_of, write_probes
from tests.synthetic_store import printed, without_style, write_store
from tests.test_report_exact_looks import SIZES, figures, inside, xy

__all__ = ["figures"]
Json = dict[str, Any]
SPECS = ("dpo", "kto")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)
    monkeypatch.setattr(plots, "frontier", lambda summaries, path: None)


def run(folder: Path, specs: Sequence[str] = SPECS, seeds: Sequence[int] = (0, 1), **probes: Any) -> Path:
    what = Synthetic(specs=specs, seeds=seeds, **SIZES)
    return write_probes(write_store(folder, what), what, Probes(**probes))


def summary(folder: Path) -> Json:
    """As much of a run's summary as is joined."""
    return {"name": folder.name, "identity": read_json(folder / "run.json")["identity"], "probes": probes_of(folder)}


def test_runs_that_differ_in_pairs_alone_are_joined(tmp_path: Path) -> None:
    folders = [run(tmp_path / str(pairs), pairs=pairs) for pairs in (10_000, 100)]
    both = compare(folders)
    growth, out = both["probes_growth"], Path(both["folder"])
    assert growth["pairs"] == [100, 10_000] and growth["runs"] == {"100": 100, "10000": 10_000}
    found = {(each["group"], each["of"]): each["rows"] for each in growth["measures"]}
    assert list(found) == [(NAME, "score new"), (NAME, "score old"), (NAME, "token"), (OTHER, "score exact"),
                           (OTHER, "token"), (OTHER, "forgotten")]  # fmt: skip
    few, many = (both["runs"][i]["probes"]["rows"]["kto"]["groups"] for i in (1, 0))
    reads: dict[tuple[str, str], Callable[[Json], Json]] = {
        (NAME, "score new"): lambda each: each["scores"]["new"]["after"],
        (OTHER, "token"): lambda each: each["token"]["change"],
        (OTHER, "forgotten"): lambda each: each["forgotten"],
    }
    for (group, of), read in reads.items():
        points = found[group, of]["kto"]
        assert [point["pairs"] for point in points] == [100, 10_000]
        assert [point["value"] for point in points] == [read(each[group])["value"] for each in (few, many)]
    assert (out / "plots" / "probes_growth.png").stat().st_size > 0
    with (out / "probes_growth.csv").open() as file:
        rows = {(row["group"], row["quantity"], row["spec"]): row for row in csv.DictReader(file)}
    new = rows[NAME, "new", "kto"]
    assert float(new["after_100"]) == few[NAME]["scores"]["new"]["after"]["value"] and float(new["before"]) == 0
    assert float(new["after_10000_low"]) == many[NAME]["scores"]["new"]["after"]["low"]
    forgotten = rows[OTHER, "forgotten", "kto"]
    assert float(forgotten["after_10000"]) == many[OTHER]["forgotten"]["value"]  # a share, which the table has in %
    table = (out / "probes_growth.md").read_text()
    assert f"| {many[OTHER]['forgotten']['value'] * 100:.1f} [" in table and "kto (unrelated · forgotten)" in table
    with (out / "probes.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"100", "10000"}
    text = (out / "probes.md").read_text()
    assert "| dpo (100) |" in text and "**10000: which specs differ after it**" in text
    lines = without_style(printed(both)).splitlines()
    assert max(cell_len(line) for line in lines) <= 100
    assert "100 pairs" in lines[2] and "10,000 pairs" in lines[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity": {"dtype": "bfloat16"}}, r"differ not only in pairs but in dtype \(float32 and bfloat16\)"),
        ({"named": 11}, "have other probes"),
        ({"start": -1.0}, r"have other starting models \(identity, log-prob of a token: -\d\.\d{3} and -\d\.\d{3}\)"),
    ],
)
def test_runs_that_differ_in_more_are_not_joined(tmp_path: Path, changes: Mapping[str, Any], words: str) -> None:
    first = summary(run(tmp_path / "a", pairs=1000))
    second = summary(run(tmp_path / "b", pairs=10_000, **changes))
    with pytest.raises(InputError, match=f"^a and b .*{words}.*report") as raised:
        probes_growth.join([first, second])
    assert "\n" not in str(raised.value)


def test_what_is_no_growth(tmp_path: Path) -> None:
    first, second = summary(run(tmp_path / "a")), summary(run(tmp_path / "b", named=3))
    assert probes_growth.join([first, second]) is None  # one number of pairs
    assert probes_growth.join([first]) is None
    assert probes_growth.join([first, {key: value for key, value in second.items() if key != "probes"}]) is None


def test_runs_of_other_probes_stand_side_by_side(tmp_path: Path) -> None:
    """Groups that only one of them has, and a run that asked nothing."""
    what = Synthetic(specs=SPECS, seeds=(0, 1), **SIZES)
    plain = write_store(tmp_path / "plain", what)
    both = compare([run(tmp_path / "a"), run(tmp_path / "b", named=0), plain])
    assert "probes_growth" not in both
    text = (Path(both["folder"]) / "probes.md").read_text()
    named, other = text.split("**probes: unrelated")
    assert "| dpo (a) |" in named and "| dpo (b) |" not in named
    assert "| dpo (a) |" in other and "| dpo (b) |" in other and "(plain)" not in text


def test_two_answers_at_one_number_of_pairs_are_refused(tmp_path: Path) -> None:
    runs = [summary(run(tmp_path / name, pairs=pairs)) for name, pairs in (("a", 1000), ("b", 1000), ("c", 2000))]
    with pytest.raises(InputError, match="a and b both have dpo at 1,000 pairs"):
        probes_growth.join(runs)
    growth = probes_growth.join([runs[0], summary(run(tmp_path / "d", ("orpo",), pairs=1000)), runs[2]])
    assert growth is not None
    assert [point["run"] for point in growth["measures"][0]["rows"]["orpo"]] == ["d"]
    table = probes_growth.build(growth)
    assert [row[3].value for row in table.rows if row[0].value == "orpo"] == ["–"] * 6


def test_a_plot_of_many_specs_is_legible(
    tmp_path: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignbench.report.probes.compare", lambda *_: [])  # the tests of 66 pairs take their time
    runs = [
        summary(run(tmp_path / str(p), TWELVE[:8], (0,), pairs=p, named=3, unrelated=11))
        for p in (1000, 10_000, 100_000)
    ]
    growth = probes_growth.join(runs)
    assert growth is not None
    probes_growth.plot(growth, tmp_path / "growth.png")
    (drawn,) = figures
    inside(drawn)
    panels = [axes for axes in drawn.axes if axes.get_visible()]
    assert len(panels) == 6 and panels[0].get_title(loc="left") == "identity · new"
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["1,000", "10,000", "100,000"]
    lines = [[y for _, y in xy(line)] for line in panels[0].lines if len(xy(line)) == 3]
    values = [[point["value"] for point in points] for points in growth["measures"][0]["rows"].values()]
    assert np.array(lines) == pytest.approx(np.array(values))


def test_all_failed_has_no_plot(tmp_path: Path) -> None:
    what = Synthetic(specs=("dpo",), seeds=(0,), failed=[("dpo", 0)], **SIZES)
    folders = [
        write_probes(write_store(tmp_path / str(pairs), what), what, Probes(pairs=pairs)) for pairs in (100, 1000)
    ]
    growth = compare(folders)["probes_growth"]
    assert all(each["rows"] == {"dpo": []} for each in growth["measures"])
    assert not list(tmp_path.rglob("probes_growth.png"))
