"""Small results folders with answers to probes, and reports of them that are quickly made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from alignbench.report import judging, plots
from alignbench.report.probes_plots import change as change_plot
from alignbench.report.store import Store
from alignbench.results import read_json, write_json
from tests.synthetic import Synthetic
from tests.synthetic_probes import Probes, write_probes
from tests.synthetic_store import write_store

Json = dict[str, Any]
SPECS = ("dpo", "kto", "orpo")
DPO, KTO, ORPO = SPECS


def alone(store_: Store, summary: Json, folder: Path) -> list[Path]:
    """The plot of probes without all others."""
    drawn = change_plot(summary, folder / "probes_change.png")
    return [drawn] if drawn else []


@contextmanager
def quick() -> Iterator[None]:
    """Within it a report is made without its other plots and with few resamples of what is no probe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "RESAMPLES", 5)
        patch.setattr(plots, "write_plots", alone)
        yield


def small(**changes: Any) -> Synthetic:
    sizes: Json = {"specs": SPECS, "prompts": 4, "pairs": 2, "gold": False, "held_out": False, "head_to_head": False}
    return Synthetic(**(sizes | changes))


def store(folder: Path, what: Synthetic | None = None, probes: Probes | None = None) -> Path:
    what = what or small()
    return write_probes(write_store(folder, what), what, probes)


def rewrite(paths: list[Path], change: Callable[[Json], object]) -> None:
    """Let `change` have each row of these files."""
    for path in paths:
        found = read_json(path)
        for row in found["rows"]:
            change(row)
        write_json(path, found)
