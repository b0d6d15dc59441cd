"""What an examination of preference data returns, and the words that its sentences share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..formats import shown
from ..records import Kind
from ..results import Json, canonical
from ..stats import Estimate

Level = Literal["bad", "look", "fine", "unknown"]
Where = Literal["line", "record"]

LEVELS: tuple[Level, ...] = ("bad", "look", "fine", "unknown")
CHECKS = (
    "skipped", "empty_or_equal", "contradictions", "duplicates", "near_duplicates", "shortcut", "markers", "length_gap",
    "balance", "context", "begin_end_tokens", "no_end",
)  # fmt: skip
NOTHING = "Nothing to do."
NAME_MODEL = "Name the model whose tokenizer counts: `alignbench data --model`."
SCHEMA = 1


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    `said` and `advice` are one sentence each. `lines` are all the lines that it concerns, in order, and `count` is how
    many records, pairs or completions `said` counts. `where` says what `lines` are: lines of the user's file, or, where
    a record has no line, places in the list of records, counted from 1.
    """

    check: str
    level: Level
    said: str
    advice: str = NOTHING
    lines: tuple[int, ...] = ()
    count: int = 0
    where: Where = "line"


@dataclass(frozen=True)
class Examination:
    """The findings on `n` records, worst first and then in the order of `CHECKS`, and the figures behind them."""

    kind: Kind
    n: int
    findings: tuple[Finding, ...]
    figures: Json

    def json(self) -> Json:
        found: Json = canonical(
            {
                "schema": SCHEMA,
                "kind": self.kind,
                "records": self.n,
                "findings": list(self.findings),
                "figures": self.figures,
            }
        )
        return found


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (LEVELS.index(f.level), CHECKS.index(f.check))))


def unknown(check: str, reason: str, advice: str = NOTHING) -> Finding:
    """`reason` is a whole sentence."""
    return Finding(check, "unknown", reason, advice)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def within(estimate: Estimate) -> str:
    """A share with its interval: "43.2 % [40.7, 45.8]"."""
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value)
    return f"{percent(estimate.value)} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def of(count: int, total: int, what: str) -> str:
    """ "12 of 1,495 pairs (0.8 %)"."""
    share = f" ({percent(count / total)})" if total else ""
    return f"{count:,} of {total:,} {what}{share}"


def quoted(text: str, width: int = 40) -> str:
    return shown(text, width)


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def joined(parts: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def sentence(*clauses: str) -> str:
    """The clauses that are there as one sentence."""
    text = "; ".join(clause for clause in clauses if clause)
    return text[:1].upper() + text[1:] + "."


def named(check: str) -> str:
    """A check as people write it."""
    return check.replace("_", " ")


def placed(finding: Json, most: int) -> str:
    """The first `most` lines of a finding in a `doctor.json`: "lines 3, 17, 40 and 12 more"; empty where none are."""
    lines: Sequence[int] = finding["lines"]
    # Of a summary's cut list the count still knows how many there are.
    total = finding.get("all_lines", len(lines))
    if not lines or not most:
        return ""
    first = ", ".join(map(str, lines[:most]))
    more = total - min(most, len(lines))
    # Records that a run has made itself stand on no line: then it is their places.
    what = finding.get("where", "line")
    return f"{what}{'s' if total > 1 else ''} {first}" + (f" and {more:,} more" if more else "")
