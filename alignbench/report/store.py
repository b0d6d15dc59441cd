"""A results folder as it lies on disk: what each cell and seed left there, holes included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..records import Verdict
from ..results import Json, read_json, read_jsonl

SCHEMA = 1


@dataclass(frozen=True)
class SeedRecord:
    """One cell: `status` is "done", "failed" or "missing", and `reason` says why it is not done."""

    seed: int
    folder: Path
    status: str
    reason: str | None
    train: Json
    steps: list[Json]
    curve: list[Json]
    evaluation: Json | None

    def values(self, name: str) -> list[float] | None:
        """A measured quantity of every evaluation prompt, `[P]`, or None where it was not measured."""
        assert self.evaluation is not None
        found: list[float] | None = self.evaluation["values"].get(name)
        return found

    def verdicts(self, judge: str, against: str) -> list[Verdict] | None:
        """A judge's verdicts, `[P]`; "first" is the policy. `against`: "against_reference" or "against_chosen"."""
        assert self.evaluation is not None
        triples = self.evaluation["verdicts"].get(judge, {}).get(against)
        return None if triples is None else [Verdict(*triple) for triple in triples]


@dataclass(frozen=True)
class CellRecord:
    """One spec with its seeds, in the order of `Store.seeds`."""

    spec: str
    objective: str
    params: Json
    seeds: tuple[SeedRecord, ...]
    needs: Sequence[str] | None = None  # of the objective; an earlier version did not write them down

    @property
    def evaluated(self) -> list[SeedRecord]:
        return [record for record in self.seeds if record.evaluation is not None]

    @property
    def status(self) -> str:
        """ "done", "partial" (some seeds are there) or "failed" (none is)."""
        there = len(self.evaluated)
        return "done" if there == len(self.seeds) else "partial" if there else "failed"

    @property
    def reason(self) -> str | None:
        """Why seeds are not there, or None where all are."""
        holes = [f"seed {record.seed}: {record.reason}" for record in self.seeds if record.reason]
        return "; ".join(holes) or None

    def matrix(self, name: str) -> NDArray[np.float64] | None:
        """`[S, P]`: a quantity for every evaluated seed and prompt, or None where some seed lacks it."""
        rows = [record.values(name) for record in self.evaluated]
        if not rows or any(row is None for row in rows):
            return None
        return np.array(rows, dtype=np.float64)

    def verdicts(self, judge: str, against: str = "against_reference") -> list[list[Verdict]] | None:
        """`[S][P]`: a judge's verdicts for every evaluated seed and prompt, or None where some seed lacks them."""
        rows = [record.verdicts(judge, against) for record in self.evaluated]
        found = [row for row in rows if row is not None]
        return found if found and len(found) == len(rows) else None


@dataclass(frozen=True)
class Store:
    """A whole results folder."""

    folder: Path
    run: Json
    cells: tuple[CellRecord, ...]
    held_out: Json | None

    @property
    def seeds(self) -> list[int]:
        return list(self.run["seeds"])

    @property
    def judges(self) -> list[str]:
        """The judges that left verdicts, the headline first, the others in the order in which they ruled."""
        names = {self.run["headline"]: None} if any(cell.evaluated for cell in self.cells) else {}
        for cell in self.cells:
            for record in cell.evaluated:
                assert record.evaluation is not None
                names |= dict.fromkeys(record.evaluation["verdicts"])
        return list(names)


def read_store(folder: Path) -> Store:
    """Read a results folder and hold it to the rules under which its cells may be compared.

    Raises:
        InputError: `run.json` is missing or of another schema; within a seed two specs consumed different prompts, or
            were evaluated on different ones.
    """
    path = folder / "run.json"
    run = read_json(path)
    _check_schema(run, path)
    for field in ("seeds", "headline", "cells"):
        if field not in run:
            raise InputError(f"{path} has no field `{field}`: run again with `--fresh`.")
    cells = tuple(_read_cell(folder, entry, run["seeds"]) for entry in run["cells"])
    for seed in range(len(run["seeds"])):
        _check_consumed(cells, seed)
    _check_prompts(cells)
    held_out = read_json(folder / run["held_out"]) if run.get("held_out") else None
    return Store(folder, run, cells, held_out)


def _check_schema(value: Json, path: Path) -> None:
    if value.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {value.get('schema')!r} where {SCHEMA} is known: "
            f"use the alignbench that wrote it, or run again with `--fresh`."
        )


def _read_cell(folder: Path, entry: Json, seeds: Sequence[int]) -> CellRecord:
    records = tuple(_read_seed(folder / entry["folder"] / f"seed-{seed}", seed, entry["evaluation"]) for seed in seeds)
    return CellRecord(entry["spec"], entry["objective"], entry["params"], records, entry.get("needs"))


def _read_seed(folder: Path, seed: int, key: str) -> SeedRecord:
    if not (folder / "train.json").exists():
        return SeedRecord(seed, folder, "missing", "not trained", {}, [], [], None)
    train = read_json(folder / "train.json")
    _check_schema(train, folder / "train.json")
    rows = read_jsonl(folder / "metrics.jsonl")
    steps, curve = [row for row in rows if "evaluation" not in row], [row for row in rows if "evaluation" in row]
    if train["status"] != "done":
        reason = str(train.get("reason") or "no reason was recorded")
        return SeedRecord(seed, folder, "failed", reason, train, steps, curve, None)
    path = folder / "evaluations" / f"{key}.json"
    if not path.exists():
        return SeedRecord(seed, folder, "missing", _why_not_evaluated(folder), train, steps, curve, None)
    evaluation = read_json(path)
    _check_schema(evaluation, path)
    return SeedRecord(seed, folder, "done", None, train, steps, curve, evaluation)


def _why_not_evaluated(folder: Path) -> str:
    """The last line of the traceback that an evaluation left, if it did."""
    log = folder / "failure.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line for line in reversed(lines) if line.strip()), None)
    return f"trained but not evaluated ({last.strip()})" if last else "trained but not evaluated"


def samples(record: SeedRecord, limit: int) -> list[Json]:
    """The first `limit` samples that a cell was evaluated on."""
    assert record.evaluation is not None
    return read_jsonl(record.folder / record.evaluation["samples"])[:limit]


def _check_consumed(cells: Sequence[CellRecord], position: int) -> None:
    """Within a seed all saw the same prompts in the same order: each list is a prefix of the longest."""
    seen = [(cell.spec, cell.seeds[position]) for cell in cells if cell.seeds[position].status == "done"]
    consumed: list[tuple[str, list[Any]]] = [(spec, record.train["consumed"]) for spec, record in seen]
    if not consumed:
        return
    longest_spec, longest = max(consumed, key=lambda item: len(item[1]))
    for spec, ids in consumed:
        if ids != longest[: len(ids)]:
            first = next(i for i, pair in enumerate(zip(ids, longest, strict=False)) if pair[0] != pair[1])
            raise InputError(
                f"{spec} and {longest_spec} consumed different prompts with seed {seen[0][1].seed} (from position "
                f"{first + 1} on), so they cannot be compared: run both again with `--fresh`."
            )


def _check_prompts(cells: Sequence[CellRecord]) -> None:
    known: tuple[str, int, list[Any]] | None = None
    for cell in cells:
        for record in cell.evaluated:
            assert record.evaluation is not None
            prompts = record.evaluation["prompts"]
            known = known or (cell.spec, record.seed, prompts)
            if prompts != known[2]:
                raise InputError(
                    f"{cell.spec} (seed {record.seed}) and {known[0]} (seed {known[1]}) were evaluated on different "
                    f"prompts, so they cannot be compared: run again with `--fresh`."
                )
