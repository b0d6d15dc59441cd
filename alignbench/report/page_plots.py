"""What stands around a plot on the page: its title, how to read it, and a text for those who cannot see it."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

from ..results import Json
from .data_page import PLOTS as DATA
from .exact_page import PLOTS as EXACT
from .page_alternatives import describe
from .probes_page import PLOTS as PROBES

WIDE = 1150  # pixels: wider ones take the whole width of the page


@dataclass(frozen=True)
class Figure:
    """A plot with its words; `data` is the PNG in base64, `width` and `height` are in pixels."""

    name: str
    title: str
    caption: str
    alt: str
    data: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        return self.width > WIDE


# Title, how to read it.
TEXTS = {
    "frontier": (
        "Reward against KL",
        "Up is more reward, right is further from the reference. At equal KL, the higher curve is the better one.",
    ),
    "win_rates": (
        "Win rates",
        "The share of prompts on which a judge prefers a spec's sample to the reference's; at one half they are even.",
    ),
    "head_to_head": (
        "Head to head",
        "How often the row's sample is preferred to the column's, both answering the same prompts.",
    ),
    "temperatures": (
        "Win rate by temperature",
        "The opponent is always sampled at temperature 1; only the spec's own temperature changes.",
    ),
    "training": ("Training", "What each objective reports of itself along training, and what checkpoints measure."),
    "proxy_gold": (
        "Proxy against gold reward",
        "Where a curve bends down to the right, the proxy still rises and the true reward falls: over-optimisation.",
    ),
    "agreement": (
        "Agreement of the judges",
        "How often a judge agrees with gold, with the labels and with other judges, beside the human-human ceiling.",
    ),
    "lengths": (
        "Lengths",
        "Completions in tokens: the 5, 25, 50, 75 and 95 % quantiles. Judges tend to prefer longer ones.",
    ),
    "capability": (
        "Capability",
        (
            "The change of each task's metric from the reference model: below zero is what alignment has cost, above "
            "zero where lower is better."
        ),
    ),
    "tuning": (
        "Tuning",
        "Every trial of the grid, on a seed that is not compared; the same grid and as many trials for each spec.",
    ),
    "cost": (
        "Where the time goes",
        "Seconds of a seed by phase; stages that specs share are counted in full for each.",
    ),
}


def read_figure(path: Path, summary: Json) -> Figure:
    """The plot `path` with its words. The same plot has the same words, whatever its picture."""
    image = path.read_bytes()
    width, height = struct.unpack(">II", image[16:24])  # of the IHDR chunk, always the first
    title, caption = (TEXTS | EXACT | DATA | PROBES)[path.stem]
    alt = f"Plot: {title}. {describe(path.stem, summary)}."
    data = base64.b64encode(image).decode("ascii")
    return Figure(path.stem, title, caption, alt, data, width, height)
