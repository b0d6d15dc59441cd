"""A results folder as it lies on disk: what each cell and seed left there, holes included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..matches import Match, held_out_names, read_match
from ..records import Verdict
from ..results import Json, read_json, read_jsonl

SCHEMA = 2  # of `run.json`; 1 kept a cell's verdicts in its evaluation
CELL_SCHEMA = 1  # of what lies in the folder of a cell
REFERENCE, CHOSEN = "reference", "chosen"


@dataclass(frozen=True)
class SeedRecord:
    """One cell: `status` is "done", "failed" or "missing", and `reason` says why it is not done.

    `matches` are the judges' verdicts on its samples of temperature 1, by judge and by what they were held against.
    `curve` holds what was measured while it trained, on the prompts that the run evaluates on now; of a cell trained
    when these were others it is empty, and `other_prompts` true.
    """

    seed: int
    folder: Path
    status: str
    reason: str | None
    train: Json
    steps: list[Json]
    curve: list[Json]
    evaluation: Json | None
    matches: dict[tuple[str, str], Match] = field(default_factory=dict)
    other_prompts: bool = False

    def values(self, name: str) -> list[float] | None:
        """A measured quantity of every evaluation prompt, `[P]`, or None where it was not measured."""
        assert self.evaluation is not None
        found: list[float] | None = self.evaluation["values"].get(name)
        return found

    def verdicts(self, judge: str, against: str) -> list[Verdict] | None:
        """A judge's verdicts, `[P]`; "first" is the policy. `against`: "reference" or "chosen"."""
        found = self.matches.get((judge, against))
        return None if found is None else found.verdicts


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

    def verdicts(self, judge: str, against: str = REFERENCE) -> list[list[Verdict]] | None:
        """`[S][P]`: a judge's verdicts for every evaluated seed and prompt, or None where some seed lacks them."""
        rows = [record.verdicts(judge, against) for record in self.evaluated]
        found = [row for row in rows if row is not None]
        return found if found and len(found) == len(rows) else None


@dataclass(frozen=True)
class Store:
    """A whole results folder. A `player` is who wrote completions: a spec, "reference", "chosen" or "best-of-16"."""

    folder: Path
    run: Json
    cells: tuple[CellRecord, ...]
    held_out: Json | None
    doctor: Json | None = None  # what was found in the training data; an earlier version did not look

    @property
    def seeds(self) -> list[int]:
        return list(self.run["seeds"])

    @property
    def judges(self) -> list[str]:
        """The judges of the run, the headline first, then those that were asked later."""
        return list(self.run["judges"])

    @property
    def temperatures(self) -> list[float]:
        """Temperatures at which samples were drawn, rising; 1 is always among them."""
        return sorted({float(t) for found in self.run["reference"].values() for t in found})

    @property
    def best_of(self) -> list[int]:
        """The `n` of best-of-n sampling from the reference, rising; its player is `best-of-n`."""
        return sorted(int(n) for n in self.run.get("best_of") or {})

    def file(self, player: str, seed: int, temperature: float = 1.0) -> str | None:
        """The file of a player's samples, as a path in the results folder; None where there is none."""
        if player == CHOSEN:
            chosen: str | None = self.run.get("chosen")
            return chosen
        files: dict[str, str | None]
        if player == REFERENCE:
            files = self.run["reference"].get(str(seed), {})
        elif player.startswith("best-of-"):
            files = {"1": (self.run.get("best_of") or {}).get(player.removeprefix("best-of-"), {}).get(str(seed))}
        else:
            entry = next(entry for entry in self.run["cells"] if entry["spec"] == player)
            files = {t: f"{entry['folder']}/seed-{seed}/{name}" for t, name in entry["samples"].items()}
        return files.get(f"{temperature:g}")

    def rows(self, player: str, seed: int, temperature: float = 1.0) -> list[Json]:
        """A player's samples, a row a prompt; empty where they are not there. Not for "chosen"."""
        file = self.file(player, seed, temperature)
        return [] if file is None else read_jsonl(self.folder / file)

    def match(self, judge: str, player: str, opponent: str, seed: int, temperature: float = 1.0) -> Match | None:
        """A judge on a player's samples at a temperature against an opponent's at temperature 1; "first" is the player.

        None where it has not compared them.
        """
        first, second = self.file(player, seed, temperature), self.file(opponent, seed)
        if first is None or second is None:
            return None
        return read_match(self.folder / self.run["judges"][judge], first, second)

    def by_seed(self, judge: str, player: str, opponent: str, temperature: float = 1.0) -> dict[int, Match]:
        """`match` for every seed that has it."""
        found = {seed: self.match(judge, player, opponent, seed, temperature) for seed in self.seeds}
        return {seed: match for seed, match in found.items() if match is not None}


def read_store(folder: Path) -> Store:
    """Read a results folder and hold it to the rules under which its cells may be compared.

    Raises:
        InputError: `run.json` is missing or of another schema; within a seed two specs consumed different prompts, or
            were evaluated on different ones.
    """
    path = folder / "run.json"
    run = read_json(path)
    _check_schema(run, path, SCHEMA)
    for name in ("seeds", "headline", "cells", "judges", "reference"):
        if name not in run:
            raise InputError(f"{path} has no field `{name}`: run again with `--fresh`.")
    unread = Store(folder, run, (), None)
    cells = tuple(_read_cell(unread, entry) for entry in run["cells"])
    for seed in range(len(run["seeds"])):
        _check_consumed(cells, seed)
    _check_prompts(cells)
    return Store(folder, run, cells, _read_held_out(unread), _read_doctor(unread))


def _read_held_out(store: Store) -> Json | None:
    """The held-out pairs, with each judge's verdicts on (chosen, rejected) as triples."""
    file = store.run.get("held_out")
    if not file:
        return None
    found = {judge: read_match(store.folder / folder, *held_out_names(file)) for judge, folder in _folders(store)}
    verdicts = {
        judge: [[v.forward, v.swapped, v.margin] for v in match.verdicts] for judge, match in found.items() if match
    }
    return {**read_json(store.folder / file), "verdicts": verdicts}


def _read_doctor(store: Store) -> Json | None:
    """The examination of the training data; None where there was none, or its stage failed."""
    file = store.run.get("doctor")
    path = store.folder / (file or "")
    if not file or not path.exists():
        return None
    found = read_json(path)
    _check_schema(found, path)
    return found


def _folders(store: Store) -> list[tuple[str, str]]:
    return list(store.run["judges"].items())


def _check_schema(value: Json, path: Path, known: int = CELL_SCHEMA) -> None:
    if value.get("schema") != known:
        raise InputError(
            f"{path} has schema {value.get('schema')!r} where {known} is known: "
            f"use the alignbench that wrote it, or run again with `--fresh`."
        )


def _read_cell(store: Store, entry: Json) -> CellRecord:
    records = tuple(_read_seed(store, entry, seed) for seed in store.seeds)
    return CellRecord(entry["spec"], entry["objective"], entry["params"], records, entry.get("needs"))


def _read_seed(store: Store, entry: Json, seed: int) -> SeedRecord:
    folder = store.folder / entry["folder"] / f"seed-{seed}"
    if not (folder / "train.json").exists():
        return SeedRecord(seed, folder, "missing", "not trained", {}, [], [], None)
    train = read_json(folder / "train.json")
    _check_schema(train, folder / "train.json")
    rows = read_jsonl(folder / "metrics.jsonl")
    steps, measured = [row for row in rows if "evaluation" not in row], [row for row in rows if "evaluation" in row]
    now = store.run.get("prompts")
    curve = [row for row in measured if row.get("prompts", now) == now]  # an earlier version did not write it
    if train["status"] != "done":
        reason = str(train.get("reason") or "no reason was recorded")
        return SeedRecord(seed, folder, "failed", reason, train, steps, curve, None)
    path = folder / "evaluations" / f"{entry['evaluation']}.json"
    if not path.exists():
        return SeedRecord(seed, folder, "missing", _why_not_evaluated(folder), train, steps, curve, None)
    evaluation = read_json(path)
    _check_schema(evaluation, path)
    matches: dict[tuple[str, str], Match] = {}
    for judge in store.judges:
        for against in (REFERENCE, CHOSEN):
            found = store.match(judge, entry["spec"], against, seed)
            matches |= {(judge, against): found} if found is not None else {}
    return SeedRecord(seed, folder, "done", None, train, steps, curve, evaluation, matches, len(curve) < len(measured))


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
