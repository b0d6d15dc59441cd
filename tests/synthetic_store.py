"""What the report's tests share: a results folder of random but seeded numbers, as a run writes it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from rich.console import Console

from alignbench.report import print_table
from alignbench.report.store import read_store
from alignbench.report.summary import build_summary
from alignbench.report.tables import build, write_markdown
from alignbench.results import write_json, write_jsonl

from .synthetic import CHOSEN, HELD_OUT, Json, Synthetic, best_of_file, cell_folder, reference_file, samples_name
from .synthetic_judging import random_held_out, write_baselines, write_capability, write_matches

NEEDS = {"ppo": ["reference", "reward", "sampling"], "preferred_ft": ["pairs"]}
CURVE_STEPS = (0, 10, 20, 30, 40)
CURVE_PROMPTS = 8


def write_store(folder: Path, what: Synthetic) -> Path:
    """Write the folder and return it."""
    cells = []
    for position, spec in enumerate(what.specs):
        name = spec.split(":", maxsplit=1)[0]
        entry = {"spec": spec, "objective": name, "params": {"beta": 0.1}, "folder": cell_folder(what, spec)}
        entry |= {"evaluation": "e1", "samples": {f"{t:g}": samples_name(t) for t in (1.0, *what.temperatures)}}
        needs = {"needs": NEEDS.get(name, ["pairs", "reference"])} if what.recorded else {}
        cells.append(entry | needs)
        for seed in what.seeds:
            if (spec, seed) not in what.untrained:
                _write_cell(folder / cell_folder(what, spec) / f"seed-{seed}", what, spec, position, seed)
    if what.held_out:
        random_held_out(folder, what)
    run = {
        "schema": 2,
        "benchmark": "reviews",
        "name": "reviews",
        "command": "alignbench run --objectives " + ",".join(what.specs),
        "seeds": list(what.seeds),
        "headline": what.judges[0],
        "agreement_judge": "lm",
        "judges": {judge: f"verdicts/{judge}-j1" for judge in what.judges},
        "question": "Which continuation is more positive about the film?",
        "identity": {"benchmark": "reviews", "model": "small, from scratch (5a11)", "dtype": "float32"},
        "data": {"fingerprint": "f00d", "train_pairs": 600, "eval_prompts": what.prompts, "kind": "pairs"},
        "versions": {"alignbench": "0.1.0", "torch": "2.13.0"},
        "hardware": {"cpu": 2},
        "models": {"parameters": 700_000, "path": "shared"},
        "warnings": [],
        "held_out": HELD_OUT if what.held_out else None,
        "chosen": CHOSEN,
        "reference": {
            str(seed): {f"{t:g}": reference_file(seed, t) for t in (1.0, *what.temperatures)} for seed in what.seeds
        },
        "best_of": {str(n): {str(seed): best_of_file(n, seed) for seed in what.seeds} for n in what.best_of},
        "capability": {"reference": "stages/capability-l1/result.json", "cell": "capability-l1.json"}
        if what.capability
        else None,
        "tuning": None,
        "cells": cells,
        "stages": _stages(what),
    }
    write_json(folder / "run.json", run | what.run)
    for seed in what.seeds:
        write_baselines(folder, what, seed)
        write_matches(folder, what, seed)
    if what.capability:
        write_capability(folder, what)
    return folder


def _stages(what: Synthetic) -> list[Json]:
    stages: list[Json] = [
        {"name": "start", "folder": "start-s1", "loss": 1.7, "cost": {"seconds": 18.2, "steps": 90}},
        {
            "name": "judge lm",
            "folder": "judge_lm-j1",
            "phases": [{"cost": {"seconds": 4.0}}, {"cost": {"seconds": 3.5}}],
        },
        {"name": "data", "folder": "data-d1"},
    ]
    if not what.recorded:
        return stages
    whole = [stage | {"seconds": seconds} for stage, seconds in zip(stages, (20.0, 8.0, 3.0), strict=True)]
    cache = {"name": "cache", "folder": "cache-c1", "seconds": 1.5, "reference_forwards": 2400}
    rewards = [{"name": f"reward seed {s}", "folder": f"reward-r{s}", "seconds": 6.0 + s} for s in what.seeds]
    return [*whole, cache, *rewards]


def _phases(position: int, online: bool, seconds: float) -> Json:
    """How training of so many seconds was spent, and what it read."""
    sample, score = (0.5 * seconds, 0.2 * seconds) if online else (0.0, 0.05 * seconds)
    return {
        "phases": {"train": seconds - sample - score, "sample": sample, "score": score, "evaluate": 4.0 + position},
        "policy_forwards": 1200 + 2400 * online,
        "reference_forwards": 1200 * online,
        "tokens_trained": 31_000 + 900 * position,
        "tokens_saved": 0 if online else 9_000,
    }


def _write_cell(folder: Path, what: Synthetic, spec: str, position: int, seed: int) -> None:
    rng = np.random.default_rng([position, seed])
    failed = (spec, seed) in what.failed
    kl, gain = 2.0 + 1.7 * position, 0.5 + 0.25 * position
    seconds = float(20 + 9 * position + rng.uniform())
    train = {
        "schema": 1,
        "status": "failed" if failed else "done",
        "reason": what.reason if failed else None,
        "spec": spec,
        "objective": spec.split(":", maxsplit=1)[0],
        "params": {"beta": 0.1},
        "training": {"learning_rate": 1e-4, "batch_size": 32},
        "seed": seed,
        "consumed": [f"p{seed}-{i}" for i in range(600 - 50 * (position % 3))],
        "cost": {
            "seconds": seconds,
            "steps": CURVE_STEPS[-1],
            "completions": 1200 - 100 * (position % 3),
            "tokens": 32_000 + 900 * position,
            "sampled_tokens": 30_000 if spec.startswith("ppo") else 0,
            "peak_memory_mb": 700.0 + position,
            **(_phases(position, spec.startswith("ppo"), seconds) if what.recorded else {}),
        },
        "path": "shared",
    }
    write_json(folder / "train.json", train)
    write_jsonl(folder / "metrics.jsonl", _metrics(rng, what, spec, position, kl, gain))
    if failed or (spec, seed) in what.unevaluated:
        return
    evaluation, samples = _evaluation(rng, what, spec, seed, kl)
    write_json(folder / "evaluations" / "e1.json", evaluation)
    write_jsonl(folder / samples_name(), samples)
    for t in what.temperatures:
        gold = what.gold_of(spec, seed, t)
        rows = [row | {"reward": float(g) if what.gold else None} for row, g in zip(samples, gold, strict=True)]
        write_jsonl(folder / samples_name(t), rows)


def _metrics(rng: np.random.Generator, what: Synthetic, spec: str, position: int, kl: float, gain: float) -> list[Json]:
    rows: list[Json] = []
    online = spec.startswith("ppo")
    last = 1200 - 100 * (position % 3)
    for step in range(1, CURVE_STEPS[-1] + 1):
        way, noise = step / CURVE_STEPS[-1], rng.normal(0, 0.03, size=8)
        row: Json = {
            "step": step,
            "completions": round(last * way),
            "loss": 0.69 - 0.3 * way * (1 + 0.2 * position) + noise[0],
            "grad_norm": 1.0 + abs(noise[1]),
            "learning_rate": 1e-4 * (1 - way),
            "seconds": 0.4,
        }
        if online:
            row |= {"score": 1.2 * way + noise[2], "kl": kl * way + noise[3], "entropy": 1.4 - 0.3 * way + noise[4]}
            row |= {
                "ratio": 1 + noise[5] / 10,
                "clip_fraction": 0.1 + noise[6],
                "value_loss": 0.5 - 0.3 * way + noise[7],
            }
        else:
            row |= {"accuracy": 0.5 + 0.3 * way + noise[2], "margin": 3 * way * (1 + position) + noise[3]}
            row |= {"chosen_logp": -30 + 2 * way + noise[4], "rejected_logp": -31 - (4 + position) * way + noise[5]}
        rows.append(row)
    for step in CURVE_STEPS:
        way = step / CURVE_STEPS[-1]
        shown = rng.normal(0, 0.02, size=3)
        evaluation = {
            "kl": kl * way * (1 + shown[0]),
            "reward": gain * way**0.5 - 0.02 * (kl * way) ** 2 / 4 + shown[1] if what.gold else None,
            "proxy_reward": 1.4 * gain * way**0.5 + shown[2],
            "length": 22 + 3 * way,
            "n": CURVE_PROMPTS,
        }
        rows.append({"step": step, "completions": round(last * way), "evaluation": evaluation})
    return rows


def _listed(values: Json) -> Json:
    return {name: None if value is None else value.tolist() for name, value in values.items()}


def _evaluation(rng: np.random.Generator, what: Synthetic, spec: str, seed: int, kl: float) -> tuple[Json, list[Json]]:
    P = what.prompts
    ours, theirs = what.gold_of(spec, seed), what.gold_of("reference", seed)
    length = rng.integers(12, 40, P).astype(float)
    values: Json = {
        "kl": rng.gamma(4, kl / 4, P),
        "k1": rng.normal(kl, 1, P),
        "length": length,
        "ended": (rng.uniform(size=P) < 0.95).astype(float),
        "reward": ours if what.gold else None,
        "proxy_reward": 1.4 * ours + rng.normal(0, 0.3, P),
        "reference_reward": theirs if what.gold else None,
        "reference_proxy_reward": 1.4 * theirs,
        "reference_length": rng.integers(12, 36, P).astype(float),
    }
    ids = [f"e{i}" for i in range(P)]
    samples = [
        {
            "prompt_id": ids[i],
            "prompt": f"this film number {i}",
            "completion": what.completion,
            "reference_completion": "a dull film .",
            "reference_ended": i != 0,
            "reference_reward": float(theirs[i]) if what.gold else None,
            "ended": bool(values["ended"][i]),
            "length": float(length[i]),
            "kl": float(values["kl"][i]),
            "k1": float(values["k1"][i]),
            "reward": float(ours[i]) if what.gold else None,
            "proxy_reward": float(values["proxy_reward"][i]),
        }
        for i in range(P)
    ]
    return {
        "schema": 1,
        "seed": seed,
        "samples": samples_name(),
        **({"seconds": {"samples": 2.0}} if what.recorded else {}),
        "prompts": ids,
        "values": _listed(values),
    }, samples


def rows_of(summary: Json) -> dict[str, Json]:
    return {row["spec"]: row for row in summary["rows"]}


def summarise(folder: Path) -> Json:
    """The summary alone, without drawing anything."""
    return build_summary(read_store(folder))


def as_markdown(summary: Json) -> str:
    return write_markdown(build([summary]))


def printed(summary: Json, width: int = 100) -> str:
    """What the terminal gets, escape codes of our own included."""
    file = io.StringIO()
    print_table(summary, Console(file=file, width=width, force_terminal=True, color_system="truecolor"))
    return file.getvalue()


def without_style(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
