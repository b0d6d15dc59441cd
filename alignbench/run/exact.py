"""Worlds that can be enumerated: what a policy is worth, as exact sums, and what the best one would be worth."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..batch import Tokens
from ..evaluate import exact
from ..exact import ExactWorld
from ..logprobs import LanguageModel
from ..plugins import Spec
from ..results import Json, read_json, read_jsonl, whole_folder, write_json
from .stages import Report, write_cost
from .world import World

# Prices of the KL, as multiples of the world's own, at which the optimal frontier is drawn: 40 of them, 1/20 to 50.
PRICES = torch.logspace(1.7, -1.3, 40, dtype=torch.float64)
FILE, TENSORS = "world.json", "world.safetensors"


def enumerate_world(world: World, report: Report) -> None:
    """The reference's log-probs of all completions, the optimum, and the frontier that no policy passes."""
    started = time.perf_counter()
    report(0.0, "all completions of every prompt")
    enumeration = world.enumeration
    assert enumeration is not None
    found = exact.exact_world(enumeration, log_probs(world, world.reference))
    with whole_folder(world.stage("exact")) as partial:
        info = {
            "schema": 1,
            "beta": found.beta,
            "prompts": found.ref.shape[0],
            "completions": found.ref.shape[1],
            "optimum": figures(found, found.optimum),
            "reference": figures(found, found.ref),
            "frontier": sorted(found.frontier(found.beta * PRICES)),
        }
        save_file({"ref": found.ref, "preference": found.preference}, partial / TENSORS)
        write_json(partial / FILE, info)
        write_cost(partial, started)


def reward_ceiling(world: World, seed: int, report: Report) -> None:
    """What the best policy under a seed's reward model is worth by the true reward: pi_ref exp(r_model / beta)."""
    started = time.perf_counter()
    report(0.0, "the reward model's score of all completions")
    found, model = open_world(world), world.reward_model(seed)
    scores = exact.reward_scores(model, *_asked(world))
    with whole_folder(world.stage("exact_reward", seed)) as partial:
        write_json(partial / "ceiling.json", figures(found, found.tilted(scores / found.beta)))
        write_cost(partial, started)


@lru_cache(maxsize=1)
def open_world(world: World) -> ExactWorld:
    """The world that `enumerate_world` has left, read once in a process."""
    enumeration, stored = world.enumeration, load_file(world.stage("exact") / TENSORS)
    assert enumeration is not None
    found = exact.exact_world(enumeration, stored["ref"])
    found.__dict__["preference"] = stored["preference"]  # in place of computing it again
    return found


def name_of(world: World) -> str:
    """The file of a cell's exact figures, in the folder of its seed."""
    return f"exact-{world.keys['exact']}.json"


def figures(found: ExactWorld, policy: Tensor) -> dict[str, float]:
    """What a policy is worth: exact, in the words of the report."""
    return {
        "expected_reward": found.expected(policy, found.reward),
        "kl": found.kl(policy),
        "objective": found.objective(policy),
        "gap": found.gap(policy),
        "gain_share": found.gain_share(policy),
        "win_rate": found.win_rate(policy),
    }


def log_probs(world: World, model: LanguageModel) -> Tensor:
    return exact.log_probs(model, *_asked(world))


def evaluate(world: World, model: LanguageModel) -> dict[str, float]:
    """`figures` of a policy in this world."""
    return figures(open_world(world), log_probs(world, model))


def evaluate_cell(world: World, spec: Spec, folder: Path, seed: int) -> None:
    """The figures of a cell's policy, of the one it tends to where that is known, and the way it came."""
    found = open_world(world)
    limit = spec.plugin.limit(found)
    ceiling = world.stage("exact_reward", seed) / "ceiling.json"
    optimises = "reward" in spec.plugin.needs and ceiling.exists()
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "exact" in row.get("evaluation", {})]
    result: Json = {
        "schema": 1,
        "seed": seed,
        **evaluate(world, world.trainee(seed, folder / "policy")),
        "limit": None if limit is None else figures(found, limit),
        "ceiling": read_json(ceiling) if optimises else None,
        "curve": [
            {"step": row["step"], "completions": row["completions"], **row["evaluation"]["exact"]} for row in rows
        ],
    }
    write_json(folder / name_of(world), result)


def described(world: World) -> Json | None:
    """Where `run.json` says the exact figures lie; None where the world cannot be enumerated."""
    if world.enumeration is None:
        return None
    place = os.path.relpath(world.stage("exact") / FILE, world.config.folder)
    return {"world": place, "cell": name_of(world)}


def _asked(world: World) -> tuple[list[Tokens], list[int], int]:
    """The prompts and the words as ids, and the length of a completion."""
    enumeration = world.enumeration
    assert enumeration is not None
    words = exact.word_ids(enumeration, world.tokenizer)
    return world.prompt_tokens(enumeration.prompts), words, enumeration.length
