"""What was found, for the table that is printed at the end."""

from __future__ import annotations

from dataclasses import dataclass

from .cases import NOT_HERE, NOT_IN_TRL, Case, Meant
from .world import Off


@dataclass(frozen=True)
class Row:
    """A case and how far it was off; of a difference that is meant, what is left of it after the adjustment."""

    case: Case
    off: Off
    meant: Meant | None = None
    left: Off | None = None


ROWS: list[Row] = []


def lines() -> list[str]:
    """Largest relative errors of loss and gradient; under each difference that is meant, why, and what removes it."""
    if not ROWS:
        return []
    width = max(len(row.case.ours) for row in ROWS)
    shown = [f"{'ours':{width}}  {'loss':>7}  {'grad':>7}  TRL"]
    for row in ROWS:
        shown.append(f"{row.case.ours:{width}}  {_errors(row.case, row.off)}  {row.case}")
        if row.meant and row.left:
            left = _errors(row.meant.adjusted, row.left)
            shown += [f"    {row.meant.reason}", f"{'    The same with:':{width}}  {left}  {row.meant.adjustment}"]
    shown += ["", "Not in TRL:", *(f"    {name}: {reason}" for name, reason in NOT_IN_TRL.items())]
    return [*shown, "Not here:", *(f"    {name}: {reason}" for name, reason in NOT_HERE.items())]


def _errors(case: Case, off: Off) -> str:
    return f"{'' if case.gradient_only else format(off.loss, '.1e'):>7}  {off.gradient:7.1e}"
