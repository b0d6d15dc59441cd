"""A cell: one objective and one seed. It trains, is evaluated on the way, and is measured and judged at its end."""

from __future__ import annotations

import shutil
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..batch import Tokens
from ..engine import LocalEngine, Score, Sources
from ..errors import InputError, TrainingError
from ..evaluate import measure
from ..logprobs import LanguageModel
from ..plugins import Spec
from ..reference import Reference
from ..results import Json, derive, read_json, read_jsonl, whole_folder, write_json, write_jsonl, write_text
from ..sampling import sample
from ..train import Step, train
from . import exact, probes
from .samples import reward_of, sample_rows, texts
from .stages import Report
from .world import World

# What the samples file says of each prompt, and the evaluation repeats as columns.
COLUMNS = (
    *("kl", "k1", "length", "ended", "reward", "proxy_reward"),
    *("reference_reward", "reference_proxy_reward", "reference_length"),
)


# What it repeats of the reference's own sample.
REFERENCE = ("completion", "ended", "length", "reward", "proxy_reward")


def trained(folder: Path) -> bool:
    """Whether this cell has a finished policy."""
    return (folder / "train.json").exists() and read_json(folder / "train.json")["status"] == "done"


def evaluated(world: World, folder: Path) -> bool:
    """Whether a cell's samples are drawn at every temperature, and measured."""
    drawn = all((folder / world.samples_name(t)).exists() for t in (1.0, *world.config.temperatures))
    summed = world.enumeration is None or (folder / exact.name_of(world)).exists()
    if not (drawn and summed) or probes.missing(world, folder):
        return False
    return (folder / "evaluations" / f"{world.samples_key}.json").exists()


def cell(world: World, spec: Spec, seed: int, report: Report) -> str | None:
    """Bring a cell to its end: train it if it is not trained, evaluate it if it is not evaluated.

    Returns None, or why the cell failed; the failure is also on disk, with its traceback in `failure.log`.
    """
    folder = world.cell(spec) / f"seed-{seed}"
    try:
        if not trained(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _train_cell(world, spec, seed, folder, report)
        if not evaluated(world, folder):
            if world.enumeration is not None:
                exact.evaluate_cell(world, spec, folder, seed)
            if probes.missing(world, folder):
                probes.evaluate_cell(world, folder, seed)
            evaluate_cell(world, folder, seed, report)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a plug-in raises fails its own cell and no other
        reason = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
        if not trained(folder):
            record = {"schema": 1, "status": "failed", "reason": reason, **_what(world, spec, seed)}
            write_json(folder / "train.json", record)
        write_text(folder / "failure.log", traceback.format_exc())
        return reason
    return None


def _what(world: World, spec: Spec, seed: int) -> Json:
    return {
        "spec": spec.text,
        "objective": spec.name,
        "params": spec.params,
        "training": asdict(world.training(spec)),
        "seed": seed,
    }


def _train_cell(world: World, spec: Spec, seed: int, folder: Path, report: Report) -> None:
    needs = spec.plugin.needs
    if world.config.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(world.config.device)
    model = world.trainee(seed)
    dataset = world.dataset("train")
    reference = Reference(_live(world, model), world.stage("cache")) if "reference" in needs else None
    sources = Sources(
        dataset=dataset,
        reference=reference,
        reward=reward_of(world, world.reward_model(seed)) if "reward" in needs else None,
        gold=_gold(world) if "gold" in needs else None,
        max_new_tokens=world.benchmark.max_new_tokens,
    )
    budget = world.config.budget_for(max(2, round(len(dataset.as_labelled()) * world.benchmark.epochs)))
    engine = LocalEngine(model, sources, world.training(spec), budget, seed)
    with engine.spent.phase("evaluate"):
        rows: list[Json] = [_curve_point(world, model, seed, 0, 0)]
    due, last = 1, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for last in train(engine, spec.plugin):
            rows.append(_step_row(last))
            report(0.9 * engine.progress, f"step {last.step}  loss {last.loss:.4f}")
            if engine.progress >= due / max(1, world.benchmark.curve_points) and due < world.benchmark.curve_points:
                with engine.spent.phase("evaluate"):
                    rows.append(_curve_point(world, model, seed, last.step, last.completions))
                due = int(engine.progress * world.benchmark.curve_points) + 1
    assert isinstance(last, Step)
    peak = {}
    if world.config.device.startswith("cuda"):
        peak["peak_memory_mb"] = torch.cuda.max_memory_allocated(world.config.device) / 2**20
    with engine.spent.phase("evaluate"):
        rows.append(_curve_point(world, model, seed, last.step, last.completions))
    cost = {**engine.spent.cost(), "steps": last.step, **peak}
    record = {"schema": 1, "status": "done", "reason": None, **_what(world, spec, seed)}
    record |= {"consumed": engine.consumed, "cost": cost, "path": str(model.path)}
    record["warnings"] = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    with whole_folder(folder) as partial:
        write_json(partial / "train.json", record)
        write_jsonl(partial / "metrics.jsonl", rows)
        model.policy.save(partial / "policy")


def _live(world: World, model: LanguageModel) -> Any:
    def logps(rows: Sequence[Tokens]) -> torch.Tensor:
        with torch.no_grad():
            return world.reference_of(model).forward(rows).logps

    return logps


def _gold(world: World) -> Score:
    def scores(rows: Sequence[Tokens]) -> list[float]:
        found = world.benchmark.gold(*texts(world, rows))
        assert found is not None
        return found

    return scores


def _step_row(step: Step) -> Json:
    return {
        "step": step.step,
        "completions": step.completions,
        "loss": step.loss,
        "grad_norm": step.grad_norm,
        "learning_rate": step.learning_rate,
        "seconds": step.seconds,
        **step.metrics,
    }


def _curve_point(world: World, model: LanguageModel, seed: int, step: int, completions: int) -> Json:
    """The policy now, on the first evaluation prompts; the same random numbers at every point and for every cell."""
    prompts = world.eval_prompts[: world.benchmark.curve_prompts]
    measured = measure(
        model,
        world.reference_of(model),
        prompts,
        world.prompt_tokens(prompts),
        derive(seed, "curve"),
        world.benchmark.max_new_tokens,
        world.benchmark.gold,
        world.judge_reward,
    )
    shown: Json = measured.means()
    if world.enumeration is not None:
        shown["exact"] = exact.evaluate(world, model)
    return {"step": step, "completions": completions, "prompts": world.prompts_key, "evaluation": shown}


def evaluate_cell(world: World, folder: Path, seed: int, report: Report) -> None:
    """Sample once per evaluation prompt and temperature, and measure; what is on disk already is not done again."""
    file, cost_file = folder / world.samples_name(), folder / f"samples-{world.samples_key}.json"
    others = [t for t in world.config.temperatures if not (folder / world.samples_name(t)).exists()]
    if others or not file.exists():
        started = time.perf_counter()
        model = world.trainee(seed, folder / "policy")
        for i, temperature in enumerate(others):
            report(0.9 + 0.08 * i / len(others), f"sampling at temperature {temperature:g}")
            rows = sample(
                model.policy, world.prompt_tokens(world.eval_prompts), derive(seed, "evaluation"),
                world.benchmark.max_new_tokens, temperature,
            )  # fmt: skip
            write_jsonl(folder / world.samples_name(temperature), sample_rows(world, rows))
        if not file.exists():
            report(0.98, "sampling and measuring")
            drawn = _draw(world, model, seed)
            # First what they cost: the samples are never drawn again, for whichever judges.
            write_json(cost_file, {"seconds": time.perf_counter() - started})
            write_jsonl(file, drawn)
    lines = read_jsonl(file)
    values = {name: [line[name] for line in lines] for name in COLUMNS}
    drawing = read_json(cost_file)["seconds"] if cost_file.exists() else None  # an earlier version wrote none
    write_json(
        folder / "evaluations" / f"{world.samples_key}.json",
        {
            "schema": 1,
            "seed": seed,
            "samples": file.name,
            "seconds": {"samples": drawing},
            "prompts": [line["prompt_id"] for line in lines],
            "values": {name: None if column and column[0] is None else column for name, column in values.items()},
        },
    )


def _draw(world: World, model: LanguageModel, seed: int) -> list[Json]:
    prompts = world.eval_prompts
    tokens = world.prompt_tokens(prompts)
    measured = measure(
        model,
        world.reference_of(model),
        prompts,
        tokens,
        derive(seed, "evaluation"),
        world.benchmark.max_new_tokens,
        world.benchmark.gold,
        world.judge_reward,
    )
    theirs = read_jsonl(world.reference_samples(seed))
    return [
        {
            "prompt_id": tokens[i].prompt_id,
            "prompt": prompts[i].text,
            "completion": measured.completions[i].text,
            "ended": measured.completions[i].ended,
            "length": measured.length[i],
            "kl": measured.kl[i],
            "k1": measured.k1[i],
            "reward": None if measured.reward is None else measured.reward[i],
            "proxy_reward": None if measured.proxy_reward is None else measured.proxy_reward[i],
            **{f"reference_{name}": theirs[i][name] for name in REFERENCE},
        }
        for i in range(len(prompts))
    ]
