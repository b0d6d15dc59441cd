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
from ..evaluate import judge_all, measure
from ..evaluate.measure import decode
from ..judges.reward import reward_scores
from ..logprobs import LanguageModel
from ..plugins import Spec
from ..records import Completion, Prompt
from ..reference import Reference
from ..results import Json, derive, read_json, read_jsonl, whole_folder, write_json, write_jsonl, write_text
from ..train import Step, train
from .stages import Report
from .world import World

# What the samples file says of each prompt, and the evaluation repeats as columns.
COLUMNS = (
    *("kl", "k1", "length", "ended", "reward", "proxy_reward"),
    *("reference_reward", "reference_proxy_reward", "reference_length"),
)


def trained(folder: Path) -> bool:
    """Whether this cell has a finished policy."""
    return (folder / "train.json").exists() and read_json(folder / "train.json")["status"] == "done"


def evaluated(world: World, folder: Path) -> bool:
    return (folder / "evaluations" / f"{world.evaluation_keys()[1]}.json").exists()


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
        reward=_reward(world, seed) if "reward" in needs else None,
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


def _reward(world: World, seed: int) -> Score:
    """The run's own reward model reads the policy's ids; a user's reads the text, with a tokenizer of its own."""
    model = world.reward_model(seed)
    if not world.config.reward_model:
        return lambda rows: model.score([row.prompt + row.completion for row in rows])
    return lambda rows: reward_scores(model, *_texts(world, rows))


def _gold(world: World) -> Score:
    def scores(rows: Sequence[Tokens]) -> list[float]:
        found = world.benchmark.gold(*_texts(world, rows))
        assert found is not None
        return found

    return scores


def _texts(world: World, rows: Sequence[Tokens]) -> tuple[list[Prompt], list[Completion]]:
    return [world.prompt_of(row.prompt_id) for row in rows], [decode(world.tokenizer, row) for row in rows]


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
    return {"step": step, "completions": completions, "evaluation": measured.means()}


def evaluate_cell(world: World, folder: Path, seed: int, report: Report) -> None:
    """Sample once per evaluation prompt, measure, and ask every judge; what is on disk already is not done again."""
    samples_key, key = world.evaluation_keys()
    samples_file, cost_file = folder / f"samples-{samples_key}.jsonl", folder / f"samples-{samples_key}.json"
    prompts = world.eval_prompts
    if not samples_file.exists():
        report(0.92, "sampling")
        started = time.perf_counter()
        model = world.trainee(seed, folder / "policy")
        drawn = _draw(world, model, seed)
        # First what they cost: the samples are never drawn again, for whichever judges.
        write_json(cost_file, {"seconds": time.perf_counter() - started})
        write_jsonl(samples_file, drawn)
    report(0.96, "judging")
    started = time.perf_counter()
    lines = read_jsonl(samples_file)
    texts = [Completion(line["completion"], line["ended"]) for line in lines]
    theirs = [Completion(line["reference_completion"], line["reference_ended"]) for line in lines]
    judged = judge_all(world.judges(), world.benchmark.question, prompts, texts, theirs, world.chosen)
    values = {name: [line[name] for line in lines] for name in COLUMNS}
    drawing = read_json(cost_file)["seconds"] if cost_file.exists() else None  # an earlier version wrote none
    seconds = {"samples": drawing, "judges": time.perf_counter() - started}
    write_json(
        folder / "evaluations" / f"{key}.json",
        {
            "schema": 1,
            "seed": seed,
            "samples": samples_file.name,
            "seconds": seconds,
            "prompts": [line["prompt_id"] for line in lines],
            "values": {name: None if column and column[0] is None else column for name, column in values.items()},
            "verdicts": {name: verdicts.as_json() for name, verdicts in judged.items()},
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
    theirs = read_jsonl(world.stage("reference_samples", seed) / "samples.jsonl")
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
            **{f"reference_{name}": value for name, value in theirs[i].items()},
        }
        for i in range(len(prompts))
    ]
