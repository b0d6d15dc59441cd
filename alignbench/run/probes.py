"""Probes: what a policy answers to a benchmark's own questions, and how likely the right answers are."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import TrainingError
from ..evaluate.measure import decode
from ..logprobs import LanguageModel
from ..results import Json, whole_folder, write_json
from ..sampling import sample
from ..tokens import tokenize_each
from .stages import Report, write_cost
from .world import World

FILE = "probes.json"


def of_reference(world: World, report: Report) -> None:
    """What the reference answers: what every policy is held against."""
    started = time.perf_counter()
    report(0.0, f"{len(world.probes)} probes")
    rows = answers(world, world.reference)
    with whole_folder(world.stage("probes")) as partial:
        write_json(partial / FILE, {"schema": 1, "seed": None, "rows": rows})
        write_cost(partial, started)


def missing(world: World, folder: Path) -> bool:
    """Whether a cell has questions to answer and has not; trials of a tuning have none."""
    return bool(world.probes) and not world.config.tuning_prompts and not (folder / name_of(world)).exists()


def evaluate_cell(world: World, folder: Path, seed: int) -> None:
    rows = answers(world, world.trainee(seed, folder / "policy"))
    write_json(folder / name_of(world), {"schema": 1, "seed": seed, "rows": rows})


def answers(world: World, model: LanguageModel) -> list[Json]:
    """For each probe the likeliest token after token, what that is worth, and log pi(answer | prompt) in nats."""
    probes, benchmark = world.probes, world.benchmark
    prompts = world.prompt_tokens([probe.prompt for probe in probes])
    drawn = sample(model.policy, prompts, 0, benchmark.max_new_tokens, temperature=0.0)
    said = [decode(world.tokenizer, row) for row in drawn]
    asked = tokenize_each([(probe.prompt, probe.answer) for probe in probes], world.tokenizer, world.context)
    with torch.no_grad():
        logps = model.forward(asked).logps.split([len(row.completion) for row in asked])
    return [
        {
            "group": probe.group,
            "prompt": probe.prompt.text,
            "answer": probe.answer.text,
            "completion": completion.text,
            "ended": completion.ended,
            "logp": float(logp.double().sum()),
            "tokens": len(row.completion),
            "scores": _checked(world, benchmark.probe_scores(probe, completion)),
        }
        for probe, completion, row, logp in zip(probes, said, asked, logps, strict=True)
    ]


def _checked(world: World, scores: Mapping[str, float]) -> dict[str, float]:
    wrong = {name: value for name, value in scores.items() if not 0 <= value <= 1}
    if wrong:
        raise TrainingError(
            f"probe_scores of the benchmark {world.config.benchmark} gives {wrong}: a score is from 0 to 1."
        )
    return dict(scores)


def name_of(world: World) -> str:
    """The file of a cell's answers, in the folder of its seed."""
    return f"probes-{world.keys['probes']}.json"


def described(world: World) -> Json | None:
    """Where `run.json` says the answers lie; None where the benchmark asks nothing."""
    if not world.probes:
        return None
    return {"reference": os.path.relpath(world.stage("probes") / FILE, world.config.folder), "cell": name_of(world)}
