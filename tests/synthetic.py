"""What a synthetic results folder holds: the specs, seeds and judges of it, and where their files lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alignbench.records import Usage
from alignbench.results import slug

Json = dict[str, Any]
SAMPLES = "samples-s1"
HELD_OUT = "stages/held_out-h1/pairs.json"
CHOSEN = "stages/data-d1/eval.jsonl"


@dataclass
class Synthetic:
    """What to write; `failed` and `unevaluated` name (spec, seed)."""

    specs: Sequence[str] = ("dpo", "kto", "ppo")
    seeds: Sequence[int] = (0, 1, 2)
    prompts: int = 24
    pairs: int = 30
    gold: bool = True
    votes: bool = True
    held_out: bool = True
    failed: Sequence[tuple[str, int]] = ()
    unevaluated: Sequence[tuple[str, int]] = ()
    untrained: Sequence[tuple[str, int]] = ()
    unparsed: float = 0.0
    completion: str = "a good film . it moved me"
    reason: str = "the loss is NaN at step 12"
    recorded: bool = True  # False: as a version wrote it that knew no phases
    temperatures: Sequence[float] = ()  # besides 1
    best_of: Sequence[int] = ()
    head_to_head: bool = True
    capability: bool = False
    usage: Usage | None = None  # of every comparison of the lm judge
    run: Json = field(default_factory=dict)

    @property
    def judges(self) -> list[str]:
        return ["gold", "reward", "lm"] if self.gold else ["reward", "lm"]

    def gain(self, spec: str) -> tuple[float, float]:
        """The gold reward of a spec's samples over the reference's on average, and its KL."""
        position = list(self.specs).index(spec)
        kl = 2.0 + 1.7 * position
        return 0.5 + 0.25 * position - 0.02 * kl**2 / 4, kl

    def gold_of(self, player: str, seed: int, temperature: float = 1.0) -> Any:
        """The gold reward of a player's samples, `[P]`."""
        if player == "chosen":
            return np.full(self.prompts, 0.6)
        purpose, mean = [2, 0], 0.0  # the reference's
        if player.startswith("best-of-"):
            n = int(player.removeprefix("best-of-"))
            purpose, mean = [3, n], 0.3 * float(np.log(n))
        elif player != "reference":
            purpose, mean = [4, list(self.specs).index(player)], self.gain(player)[0]
        spread = 0.8 * temperature**0.5
        return np.random.default_rng([*purpose, seed, round(100 * temperature)]).normal(mean, spread, self.prompts)


def cell_folder(what: Synthetic, spec: str) -> str:
    return f"cells/{slug(spec)}-{list(what.specs).index(spec):04x}"


def samples_name(temperature: float = 1.0) -> str:
    return f"{SAMPLES}.jsonl" if temperature == 1 else f"{SAMPLES}-T{temperature:g}.jsonl"


def reference_file(seed: int, temperature: float = 1.0) -> str:
    return f"stages/reference_samples-r{seed}-{temperature:g}/samples.jsonl"


def best_of_file(n: int, seed: int) -> str:
    return f"stages/best_of-b{seed}/{n}.jsonl"


def player_file(what: Synthetic, player: str, seed: int, temperature: float = 1.0) -> str:
    if player == "chosen":
        return CHOSEN
    if player == "reference":
        return reference_file(seed, temperature)
    if player.startswith("best-of-"):
        return best_of_file(int(player.removeprefix("best-of-")), seed)
    return f"{cell_folder(what, player)}/seed-{seed}/{samples_name(temperature)}"
