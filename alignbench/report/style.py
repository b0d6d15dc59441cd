"""How every plot looks: the object interface of matplotlib, its own defaults, colours that survive print.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), told apart by colour-blind readers; marker and
line style differ as well, so that a grey copy can be read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from PIL import Image

from ..visible import plain
from .text import shorten

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B59F00")
"""Okabe and Ito's eight; their yellow (#F0E442) is darkened, since a line of it cannot be seen on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
LineStyle = Literal["-", "--", "-."] | tuple[float, tuple[float, ...]]
LINES: tuple[LineStyle, ...] = (
    "-",
    "--",
    "-.",
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (3, 1.5)),
)
Ends = tuple[float | None, float | None] | None  # of an interval
GREY = "#666666"
FONT = "DejaVu Sans"  # shipped with matplotlib: the same on every machine

_SETTINGS: Any = {
    "font.family": FONT,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "text.parse_math": False,  # a dollar sign in a spec is a dollar sign
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Look:
    """How a spec is drawn, the same in every plot."""

    label: str
    colour: str
    marker: str
    line: LineStyle

    def handle(self, line: bool = True) -> Line2D:
        """Its entry in a legend, as a curve or as an interval."""
        style = self.line if line else "-"
        return Line2D([], [], color=self.colour, marker=self.marker, linestyle=style, label=self.label)


def looks(names: Sequence[str], width: int = 30) -> list[Look]:
    """A look for each name in its order; the three cycles differ in length, so that 504 differ."""
    return [
        Look(label(name, width), COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], LINES[i % len(LINES)])
        for i, name in enumerate(names)
    ]


def label(text: object, width: int = 30) -> str:
    """Text for a plot: shortened, and characters that the font lacks as escapes."""
    known = get_font(findfont(FONT)).get_charmap()
    shown = (c if ord(c) in known else c.encode("unicode_escape").decode("ascii") for c in plain(text))
    return shorten("".join(shown), width)


@contextmanager
def figure(path: Path, width: float, height: float, dpi: int = 150) -> Iterator[Figure]:
    """A figure of `width` x `height` inches, saved to `path` when the block ends.

    Only the object interface: no window system, no global current figure; the reader's matplotlibrc is set aside.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        drawn = Figure(figsize=(width, height), dpi=dpi, layout=layout)
        FigureCanvasAgg(drawn)
        yield drawn
        # Without metadata the file depends on what is drawn alone.
        drawn.savefig(path, format="png", metadata={"Software": None})
        # 256 colours are enough for lines and flat areas, and the page that holds all plots is half as large.
        with Image.open(path) as image:
            flat = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        flat.save(path, format="png", optimize=True)


def legend(drawn: Figure, shown: Sequence[Look], extra: Sequence[Line2D] = ()) -> None:
    """The legend right of the axes, where it covers no data."""
    drawn.legend(handles=[*(look.handle() for look in shown), *extra], loc="outside right upper", handlelength=3.2)


def caption(drawn: Figure, text: str) -> None:
    """What marks and bands mean, below the axes, broken where the figure ends: a letter is about 4.4 points wide."""
    most = int(drawn.get_figwidth() * 72 / 4.4)
    shown = "\n".join(textwrap.fill(line, most) for line in text.split("\n"))
    drawn.supxlabel(shown, fontsize=8, color=GREY, x=0.01, ha="left")


def error_bars(
    axes: Axes, look: Look, at: tuple[float, float], x_ends: Ends = None, y_ends: Ends = None, width: float = 1.1
) -> None:
    """A large marker with the intervals of its coordinates, where they have one."""
    x, y = at
    axes.errorbar(
        x, y, xerr=_ends(x, x_ends), yerr=_ends(y, y_ends), color=look.colour, marker=look.marker, markersize=8,
        markeredgecolor="white", markeredgewidth=0.8, elinewidth=width, capsize=2.5, zorder=5,
    )  # fmt: skip


def _ends(value: float, ends: Ends) -> list[list[float]] | None:
    """`(low, high)` as the lengths that matplotlib wants."""
    if ends is None or ends[0] is None or ends[1] is None:
        return None
    return [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
