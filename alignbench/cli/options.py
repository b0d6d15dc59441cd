"""The options of `alignbench run` as a `Config`, each of them checked that can be checked without loading anything."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError

DEFAULT_BENCHMARK = "reviews"  # the embedded one: needs no data, no network
DATA_BENCHMARK = "files"  # what --data FILE means
TUNE_PROMPTS = 64


@dataclass(frozen=True)
class Options:
    """What was typed, option by option."""

    objectives: str
    benchmark: str
    data: str
    eval_data: str
    source: str
    model: str
    sft: bool
    reference: str
    reward_model: str
    seeds: int
    judge: str
    judge_url: str
    judge_timeout: float
    judge_concurrency: int
    judge_price: str
    against: str
    temperatures: str
    best_of: str
    lm_eval: str
    tune: str
    tune_prompts: int
    budget: str
    out: str
    fresh: bool
    jobs: int
    device: str
    max_tokens: int
    lora: str
    dtype: str
    grad_checkpoint: bool


def config_of(options: Options) -> Any:
    """Raises `InputError` where an option is wrong."""
    from ..adapters import LoRA
    from ..plugins import create_benchmark, find, parse_judges, parse_objectives
    from ..run import Config

    if options.eval_data and not options.data:
        raise InputError("--eval-data holds out data beside --data: give --data as well, or leave it out.")
    chosen = create_benchmark(_benchmark_text(options.benchmark, options.data))
    values = {f.name: getattr(chosen.plugin, f.name) for f in fields(chosen.plugin) if f.init}
    values |= {"data": options.data} if options.data else {}
    values |= {"eval_data": options.eval_data} if options.eval_data else {}
    values |= _source(options.source, chosen)
    used = options.device or default_device()
    values |= {"pretrained": bool(options.model), "device": used}
    plugin = find("benchmark", chosen.name)(**values)
    specs = parse_objectives(options.objectives, plugin.defaults)
    if options.tune_prompts and not options.tune:
        raise InputError("--tune-prompts says how many prompts --tune chooses on: give --tune, or leave it out.")
    if options.sft and not options.model:
        raise InputError("--sft fine-tunes the model that --model names: give --model, or leave --sft out.")
    judges = parse_judges(options.judge) if options.judge else default_judges(plugin)
    workers = options.jobs or (1 if options.model or used != "cpu" else os.cpu_count() or 1)
    config = Config(
        objectives=tuple(spec.text for spec in specs),
        files=tuple((spec.text, str(spec.path), spec.source) for spec in specs if spec.path is not None),
        benchmark=chosen.name,
        benchmark_fields=tuple(values.items()),
        out=options.out or str(Path("results") / chosen.name),
        model=options.model,
        reference=options.reference,
        reward_model=options.reward_model,
        sft=options.sft,
        seeds=options.seeds,
        judges=tuple(judges),
        judge_url=options.judge_url,
        judge_timeout=options.judge_timeout,
        judge_concurrency=options.judge_concurrency,
        judge_price=price_of(options.judge_price),
        against=_against(options.against),
        temperatures=_temperatures(options.temperatures) if options.temperatures else plugin.temperatures,
        best_of=_best_of(options.best_of),
        lm_eval=tuple(_items(options.lm_eval, "--lm-eval")),
        tune=options.tune,
        held_back=_held_back(options, plugin),
        budget=options.budget,
        jobs=workers,
        threads=_threads(workers),
        device=used,
        max_tokens=options.max_tokens,
        lora=str(LoRA.parse(options.lora)) if options.lora else "",
        dtype=options.dtype,
        grad_checkpoint=options.grad_checkpoint,
        command=shlex.join(["alignbench", *sys.argv[1:]]),
    )
    config.budget_for(1)
    check_server(judges, options.judge_url, options.judge_price)
    return config


def _source(source: str, benchmark: Any) -> dict[str, str]:
    """The field of a benchmark that says where its data are."""
    if source and "source" not in {field.name for field in fields(benchmark.plugin) if field.init}:
        instead = "name your data by --data alone" if benchmark.name == DATA_BENCHMARK else "leave it out"
        raise InputError(f"--source: the benchmark {benchmark.name} has no data set of its own to look for; {instead}.")
    return {"source": source} if source else {}


def _held_back(options: Options, benchmark: Any) -> int:
    """The prompts that trials of a tuning are judged on; where a policy's worth is an exact sum none are needed."""
    exact = benchmark.exact() is not None
    if exact and options.tune_prompts:
        raise InputError("--tune-prompts: in this benchmark trials are chosen by their exact gain share; leave it out.")
    return (options.tune_prompts or TUNE_PROMPTS) if options.tune and not exact else 0


def check_server(judges: Sequence[tuple[str, str]], url: str, price: str) -> None:
    """Refuse a server's options where no judge asks one."""
    from ..plugins import find

    if (url or price) and not any(find("judge", name).remote for name, _ in judges):
        option = "--judge-url" if url else "--judge-price"
        raise InputError(f"{option}: none of the judges asks a server; name one, --judge openai:MODEL.")


def price_of(text: str) -> tuple[float, float] | None:
    """`READ/WRITTEN`, what a million tokens cost, None where nothing is given."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)/(\d+(?:\.\d*)?|\.\d+)", text.replace(" ", ""))
    if not found:
        raise InputError(f"--judge-price {text!r}: give the price of a million tokens read and written, 2.5/10 say.")
    return float(found[1]), float(found[2])


def default_judges(plugin: Any) -> list[tuple[str, str]]:
    """Gold where there is one, then the judge's reward model, then the benchmark's own language-model judge."""
    judges = [("gold", "")] if plugin.has_gold else []
    judges += [("reward", "")] if plugin.kind != "labels" else []
    judges += [("lm", "")] if plugin.stages().judge_lessons is not None else []
    return judges


def _threads(workers: int) -> int:
    """Threads of each job: what the user's OMP_NUM_THREADS says, else a fair share of the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else max(1, (os.cpu_count() or 1) // workers)


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _against(text: str) -> tuple[str, ...]:
    from ..run.config import COMPARED

    named = _items(text, "--against")
    unknown = [name for name in named if name not in COMPARED]
    if unknown or not named:
        raise InputError(f"--against {text!r}: name some of {', '.join(COMPARED)}.")
    if "reference" not in named:
        raise InputError("--against: the headline win rate is over the reference; name `reference` as well.")
    return tuple(name for name in COMPARED if name in named)


def _temperatures(text: str) -> tuple[float, ...]:
    """Those besides 1, which is always measured."""
    found = [_number(item, "--temperatures", "0,0.5,1") for item in _items(text, "--temperatures")]
    if any(t < 0 or t > 10 for t in found):
        raise InputError(f"--temperatures {text}: temperatures are between 0 (the likeliest token) and 10.")
    return tuple(sorted(set(found) - {1.0}))


def _best_of(text: str) -> tuple[int, ...]:
    found = [_number(item, "--best-of", "1,4,16") for item in _items(text, "--best-of")]
    if any(n < 1 or not n.is_integer() for n in found):
        raise InputError(f"--best-of {text}: each n is a whole number from 1 on, 1,4,16 say.")
    return tuple(sorted({int(n) for n in found}))


def _number(text: str, option: str, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value:
        raise InputError(f"{option}: {text!r} is no number; write {option} {example}.")
    return value


def _items(text: str, option: str) -> list[str]:
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    if not all(items):
        raise InputError(f"{option} {text!r} holds an empty item: write one comma between two.")
    if len(set(items)) < len(items):
        raise InputError(f"{option} {text!r} names something twice: give it once.")
    return items


def _benchmark_text(benchmark: str, data: str) -> str:
    if not data:
        if benchmark.partition(":")[0] == DATA_BENCHMARK:
            raise InputError(f"--benchmark {DATA_BENCHMARK} needs --data FILE.")
        return benchmark or DEFAULT_BENCHMARK
    name = benchmark.partition(":")[0]
    if name not in ("", DATA_BENCHMARK):
        raise InputError(f"--data and --benchmark {name} exclude each other: leave one out.")
    return benchmark or DATA_BENCHMARK
