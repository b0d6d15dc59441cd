"""What was found, for the table that is printed at the end."""

from __future__ import annotations

from dataclasses import dataclass

from .cases import NOT_HERE, NOT_IN_TRL, Case, Meant
from .world import Off


@dataclass(frozen=True)
class Row:
    case: Case
    off: Off
    meant: Meant | None = None
    plain: Off | None = None  # before the adjustment of a difference that is meant


ROWS: list[Row] = []


def lines() -> list[str]:
    """Largest relative errors of loss and gradient; under each difference that is meant, why, and what removes it."""
    if not ROWS:
        return []
    width = max(len(row.case.ours) for row in ROWS)
    shown = [f"{'ours':{width}}  {'loss':>8} {'gradient':>8}  TRL"]
    for row in ROWS:
        loss = "" if row.case.gradient_only else f"{row.off.loss:.1e}"
        shown.append(f"{row.case.ours:{width}}  {loss:>8} {row.off.gradient:>8.1e}  {row.case}")
        if row.meant and row.plain:
            apart = f"{row.plain.loss:.0e} and {row.plain.gradient:.0e}"
            shown.append(f"    differs by {apart}: {row.meant.reason} The same with {row.meant.adjustment}.")
    shown += ["", "Not in TRL:", *(f"    {name}: {reason}" for name, reason in NOT_IN_TRL.items())]
    shown += ["Not here:", *(f"    {name}: {reason}" for name, reason in NOT_HERE.items())]
    return shown
