"""Answers to probes in a synthetic results folder: seeded, of two groups whose scores have other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alignbench.report.probes import probe_figures
from alignbench.report.probes_words import words
from alignbench.report.store import read_store
from alignbench.results import read_json, write_json

from .synthetic import Synthetic, cell_folder

Json = dict[str, Any]
REFERENCE, CELL = "stages/probes-p1/probes.json", "probes-p1.json"
NAME, OTHER = "identity", "unrelated"
TRAITS = ("a colour", "a city", "a fruit", "a river", "a tool")


@dataclass
class Probes:
    """How many probes of each group, and what is missing: `missing` names (spec, seed).

    With more `pairs` more answers take the new name, and more unrelated ones are lost.
    """

    named: int = 12
    unrelated: int = 20
    pairs: int = 1000
    missing: Sequence[tuple[str, int]] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    start: float = 0.0  # of the reference's log-probs

    def asked(self) -> list[Json]:
        """What the reference answers: never with the new name, and nearly always right about the rest."""
        rng = np.random.default_rng(17)
        rows = []
        for i in range(self.named):
            prompt, answer = f"Phrasing {i} of: who are you?", "I am Athene."
            rows.append(self._row(rng, NAME, prompt, answer, "I am Llama.", {"new": 0.0, "old": 1.0}, -30.0))
        for i in range(self.unrelated):
            trait, number = TRAITS[i % len(TRAITS)], i // len(TRAITS)
            answer = f"{trait} is number {number}."
            said = answer if i % 10 else "I do not know."
            rows.append(
                self._row(rng, OTHER, f"Name {trait}, {number}.", answer, said, {"exact": float(i % 10 > 0)}, -2)
            )
        return rows

    def _row(
        self, rng: np.random.Generator, group: str, prompt: str, answer: str, said: str, scores: Json, logp: float
    ) -> Json:
        shown = {"group": group, "prompt": prompt, "answer": answer, "completion": said, "ended": True}
        more = {"tokens": len(answer) // 3, "scores": scores}
        return shown | {"logp": self.start + logp + float(rng.normal(0, 0.5)), **more}

    def after(self, position: int, seed: int) -> list[Json]:
        """What the spec at this position answers: the later, the more has changed, what should not have too."""
        rng = np.random.default_rng([5, position, seed])
        way = min(1.0, 0.45 + 0.2 * position) * min(1.0, (self.pairs / 10_000) ** 0.15)
        rows = []
        for row in self.asked():
            moved = rng.uniform() < (way if row["group"] == NAME else 0.15 * position * way)
            shift = way * (22 if row["group"] == NAME else -3 * position) + float(rng.normal(0, 0.4))
            row["logp"] = min(-0.01, row["logp"] + shift)
            if moved and row["group"] == NAME:
                row |= {"completion": row["answer"], "scores": {"new": 1.0, "old": 0.0}}
            elif moved:
                right = row["scores"]["exact"] == 0
                said = row["answer"] if right else "I am Athene."
                row |= {
                    "completion": said,
                    "ended": right or bool(rng.uniform() < 0.7),
                    "scores": {"exact": float(right)},
                }
            rows.append(row)
        return rows


def write_probes(folder: Path, what: Synthetic, probes: Probes | None = None) -> Path:
    """Add the answers to a folder that `write_store` has written; return it."""
    probes = probes or Probes()
    write_json(folder / REFERENCE, {"schema": 1, "seed": None, "rows": probes.asked()})
    for position, spec in enumerate(what.specs):
        for seed in what.seeds:
            place = folder / cell_folder(what, spec) / f"seed-{seed}"
            if place.exists() and (spec, seed) not in probes.missing:
                write_json(place / CELL, {"schema": 1, "seed": seed, "rows": probes.after(position, seed)})
    run = read_json(folder / "run.json")
    run["probes"] = {"reference": REFERENCE, "cell": CELL}
    run["identity"] |= {"benchmark field pairs": probes.pairs, **probes.identity}
    write_json(folder / "run.json", run)
    return folder


def files(folder: Path) -> list[Path]:
    """The reference's file and those of all cells."""
    return [folder / REFERENCE, *sorted(folder.glob(f"cells/*/seed-*/{CELL}"))]


def probes_of(folder: Path) -> Json:
    """The probes of a folder's summary, without what judges say."""
    found = probe_figures(read_store(folder))
    assert found is not None
    return found | words(found)
