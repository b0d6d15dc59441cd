"""A synthetic results folder of a world that can be enumerated: small, but its figures are the sums that they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alignbench.exact import ExactWorld
from alignbench.report.exact import exact_figures
from alignbench.report.exact_words import words
from alignbench.report.store import read_store
from alignbench.results import read_json, write_json

from .synthetic import Synthetic, cell_folder

Json = dict[str, Any]
WORLD, CELL = "stages/exact-x1/world.json", "exact-x1.json"
STEPS = (0, 10, 20, 30)
SPECS = ("dpo:beta=0.5", "kto:beta=0.5", "ppo:beta=0.5", "ppo:beta=0.5:reward=gold")
TWELVE = (
    *("dpo:beta=0.5", "ipo:beta=0.5", "kto:beta=0.5", "simpo", "orpo", "preferred_ft", "ppo:beta=0.5:reward=model"),
    *("ppo:beta=0.5:reward=gold", "rloo:beta=0.5:reward=model", "rloo:beta=0.5:reward=gold", "online_dpo:beta=0.5"),
    "./a_folder/with_a_long_name/my_own_loss.py:beta=0.5:gamma=0.25",
)
# By the beginning of a spec: how far along the way to its target a policy has come, its noise, and the target's tilt.
KINDS = {
    "dpo": (0.8, 0.9, 1.00001), "ipo": (0.25, 0.3, 0.4), "kto": (0.6, 1.1, 0.0), "simpo": (3.2, 1.6, 0.0),
    "orpo": (0.1, 0.2, 0.0), "preferred_ft": (0.3, 0.25, 0.3), "ppo": (0.85, 0.3, 1.0), "rloo": (0.95, 0.2, 1.0),
    "online_dpo": (1.1, 0.6, 0.0),
}  # fmt: skip
OTHER = (1.3, 0.5, 0.0)
ONLINE = ("ppo", "rloo", "online_dpo")


@dataclass
class Exact:
    """The world and what is missing of it; `missing` and `not_finite` name (spec, seed)."""

    prompts: int = 4
    completions: int = 300
    beta: float = 0.5
    pairs: int = 20_000
    world: int = 0
    missing: Sequence[tuple[str, int]] = ()
    not_finite: Sequence[tuple[str, int]] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> ExactWorld:
        drawn = torch.Generator().manual_seed(self.world)
        shape = (self.prompts, self.completions)
        reward = torch.randn(shape, generator=drawn, dtype=torch.float64)
        ref = torch.log_softmax(1.5 * torch.randn(shape, generator=drawn, dtype=torch.float64), dim=1)
        return ExactWorld(reward, ref, self.beta)


def figures(world: ExactWorld, policy: Tensor) -> Json:
    return {
        "expected_reward": world.expected(policy, world.reward),
        "kl": world.kl(policy),
        "objective": world.objective(policy),
        "gap": world.gap(policy),
        "gain_share": world.gain_share(policy),
        "win_rate": world.win_rate(policy),
    }


def write_exact(folder: Path, what: Synthetic, exact: Exact) -> Path:
    """Add the exact figures to a folder that `write_store` has written; return it."""
    world = exact.open()
    prices = torch.logspace(1.7, -1.3, 40, dtype=torch.float64)
    info = {
        "schema": 1, "beta": exact.beta, "prompts": exact.prompts, "completions": exact.completions,
        "optimum": figures(world, world.optimum), "reference": figures(world, world.ref),
        "frontier": sorted(world.frontier(exact.beta * prices)),
    }  # fmt: skip
    write_json(folder / WORLD, info)
    for spec in what.specs:
        for seed in what.seeds:
            place = folder / cell_folder(what, spec) / f"seed-{seed}"
            if place.exists() and (spec, seed) not in exact.missing:
                found = _cell(world, exact, spec, list(what.specs).index(spec), seed)
                found |= {"gain_share": None, "kl": None} if (spec, seed) in exact.not_finite else {}
                write_json(place / CELL, found)
    run = read_json(folder / "run.json")
    run["exact"] = {"world": WORLD, "cell": CELL}
    run["benchmark"] = run["identity"]["benchmark"] = "exact"
    run["identity"] |= {"benchmark field pairs": exact.pairs, "benchmark field beta": exact.beta, **exact.identity}
    for entry in run["cells"]:
        if entry["spec"].startswith(ONLINE):
            gold = "reward=gold" in entry["spec"]
            entry["needs"] = ["gold" if gold else "reward", "reference", "sampling"]
    write_json(folder / "run.json", run)
    return folder


def exact_of(folder: Path) -> Json:
    """The exact part of a folder's summary, without what judges say."""
    found = exact_figures(read_store(folder))
    assert found is not None
    return found | words(found)


def _cell(world: ExactWorld, exact: Exact, spec: str, position: int, seed: int) -> Json:
    name = spec.split(":", maxsplit=1)[0]
    way, noise, tilt = KINDS.get(name, OTHER)
    noise *= (20_000 / exact.pairs) ** 0.3
    drawn = torch.Generator().manual_seed(1000 * position + seed)
    error = torch.randn(world.reward.shape, generator=drawn, dtype=torch.float64)
    model = world.reward + (0.35 * (20_000 / exact.pairs) ** 0.3) * torch.randn(
        world.reward.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    trained = name in ONLINE and "reward=gold" not in spec
    target = (model if trained else world.reward) / world.beta
    target = target * way * (1 + 0.015 * ((seed * 7 + position) % 5 - 2)) + noise * error
    limit = world.tilted(tilt * world.reward / world.beta) if tilt else None
    return {
        "schema": 1,
        "seed": seed,
        **figures(world, world.tilted(target)),
        "limit": None if limit is None else figures(world, limit),
        "ceiling": figures(world, world.tilted(model / world.beta)) if trained else None,
        "curve": [
            {"step": step, "completions": 32 * step, **figures(world, world.tilted(target * (step / 40) ** 0.6))}
            for step in STEPS
        ],
    }
