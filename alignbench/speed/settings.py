"""What a speed comparison is asked to do, checked before anything is made."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ..errors import InputError
from ..models import DTYPES
from ..plugins import Spec, parse_objectives, usual_objective

RIVALS = ("plain", "trl")
# How far two first losses may lie apart and still be called the same, per unit of loss.
TOLERANCE = {"float32": 1e-4, "bf16": 5e-3}

Unit = Literal["pairs", "completions"]


@dataclass(frozen=True)
class Shape:
    """A GPT-2 made from scratch, and how many pairs, completions or prompts it trains on at a time."""

    layers: int
    width: int
    pairs: int
    completions: int = 8


SHAPES = {"tiny": Shape(4, 256, 8), "gpt2-small": Shape(12, 768, 4)}
FOLDER = Shape(0, 0, 4)  # the batch sizes for a model of the user's


@dataclass(frozen=True)
class Settings:
    """One call of `alignbench speed`, resolved.

    `rivals` are what our engine is held against, and `remarks` say what was left out and why. `steps` are the timed
    rounds of one repetition, after one that warms up; a round is what is trained on one batch.
    """

    spec: Spec
    model: str
    data: str
    rivals: tuple[str, ...]
    remarks: tuple[str, ...]
    dtype: str
    batch_size: int
    steps: int
    repeats: int
    threads: int
    max_tokens: int
    max_new_tokens: int
    out: Path
    device: str
    command: str = "alignbench speed"

    @property
    def paired(self) -> bool:
        return "pairs" in self.spec.plugin.needs

    @property
    def online(self) -> bool:
        return "sampling" in self.spec.plugin.needs

    @property
    def unit(self) -> Unit:
        return "pairs" if self.paired else "completions"


def resolve(
    objective: str = "",
    model: str = "tiny",
    data: str = "",
    against: str = "",
    dtype: str = "float32",
    batch_size: int = 0,
    steps: int = 4,
    repeats: int = 3,
    threads: int = 0,
    max_tokens: int = 8192,
    max_new_tokens: int = 32,
    out: str = "results/speed",
    command: str = "alignbench speed",
) -> Settings:
    """Settings from the options of the command line; 0 and "" leave a choice to us.

    Raises:
        InputError: an option that cannot be honoured, with what to write instead.
    """
    specs = parse_objectives(objective or usual_objective())
    if len(specs) != 1:
        raise InputError(f"--objective {objective!r} names {len(specs)} objectives: give one.")
    needs: frozenset[str] = specs[0].plugin.needs
    if not needs & {"pairs", "labels", "sampling"} or "reference" not in needs:
        raise InputError(f"--objective {specs[0].text}: it must train on pairs, labels or samples, with a reference.")
    if specs[0].overrides:
        raise InputError(f"--objective {specs[0].text}: {', '.join(specs[0].overrides)} is set by this command itself.")
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype!r} must be {' or '.join(DTYPES)}.")
    if model not in SHAPES and not Path(model).is_dir():
        raise InputError(f"--model {model}: there is no such folder; give one, or {' or '.join(SHAPES)}.")
    rivals, remarks = _rivals(against, needs)
    shape = SHAPES.get(model, FOLDER)
    settings = Settings(
        spec=specs[0],
        model=model,
        data=data,
        rivals=rivals,
        remarks=remarks,
        dtype=dtype,
        batch_size=batch_size or (shape.pairs if "pairs" in needs else shape.completions),
        steps=steps,
        repeats=repeats,
        threads=threads or os.cpu_count() or 1,
        max_tokens=max_tokens,
        max_new_tokens=max_new_tokens,
        out=Path(out),
        device="cuda" if torch.cuda.is_available() else "cpu",
        command=command,
    )
    for name in ("batch_size", "steps", "repeats", "threads", "max_tokens", "max_new_tokens"):
        if getattr(settings, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(settings, name)} must be 1 or more.")
    return settings


def _rivals(against: str, needs: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The contenders beside our engine, and what there is to say about those left out."""
    names = [name.strip() for name in against.split(",")] if against else list(RIVALS)
    for name in names:
        if name not in RIVALS:
            raise InputError(f"--against {name!r} is not known: give {' or '.join(RIVALS)}, or both with a comma.")
    said: list[str] = []
    if "trl" in names:
        missing = _missing_trl(needs)
        if missing and against:
            raise InputError(f"--against trl: {missing[0]}: {missing[1]}.")
        if missing:
            names.remove("trl")
            said.append(f"TRL is not compared: {missing[0]}.")
    return tuple(_expanded(dict.fromkeys(names))), tuple(said)


def _missing_trl(needs: frozenset[str]) -> tuple[str, str] | None:
    """Why TRL cannot be compared, and what to do; None where it can."""
    if needs not in ({"pairs", "reference"}, {"labels", "reference"}):
        return "TRL 1.16 has no trainer for this objective", "give --against plain"
    if importlib.util.find_spec("trl") is None:
        return "TRL is not installed", "pip install 'alignbench[speed]'"
    return None


def _expanded(names: Sequence[str] | dict[str, None]) -> list[str]:
    """TRL stands for two contenders: as it comes, and with its reference computed beforehand, its fastest setting."""
    return [row for name in names for row in (("trl", "trl cached") if name == "trl" else (name,))]
