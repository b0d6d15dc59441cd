"""How the gain share grows with the pairs: runs of one world joined, and what is not joined."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.cells import cell_len

from alignbench.errors import InputError
from alignbench.report import compare, exact_growth, judging
from alignbench.results import read_json
from tests.synthetic import Synthetic
from tests.synthetic_exact import TWELVE, Exact, exact_of, write_exact
from tests.synthetic_store import printed, without_style, write_store
from tests.test_report_exact_looks import SIZES, figures, inside, xy

__all__ = ["figures"]
Json = dict[str, Any]
SPECS = ("dpo:beta=0.5", "ipo:beta=0.5")


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "RESAMPLES", 5)


def run(folder: Path, specs: Sequence[str] = SPECS, seeds: Sequence[int] = (0, 1), **exact: Any) -> Path:
    what = Synthetic(specs=specs, seeds=seeds, **SIZES)
    return write_exact(write_store(folder, what), what, Exact(**exact))


def summary(folder: Path) -> Json:
    """As much of a run's summary as is joined."""
    return {"name": folder.name, "identity": read_json(folder / "run.json")["identity"], "exact": exact_of(folder)}


def test_runs_that_differ_in_pairs_alone_are_joined(tmp_path: Path) -> None:
    folders = [run(tmp_path / str(pairs), pairs=pairs) for pairs in (10_000, 1000)]
    both = compare(folders)
    growth, out = both["exact_growth"], Path(both["folder"])
    assert growth["pairs"] == [1000, 10_000] and growth["runs"] == {"1000": 1000, "10000": 10_000}
    for spec in SPECS:
        found = growth["rows"][spec]
        shares = [each["exact"]["rows"][spec]["gain_share"]["value"] for each in (both["runs"][1], both["runs"][0])]
        assert [point["value"] for point in found["points"]] == shares and shares[0] < shares[1]
        assert [point["pairs"] for point in found["points"]] == [1000, 10_000]
        assert found["limit"] == pytest.approx(both["runs"][0]["exact"]["rows"][spec]["limit"]["gain_share"])
    assert (out / "plots" / "exact_growth.png").stat().st_size > 0
    with (out / "exact_growth.csv").open() as file:
        rows = {row["spec"]: row for row in csv.DictReader(file)}
    dpo = growth["rows"]["dpo:beta=0.5"]["points"]
    assert float(rows["dpo:beta=0.5"]["gain_share_1000"]) == dpo[0]["value"]
    assert float(rows["dpo:beta=0.5"]["gain_share_10000_low"]) == dpo[1]["low"]
    with (out / "exact.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"1000", "10000"}
    lines = without_style(printed(both)).splitlines()
    assert max(cell_len(line) for line in lines) <= 100
    assert "1,000 pairs" in lines[2] and "10,000 pairs" in lines[2]
    assert not (folders[0] / "summary.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.1}, r"differ not only in pairs but in beta \(0\.5 and 0\.1\)"),
        ({"identity": {"dtype": "bfloat16"}}, r"in dtype \(float32 and bfloat16\)"),
        ({"identity": {"dtype": "bfloat16", "device": "cuda"}}, r"in dtype .* and 1 other settings?,"),
        ({"world": 1}, "have other starting models"),
    ],
)
def test_worlds_that_differ_in_more_are_not_joined(tmp_path: Path, changes: Mapping[str, Any], words: str) -> None:
    first = summary(run(tmp_path / "a", pairs=1000))
    second = summary(run(tmp_path / "b", pairs=10_000, **changes))
    with pytest.raises(InputError, match=f"^a and b .*{words}.*report") as raised:
        exact_growth.join([first, second])
    assert "\n" not in str(raised.value)


def test_the_refusal_is_that_of_the_comparison_and_writes_nothing(tmp_path: Path) -> None:
    folders = [run(tmp_path / "a", pairs=1000), run(tmp_path / "b", pairs=2000, beta=0.1)]
    with pytest.raises(InputError, match="differ not only in pairs"):
        compare(folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_same_pairs_are_no_growth(tmp_path: Path) -> None:
    first, second = summary(run(tmp_path / "a")), summary(run(tmp_path / "b", beta=0.1))
    assert exact_growth.join([first, second]) is None
    assert exact_growth.join([first]) is None
    sampled = {key: value for key, value in second.items() if key != "exact"}
    assert exact_growth.join([first, sampled]) is None


def test_two_shares_at_one_number_of_pairs_are_refused(tmp_path: Path) -> None:
    runs = [summary(run(tmp_path / name, pairs=pairs)) for name, pairs in (("a", 1000), ("b", 1000), ("c", 2000))]
    with pytest.raises(InputError, match=r"a and b both have dpo:beta=0\.5 at 1,000 pairs"):
        exact_growth.join(runs)
    other = summary(run(tmp_path / "d", ("orpo",), pairs=1000))
    growth = exact_growth.join([runs[0], other, runs[2]])
    assert growth is not None
    assert [point["run"] for point in growth["rows"]["orpo"]["points"]] == ["d"]
    table = exact_growth.build(growth)
    assert [row[0].value for row in table.rows][-1] == "orpo"  # it has no share at the most pairs
    assert table.rows[-1][2].value == "–"


def test_a_plot_of_many_specs_is_legible(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [summary(run(tmp_path / str(p), TWELVE, (0, 1, 2), pairs=p)) for p in (1000, 10_000, 100_000)]
    growth = exact_growth.join(runs)
    assert growth is not None
    exact_growth.plot(growth, tmp_path / "growth.png")
    (drawn,) = figures
    inside(drawn)
    axes, limits = drawn.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1,000", "10,000", "100,000"]
    known = [row for row in growth["rows"].values() if row["limit"] is not None]
    assert len(limits.collections) == len(known) == 7
    lines = [[y for _, y in xy(line)] for line in axes.lines if len(xy(line)) == 3]
    shares = [[point["value"] for point in row["points"]] for row in growth["rows"].values()]
    assert np.array(sorted(lines)) == pytest.approx(np.array(sorted(shares)))  # none is below the edge here
