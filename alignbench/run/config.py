"""What a run is asked to do, as plain values that another process and `run.json` can hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine import Budget
from ..errors import InputError
from ..models import DTYPES


@dataclass(frozen=True)
class Config:
    """One call of `alignbench run`.

    `objectives` are canonical specs, `files` are spec, path and source hash of
    those from a user's file. `benchmark_fields` are those of the benchmark
    that differ from its defaults. `model` (a folder or hub id) replaces the small model made from scratch; with `sft`
    it is fine-tuned first. `reference` and `reward_model` replace what the run would make. `jobs` cells
    run side by side on `threads` threads each. `lora` is the canonical text of the adapter that cells train instead of
    the whole model. `dtype` is what the passes of policies, references and of the reward model to optimise compute in.
    `grad_checkpoint` recomputes blocks in the backward pass: it changes no result and is therefore in no key.
    """

    objectives: tuple[str, ...]
    benchmark: str
    out: str
    files: tuple[tuple[str, str, str], ...] = ()
    benchmark_fields: tuple[tuple[str, Any], ...] = ()
    model: str = ""
    reference: str = ""
    reward_model: str = ""
    sft: bool = False
    seeds: int = 3
    judges: tuple[tuple[str, str], ...] = ()
    budget: str = ""
    jobs: int = 1
    threads: int = 1
    device: str = "cpu"
    max_tokens: int = 8192
    lora: str = ""
    dtype: str = "float32"
    grad_checkpoint: bool = False
    command: str = field(default="alignbench run", compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype}: give {' or '.join(DTYPES)}.")

    @property
    def folder(self) -> Path:
        return Path(self.out)

    def budget_for(self, completions: int) -> Budget:
        """The budget of each cell, by default the completions of the training data times the epochs."""
        if not self.budget:
            return Budget(completions)
        found = re.fullmatch(r"(seconds|tokens)=(\d+(?:\.\d+)?)", self.budget)
        if not found or float(found[2]) <= 0:
            raise InputError(f"--budget {self.budget!r} must be seconds=N or tokens=N with N above 0.")
        if found[1] == "seconds":
            return Budget(completions, seconds=float(found[2]))
        return Budget(completions, tokens=int(float(found[2])))


@dataclass(frozen=True)
class Event:
    """Progress of one job, for whoever shows it: `fraction` of its work done, `text` what it is doing."""

    job: str
    fraction: float
    text: str
