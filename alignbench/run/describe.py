"""`run.json`: what was run, on what, and where its parts lie."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..plugins import find
from ..records import Ranking
from ..results import Json, read_json
from . import doctor, exact, probes
from .config import Config
from .judging import judge_folder, label_of
from .plan import plan
from .tuning import FILE, at_the_edge
from .world import World

SCHEMA = 2


@lru_cache(maxsize=2)  # it reads every model that the user names as a judge, to know it by its content
def layout(world: World) -> Json:
    """The part of `run.json` that says whose samples lie where and who judges them; paths are those in the folder.

    The data stage has to be there.
    """
    config, folder = world.config, world.config.folder

    def within(path: Path) -> str:
        return os.path.relpath(path, folder)

    temperatures = (1.0, *config.temperatures)
    known = any(prompt.text in world.chosen for prompt in world.eval_prompts)
    records = within(world.stage("data") / "eval.jsonl")
    held_out = world.stage("held_out") / "pairs.json"
    models = {need: within(world.stage(f"judge_{need}")) for need in ("reward", "lm")}
    gold, question = world.identity["benchmark data and code"], world.benchmark.question
    return {
        "question": question,
        "seeds": list(config.seed_numbers),
        "config": {k: v for k, v in asdict(config).items() if k not in ("out", "stages_in")},
        "cells": [
            {
                "spec": spec.text,
                "objective": spec.name,
                "params": spec.params,
                "needs": sorted(spec.plugin.needs),
                "training": asdict(world.training(spec)),
                "folder": within(world.cell(spec)),
                "evaluation": world.samples_key,
                "samples": {f"{t:g}": world.samples_name(t) for t in temperatures},
            }
            for spec in world.specs
        ],
        "reference": {
            str(seed): {f"{t:g}": within(world.reference_samples(seed, t)) for t in temperatures}
            for seed in config.seed_numbers
        },
        "best_of": {
            str(n): {str(seed): within(world.stage("best_of", seed) / f"{n}.jsonl") for seed in config.seed_numbers}
            for n in config.best_of
        },
        "eval_records": records,
        "chosen": records if known else None,
        "held_out": within(held_out) if world.chosen else None,
        "held_out_pairs": world.benchmark.eval_prompts,
        "judge_models": models,
        "gold": gold,
        "judges": {
            label_of(name, argument): judge_folder(name, argument, question, models, gold, config.judge_url)
            for name, argument in config.judges
        },
    }


def describe(world: World, config: Config) -> Json:
    """All of `run.json`. Judges that were asked later, by `alignbench judge`, are kept while their verdicts hold."""
    info, laid = world.data_info, layout(world)
    lists = info.get("rankings")  # None of pairs and labels
    tuning = read_json(config.folder / FILE) if config.tune else None
    own, later = list(laid["judges"]), _asked_later(world, laid)
    return {
        "schema": SCHEMA,
        "name": config.folder.name,
        "benchmark": config.benchmark,
        "command": config.command,
        **laid,
        "prompts": world.prompts_key,
        "judges": laid["judges"] | {label: entry["folder"] for label, entry in later.items()},
        "asked_later": later,
        "identity": world.identity,
        "headline": own[0],
        "agreement_judge": agreement_judge(own),
        "data": {
            **{k: info[k] for k in ("fingerprint", "kind", "train_completions", "truncated", "skipped", "longest")},
            "train_pairs": lists["pairs"] if lists else info["train_records"],
            "judge_pairs": sum(len(r.pairs) if isinstance(r, Ranking) else 1 for r in world.records("judge")),
            "eval_pairs": len(world.records("eval")),
            "eval_prompts": len(world.eval_prompts),
            **({"train_rankings": {"lists": info["train_records"], **lists}} if lists else {}),
            **world.benchmark.notes(),
        },
        "models": {"parameters": info["parameters"], "path": "shared" if info["path"]["shared"] else "plain"},
        "versions": _versions(),
        "hardware": {"machine": platform.machine(), "system": platform.system(), "device": config.device,
                     "jobs": config.jobs, "threads": config.threads},
        "warnings": [
            *world.benchmark.remarks(),
            *([] if info["path"]["shared"] else [f"scored plainly: {info['path']['why']}"]),
            *([f"{info['truncated']} of {info['train_records']} training records are cut to the context"]
              if info["truncated"] else []),
            *([f"{lists['unpaired']} completions in the middle of ranked lists are read by objectives on lists only"]
              if lists and lists["unpaired"] else []),
            *(at_the_edge(tuning) if tuning else []),
        ],
        "stages": list(_stage_logs(world)),
        "capability": _capability(world),
        "tuning": tuning,
        "exact": exact.described(world),
        "doctor": doctor.described(world),
        "probes": probes.described(world),
    }  # fmt: skip


def _asked_later(world: World, laid: Json) -> Json:
    """Judges that `alignbench judge` has added to the folder and this run does not name, as `run.json` keeps them."""
    file = world.config.folder / "run.json"
    later: Json = read_json(file).get("asked_later", {}) if file.exists() else {}
    return {label: entry for label, entry in later.items() if label not in laid["judges"]}


def _capability(world: World) -> Json | None:
    """Where the results of lm-eval lie, None where none were asked for."""
    if not world.config.lm_eval:
        return None
    reference = os.path.relpath(world.stage("capability") / "result.json", world.config.folder)
    return {"tasks": list(world.config.lm_eval), "reference": reference, "cell": world.capability_name}


def agreement_judge(labels: list[str]) -> str | None:
    """The judge whose agreement with gold or people is reported: one that answers the question if there is one."""
    classes = {label: find("judge", label.partition(":")[0]) for label in labels}
    fallible = [label for label, judge in classes.items() if "gold" not in judge.needs]
    return next((label for label in fallible if classes[label].asks), next(iter(fallible), None))


def _stage_logs(world: World) -> Iterator[Json]:
    for job in plan(world):
        if job.stage == "judging" or job.spec:
            continue
        folder = world.stage(job.stage, job.seed if job.seed >= 0 else None)
        # `train.json` of a stage that trains, and `cost.json`: the seconds of every stage as a whole.
        files = [file for name in ("train.json", "cost.json") if (file := folder / name).exists()]
        log: dict[str, Any] = {key: value for file in files for key, value in read_json(file).items()}
        yield {"name": job.label, "folder": folder.name, **log}


def _versions() -> Json:
    import importlib.metadata

    found = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy", "scipy")}
    return {"alignbench": importlib.metadata.version("alignbench"), "python": sys.version.split()[0], **found}
