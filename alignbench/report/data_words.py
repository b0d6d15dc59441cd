"""What is said of an examination of preference data, in every place alike: `found` is a `doctor.json`."""

from __future__ import annotations

from collections.abc import Sequence

from ..doctor.findings import NOTHING, named, plural
from ..results import Json

LEVELS = {"bad": "bad", "look": "to look at", "fine": "fine", "unknown": "unknown"}  # worst first; as a count is read
# What a summary repeats: doctor.json has everything.
KEPT = 50  # lines of a finding
FIGURES = ("lengths", "words", "shortcut", "margins", "agreement", "balance")


def sized(found: Json) -> str:
    """How much was examined: "1,496 pairs"."""
    n, kind = found["records"], str(found["kind"])
    return f"{n:,} {kind.removesuffix('s') if n == 1 else kind}"


def counted(found: Json) -> str:
    """How many findings there are of each level: "1 bad, 3 to look at, 6 fine, 2 unknown"."""
    levels = [finding["level"] for finding in found["findings"]]
    return ", ".join(f"{levels.count(level)} {word}" for level, word in LEVELS.items() if level in levels)


def advised(finding: Json) -> str:
    """What to do about a finding; empty where there is nothing to do."""
    return "" if finding["level"] == "fine" or finding["advice"] == NOTHING else str(finding["advice"])


def note(found: Json | None) -> str | None:
    """One line for below the tables of a run; None where there is nothing to look at, or nobody has looked."""
    if found is None:
        return None
    of = {level: [named(f["check"]) for f in found["findings"] if f["level"] == level] for level in ("bad", "look")}
    n = sum(map(len, of.values()))
    if not n:
        return None
    parts = [f"{LEVELS[level]}: {', '.join(checks)}" for level, checks in of.items() if checks]
    return f"data: {plural(n, 'finding')} to look at ({'; '.join(parts)}), see report.html"


def side_names(figures: Json) -> Sequence[str]:
    """The two sides of the data: "chosen" and "rejected", or of labels their own."""
    found: Sequence[str] | None = (figures.get("lengths") or {}).get("names")
    return found or ("chosen", "rejected")


def couples(figures: Json) -> str:
    """What the share of longer ones is a share of."""
    return "couples of the two" if (figures.get("lengths") or {}).get("names") else "pairs"


def summarised(found: Json) -> Json:
    """The examination as `summary.json` repeats it: what is shown, and of long lists of lines the first."""
    cut = [f | {"lines": f["lines"][:KEPT], "all_lines": len(f["lines"])} for f in found["findings"]]
    return found | {"findings": cut, "figures": {name: found["figures"].get(name) for name in FIGURES}}
