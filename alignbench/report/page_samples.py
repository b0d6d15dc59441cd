"""The samples that the page shows, side by side with what every judge said of them.

Which prompts are shown is decided by two rules, stated on the page: nobody picks one by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ..records import UNUSABLE, Outcome, Verdict
from ..results import Json
from .store import REFERENCE, CellRecord, Store

FIRST, DISPUTED = 3, 3  # prompts by each rule
DISPUTED_RULE = (
    "Of the other prompts, those on which the judges' scores lie furthest apart: the difference between two judges "
    "(won scores 1, lost 0, a tie or a contradiction ½; unusable answers are left out), averaged over pairs of judges "
    "and specs. Of equals, the earlier prompt."
)

# What an answer means for the sample that it is about: "first" is the spec's, "second" the reference's.
WORDS: dict[Outcome, str] = {
    "first": "won",
    "second": "lost",
    **{outcome: outcome for outcome in ("tie", "refused", "unparsed", "unanswered")},
}
Asked = dict[str, dict[int, Verdict]]  # by judge, then by the prompt's position


def examples(store: Store) -> Json:
    """`{"seed", "specs", "missing", "groups": [{"title", "rule", "prompts"}]}` of one seed at temperature 1.

    The seed is the first of those that the most specs have finished, since the reference writes anew with each seed.
    `missing` names the specs that have not finished it.
    """
    seed = max(store.seeds, key=lambda s: (sum(_has(cell, s) for cell in store.cells), -store.seeds.index(s)))
    cells = [cell for cell in store.cells if _has(cell, seed)]
    asked = {cell.spec: _asked(store, cell, seed) for cell in cells}
    rows = {cell.spec: store.rows(cell.spec, seed) for cell in cells}
    total = min((len(found) for found in rows.values()), default=0)
    first = list(range(min(FIRST, total)))
    apart = {position: distance(asked, position) for position in range(total)}
    ranked = sorted((p for p in range(FIRST, total) if apart[p] > 0), key=lambda p: (-apart[p], p))[:DISPUTED]
    groups = [
        ("The first prompts", f"The first {len(first)} of the {total} evaluation prompts.", first),
        ("Where the judges disagree most", DISPUTED_RULE, ranked),
    ]
    return {
        "seed": seed,
        "specs": [cell.spec for cell in cells],
        "missing": [cell.spec for cell in store.cells if cell not in cells],
        "groups": [
            {"title": title, "rule": rule, "prompts": [_prompt(p, total, rows, asked, apart[p]) for p in positions]}
            for title, rule, positions in groups
            if positions
        ],
    }


def _has(cell: CellRecord, seed: int) -> bool:
    return any(record.seed == seed for record in cell.evaluated)


def _asked(store: Store, cell: CellRecord, seed: int) -> Asked:
    """Each judge's verdicts on a cell's samples against the reference's; a judge may not have seen every prompt."""
    record = next(record for record in cell.evaluated if record.seed == seed)
    found: Asked = {}
    for judge in store.judges:
        match = record.matches.get((judge, REFERENCE))
        if match is None:
            found[judge] = {}
            continue
        positions = range(len(match.verdicts)) if match.positions is None else match.positions
        found[judge] = dict(zip(positions, match.verdicts, strict=True))
    return found


def distance(asked: Mapping[str, Asked], position: int) -> float:
    """How far the judges lie apart on a prompt: the mean of |score - score| over specs and pairs of judges."""
    gaps = []
    for judges in asked.values():
        usable = [seen[position].score for seen in judges.values() if position in seen and not seen[position].unusable]
        gaps += [abs(a - b) for a, b in combinations(usable, 2)]
    return float(np.mean(gaps)) if gaps else 0.0


def _prompt(
    position: int, total: int, rows: Mapping[str, list[Json]], asked: Mapping[str, Asked], apart: float
) -> Json:
    samples = []
    for spec, found in rows.items():
        row = found[position]
        verdicts = [read_verdict(judge, seen.get(position)) for judge, seen in asked[spec].items()]
        sides = {verdict["side"] for verdict in verdicts}
        shown = _sample(spec, row["completion"], row["ended"], row["reward"], row["proxy_reward"])
        samples.append(shown | {"verdicts": verdicts, "disputed": {"won", "lost"} <= sides})
    row = next(iter(rows.values()))[position]
    theirs = {name: row.get(f"reference_{name}") for name in ("reward", "proxy_reward")}
    reference = _sample(
        REFERENCE, row["reference_completion"], row["reference_ended"], theirs["reward"], theirs["proxy_reward"]
    )
    return {
        "number": position + 1,
        "of": total,
        "prompt": row["prompt"],
        "distance": apart,
        "samples": [reference | {"verdicts": [], "disputed": False}, *samples],
    }


def _sample(spec: str, text: str, ended: bool, reward: float | None, proxy: float | None) -> Json:
    known, name = (proxy, "proxy reward") if reward is None else (reward, "reward")
    return {"spec": spec, "text": text, "ended": ended, "reward": known, "reward_name": name}


def read_verdict(judge: str, verdict: Verdict | None) -> Json:
    """A judge's two answers in words. `side` is who won where the answers say so: "won", "lost" or "neither"."""
    if verdict is None:
        return {"judge": judge, "outcome": "not asked", "orders": "", "side": "neither"}
    first, second = WORDS[verdict.forward], WORDS[verdict.swapped]
    orders = f"{first} when shown first, {second} when shown second"
    if verdict.forward == verdict.swapped:
        outcome, orders = first, "in both orders"
    elif verdict.contradiction:
        outcome = "contradiction"
    elif verdict.forward in UNUSABLE or verdict.swapped in UNUSABLE:
        outcome = next(
            word for word, answer in ((first, verdict.forward), (second, verdict.swapped)) if answer in UNUSABLE
        )
    else:
        outcome = "won and tie" if verdict.score > 0.5 else "lost and tie"
    side = "won" if verdict.score > 0.5 else "lost" if verdict.score < 0.5 else "neither"
    return {"judge": judge, "outcome": outcome, "orders": orders, "side": side}
