"""Questions asked of the reference and of every policy: what training changed, and what it should not have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..results import Json, digest, read_json
from .comparisons import enough
from .measures import Floats, metric
from .probes_pairs import adjust, compare, limited
from .store import CellRecord, SeedRecord, Store

SCHEMA = 1  # of the files of the reference and of the cells
SHARE: tuple[float, float] = (0.0, 1.0)
NOTHING = "its answers to the probes are not there: run the same command again"
ASKED = ("group", "prompt", "answer")  # the same in every file


@dataclass(frozen=True)
class ProbesCell:
    """The rows of a spec's answers by seed, and why those of other seeds are not there."""

    cell: CellRecord
    found: Mapping[int, list[Json]]
    holes: Mapping[int, str]

    def values(self, places: Sequence[int], of: str) -> Floats:
        """`[S, P]`: a quantity (see `quantity`) of the probes at these places, a row a seed."""
        return np.array([values(rows, places, of) for rows in self.found.values()], dtype=np.float64)


def read_probes(store: Store) -> tuple[list[Json], list[ProbesCell]] | None:
    """The reference's rows and the cells; None where the benchmark asks nothing, or the run has not got so far.

    Raises:
        InputError: a file is of another schema, holds other probes than the reference's, or a score that is none.
    """
    where = store.run.get("probes")
    if not where or not (store.folder / where["reference"]).exists():
        return None
    rows = _read(store.folder / where["reference"], None)
    return (rows, [_cell(cell, where["cell"], rows) for cell in store.cells]) if rows else None


def _read(path: Path, reference: Sequence[Json] | None) -> list[Json]:
    found = read_json(path)
    if found.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {found.get('schema')!r} where {SCHEMA} is known: use the alignbench that wrote it, or "
            f"run again with `--fresh`."
        )
    rows: list[Json] = found["rows"]
    for number, row in enumerate(rows, start=1):
        for name, value in row["scores"].items():
            if value is not None and not 0 <= value <= 1:
                raise InputError(
                    f"{path}, row {number}: the score {name!r} is {value:g} where 0 to 1 is asked: mend the "
                    f"benchmark's `probe_scores` and run again with `--fresh`."
                )
    if reference is not None and [_asked(row) for row in rows] != [_asked(row) for row in reference]:
        raise InputError(f"{path} holds other probes or scores than the reference's file: run again with `--fresh`.")
    return rows


def _asked(row: Json) -> list[object]:
    return [*(row[name] for name in ASKED), sorted(row["scores"])]


def _cell(cell: CellRecord, name: str, reference: Sequence[Json]) -> ProbesCell:
    found: dict[int, list[Json]] = {}
    holes: dict[int, str] = {}
    for record in cell.seeds:
        rows, why = _seed(record, name, reference)
        if rows is None:
            holes[record.seed] = why
        else:
            found[record.seed] = rows
    return ProbesCell(cell, found, holes)


def _seed(record: SeedRecord, name: str, reference: Sequence[Json]) -> tuple[list[Json] | None, str]:
    """What a seed has left; a policy whose training failed is none, whatever lies there."""
    path = record.folder / name
    if record.train.get("status") != "done" or not path.exists():
        return None, record.reason or NOTHING
    return _read(path, reference), ""


def right(row: Json) -> bool:
    """Whether the likeliest completion is the answer, word for word and no more; white space around it is none."""
    return bool(row["ended"]) and row["completion"].strip() == row["answer"].strip()


def quantity(row: Json, of: str) -> float:
    """`of` is "logp" (nats of the answer), "token" (nats for each of its tokens), "right", or "score " and its name.

    NaN where it is not finite.
    """
    if of == "right":
        return float(right(row))
    found = row["scores"][of.removeprefix("score ")] if of.startswith("score ") else row["logp"]
    if found is None or (of == "token" and not row["tokens"]):
        return math.nan
    return float(found) / (row["tokens"] if of == "token" else 1)


def values(rows: Sequence[Json], places: Sequence[int], of: str) -> Floats:
    """`[P]`: a quantity of the rows at these places."""
    return np.array([quantity(rows[place], of) for place in places], dtype=np.float64)


def groups_of(rows: Sequence[Json]) -> dict[str, list[int]]:
    """The places of each group, groups by their first probe."""
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row["group"], []).append(place)
    return found


def scores_of(rows: Sequence[Json], places: Sequence[int]) -> dict[str, list[int]]:
    """The names of a group's scores, each with the places that have it."""
    names = dict.fromkeys(name for place in places for name in rows[place]["scores"])
    return {name: [place for place in places if name in rows[place]["scores"]] for name in names}


def probe_figures(store: Store) -> Json | None:
    """`probes` of `summary.json` but for its words; None where the run asked nothing.

    `reference` and, by spec, `rows` have for each group "scores" (by name), "logp" and "token" (nats of the answer, and
    for each of its tokens) and "right" (the share of answers that are exactly right): of the reference a metric
    ("before"), of a spec `{"after": metric, "change": metric}`, the change paired by probe. "forgotten" is the share of
    the answers right before that are wrong after, "learned" that of those wrong before that are right after.
    """
    read = read_probes(store)
    if read is None:
        return None
    rows, cells = read
    groups = groups_of(rows)
    return {
        "seeds": store.seeds,
        "asked": digest([_asked(row) for row in rows]),
        "reference": {group: _before(rows, group, places) for group, places in groups.items()},
        "rows": {each.cell.spec: _row(each, rows, groups, store.seeds) for each in cells},
        "comparisons": _comparisons(cells, rows, groups, store.seeds),
    }


def _quantities(rows: Sequence[Json], places: Sequence[int]) -> dict[str, list[int]]:
    """Every quantity of a group with the places that have it."""
    scores = {f"score {name}": at for name, at in scores_of(rows, places).items()}
    return scores | {of: list(places) for of in ("logp", "token", "right")}


def unit(of: str) -> str:
    return {"logp": "nats per answer", "token": "nats per token"}.get(of, "share")


def _ends(of: str) -> tuple[float, float] | None:
    return SHARE if unit(of) == "share" else None


def _arranged(found: Mapping[str, Json | None]) -> Json:
    """Scores under their names, the other quantities beside them."""
    scores = {of.removeprefix("score "): each for of, each in found.items() if of.startswith("score ")}
    return {"scores": scores, **{of: each for of, each in found.items() if not of.startswith("score ")}}


def _before(rows: Sequence[Json], group: str, places: Sequence[int]) -> Json:
    found = {
        of: _of_reference(values(rows, at, of), of, f"probes/reference/{group}/{of}")
        for of, at in _quantities(rows, places).items()
    }
    correct = sum(right(rows[place]) for place in places)
    return {"probes": len(places), "answered": correct, **_arranged(found)}


def _of_reference(found: Floats, of: str, purpose: str) -> Json | None:
    """One model, which no seed changes: its interval is over the probes alone."""
    result = metric(found[None], [0], [0], unit(of), purpose, _ends(of), bootstrap=False)
    assert result is not None
    del result["per_seed"]
    if result["method"]:
        result["method"] = re.sub(r", conditional on th(is seed|ese seeds)$", "", result["method"])
    return result


def _row(each: ProbesCell, rows: Sequence[Json], groups: Mapping[str, Sequence[int]], seeds: Sequence[int]) -> Json:
    return {
        "status": "failed" if not each.found else "partial" if each.holes else "done",
        "reason": "; ".join(f"seed {seed}: {why}" for seed, why in each.holes.items()) or None,
        "seeds": list(each.found),
        "groups": {
            group: _after(each, rows, places, f"probes/{each.cell.spec}/{group}", seeds)
            for group, places in groups.items()
        }
        if each.found
        else None,
    }


def _after(each: ProbesCell, rows: Sequence[Json], places: Sequence[int], name: str, seeds: Sequence[int]) -> Json:
    at = list(each.found)
    found: dict[str, Json | None] = {}
    for of, where in _quantities(rows, places).items():
        after, before = each.values(where, of), values(rows, where, of)
        found[of] = {
            "after": metric(after, at, seeds, unit(of), f"{name}/{of}", _ends(of), bootstrap=False),
            "change": limited(after - before, at, seeds, unit(of), f"{name}/{of}/change"),
        }
    before, after = values(rows, places, "right"), each.values(places, "right")
    return {
        **_arranged(found),
        "forgotten": _share(1 - after[:, before == 1], at, seeds, f"{name}/forgotten"),
        "learned": _share(after[:, before == 0], at, seeds, f"{name}/learned"),
    }


def _share(found: Floats, at: Sequence[int], seeds: Sequence[int], purpose: str) -> Json | None:
    return metric(found, at, seeds, "share", purpose, SHARE, bootstrap=False) if found.size else None


def _comparisons(
    cells: Sequence[ProbesCell], rows: Sequence[Json], groups: Mapping[str, Sequence[int]], seeds: Sequence[int]
) -> list[Json]:
    """Every two specs on each score of each group and on the answers' log-probs, each a question of its own.

    One seed left of several makes no pair: its test would know nothing of the variance between seeds.
    """
    found = []
    for group, places in groups.items():
        for of, where in _quantities(rows, places).items():
            if of not in ("logp", "right"):
                family = compare(
                    {each.cell.spec: {s: values(r, where, of) for s, r in each.found.items()} for each in cells},
                    f"{group}/{of}",
                    unit(of),
                    lambda shared: enough(shared, seeds),
                    seeds,
                )
                adjust(family)
                found += [{"group": group, "of": of, **pair} for pair in family]
    return found
