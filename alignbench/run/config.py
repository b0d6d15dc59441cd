"""What a run is asked to do, as plain values that another process and `run.json` can hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine import Budget
from ..errors import InputError
from ..models import DTYPES

COMPARED = ("reference", "chosen", "each-other")  # what `--against` may name


@dataclass(frozen=True)
class Config:
    """One call of `alignbench run`.

    `objectives` are canonical specs, `files` are spec, path and source hash of those from a user's file.
    `benchmark_fields` are those of the benchmark. `model` (a folder or hub id) replaces the small model made from
    scratch; with `sft` it is fine-tuned first. `reference` and `reward_model` replace what the run would make. `jobs`
    cells run side by side on `threads` threads each. `lora` is the canonical text of the adapter that cells train
    instead of the whole model. `dtype` is what the passes of policies, references and of the reward model to optimise
    compute in. `grad_checkpoint` recomputes blocks in the backward pass: it changes no result, so it is in no key.

    Evaluation: `against` is what samples are compared with; `temperatures` are those besides 1 at which samples are
    drawn; `best_of` the n of best-of-n sampling from the reference; `lm_eval` the tasks of lm-eval. `judge_url`,
    `judge_timeout` (s), `judge_concurrency` and `judge_price` (of a million tokens read, written) are for judges behind
    a server. `tune` is the grid that `objectives` were tuned on.

    `first_seed`, `stages_in` and `tuning_prompts` are set by a run for the trials of its tuning: another seed than any
    of its own, its own stages, and prompts that it does not evaluate on; 0 prompts where the run is no trial.
    `held_back` are the prompts that a tuned run leaves to its trials.
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
    against: tuple[str, ...] = COMPARED
    temperatures: tuple[float, ...] = ()
    best_of: tuple[int, ...] = ()
    lm_eval: tuple[str, ...] = ()
    judge_url: str = ""
    judge_timeout: float = 60.0
    judge_concurrency: int = 8
    judge_price: tuple[float, float] | None = None
    tune: str = ""
    first_seed: int = 0
    stages_in: str = ""
    tuning_prompts: int = 0
    held_back: int = 0
    command: str = field(default="alignbench run", compare=False)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype}: give {' or '.join(DTYPES)}.")

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @property
    def stages_folder(self) -> Path:
        return Path(self.stages_in or self.out) / "stages"

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

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
    """Progress of one job, for whoever shows it: `fraction` of its work done, `text` what it is doing, `remarks` what
    it has found out that a user should read."""

    job: str
    fraction: float
    text: str
    remarks: tuple[str, ...] = ()
