"""The command line: run, report, speed, list."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .allocator import keep_freed_memory
from .errors import AlignbenchError, InputError

DEFAULT_BENCHMARK = "reviews"  # the embedded one: needs no data, no network
DATA_BENCHMARK = "files"  # what --data FILE means

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Which alignment objective works, on your model and your data, and how sure can you be?",
)


@app.command()
def run(
    objectives: Annotated[str, typer.Option(help="Comma list of specs: dpo,kto,./my_loss.py,dpo:beta=0.05/0.5")],
    benchmark: Annotated[str, typer.Option(help="A benchmark spec, reviews:pairs=500 say.")] = "",
    data: Annotated[str, typer.Option(help="Your preference data: a file, a data set folder or a hub id.")] = "",
    eval_data: Annotated[str, typer.Option(help="Held-out data; else a part of --data, by prompt.")] = "",
    model: Annotated[str, typer.Option(help="A model folder or hub id; else a small model from scratch.")] = "",
    sft: Annotated[bool, typer.Option("--sft", help="Fine-tune --model on the chosen completions first.")] = False,
    reference: Annotated[str, typer.Option(help="Another reference than the starting model.")] = "",
    reward_model: Annotated[str, typer.Option(help="A sequence classifier for online objectives.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...: each trains every objective once.")] = 3,
    judge: Annotated[str, typer.Option(help="Comma list of judges; the first is the headline.")] = "",
    budget: Annotated[str, typer.Option(help="seconds=N or tokens=N; else the same completions for all.")] = "",
    out: Annotated[str, typer.Option(help="Results folder.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the results folder first.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Cells side by side; 0: the cores, or 1 with --model.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one micro-batch.")] = 8192,
    lora: Annotated[str, typer.Option(help="Train an adapter: r=16[:alpha=32:target=q_proj+v_proj|all-linear].")] = "",
    dtype: Annotated[str, typer.Option(help="What passes compute in: float32 or bf16.")] = "float32",
    grad_checkpoint: Annotated[bool, typer.Option("--grad-checkpoint", help="Less memory, more time.")] = False,
) -> None:
    """Train every objective on identical data, evaluate all alike, and print the table."""
    console = Console()
    config = _config(
        objectives, benchmark, data, eval_data, model, sft, reference, reward_model, seeds, judge, budget, out, jobs,
        device, max_tokens, lora, dtype, grad_checkpoint,
    )  # fmt: skip
    from .report import print_table, write_report
    from .run import run as start
    from .run.progress import Display

    try:
        with Display(console) as display:
            failed = start(config, display.show, display.begin, fresh)
    except KeyboardInterrupt:
        _fail("stopped: finished cells are kept; the same command goes on from there.", 130)
    summary = write_report(config.folder)
    print_table(summary, console)
    for label, reason in failed.items():
        console.print(Text(f"failed: {label}: {reason}", style="red"))
    console.print(
        Text(f"written to {config.folder}: table.md, table.csv, table.tex, plots/, report.html, summary.json")
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def report(
    folders: Annotated[list[str], typer.Argument(help="Results folders; several are shown side by side.")],
) -> None:
    """Make tables, plots and page again from the store; several runs side by side."""
    from .report import compare, print_table, write_report

    console = Console()
    for folder in folders:
        summary = write_report(Path(folder))
        if len(folders) == 1:
            print_table(summary, console)
    if len(folders) > 1:
        together = compare([Path(folder) for folder in folders])
        print_table(together, console)
        console.print(Text(f"written to {together['folder']}"))


@app.command()
def speed(
    model: Annotated[str, typer.Option(help="A model folder, or tiny or gpt2-small with random weights.")] = "tiny",
    data: Annotated[str, typer.Option(help="Preference data: a file, a folder or a hub id; else embedded.")] = "",
    objective: Annotated[str, typer.Option(help="An objective's spec; default: one on pairs and a reference.")] = "",
    against: Annotated[str, typer.Option(help="plain, trl or both; default: both where TRL is installed.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or bf16.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=0, help="Pairs, completions or prompts; 0: by the model.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Timed batches of one repetition.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="Repetitions, the contenders in turn.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Threads of every contender; 0: the cores.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one micro-batch of ours.")] = 8192,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of samples, for online objectives.")] = 32,
    out: Annotated[str, typer.Option(help="Folder of the results.")] = str(Path("results") / "speed"),
) -> None:
    """Train a few steps by our engine, the plain way and TRL, and print how they compare."""
    from .speed import print_summary, resolve
    from .speed import speed as measure
    from .speed.progress import Bar

    settings = resolve(
        objective, model, data, against, dtype, batch_size, steps, repeats, threads, max_tokens, max_new_tokens, out,
        shlex.join(["alignbench", *sys.argv[1:]]),
    )  # fmt: skip
    console = Console()
    try:
        with Bar(console) as bar:
            result = measure(settings, bar.show)
    except KeyboardInterrupt:
        _fail("stopped: nothing is stored.", 130)
    print_summary(result, console)
    console.print(Text(f"written to {result['stored']} and the table beside it"))
    raise typer.Exit(1 if result["failed"] else 0)


@app.command("list")
def list_plugins(kind: Annotated[str, typer.Argument(help="objectives, benchmarks or judges")]) -> None:
    """Names, one line each, fields with defaults, and the paper."""
    from .plugins import describe

    kinds: dict[str, Any] = {"objectives": "objective", "benchmarks": "benchmark", "judges": "judge"}
    if kind not in kinds:
        raise InputError(f"alignbench list {kind}: list objectives, benchmarks or judges.")
    console = Console()
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    for column in ("name", "what it is", "fields and defaults", "paper" if kind == "objectives" else ""):
        table.add_column(column, overflow="fold")
    for row in describe(kinds[kind]):
        needs = f"\nneeds {', '.join(row.needs)}" if row.needs else ""
        table.add_row(
            Text(row.name, style="bold"), Text(row.summary + needs), Text("\n".join(row.fields)), Text(row.paper)
        )
    console.print(table)


def _config(
    objectives: str,
    benchmark: str,
    data: str,
    eval_data: str,
    model: str,
    sft: bool,
    reference: str,
    reward_model: str,
    seeds: int,
    judge: str,
    budget: str,
    out: str,
    jobs: int,
    device: str,
    max_tokens: int,
    lora: str,
    dtype: str,
    grad_checkpoint: bool,
) -> Any:
    """The options as a `Config`, every one of them checked that can be checked without loading anything."""
    from .adapters import LoRA
    from .plugins import create_benchmark, find, parse_judges, parse_objectives
    from .run import Config

    specs = parse_objectives(objectives)
    chosen = create_benchmark(_benchmark_text(benchmark, data))
    values = {f.name: getattr(chosen.plugin, f.name) for f in fields(chosen.plugin) if f.init}
    values |= {"data": data} if data else {}
    values |= {"eval_data": eval_data} if eval_data else {}
    values["pretrained"] = bool(model)
    plugin = find("benchmark", chosen.name)(**values)
    if sft and not model:
        raise InputError("--sft fine-tunes the model that --model names: give --model, or leave --sft out.")
    judges = parse_judges(judge) if judge else default_judges(plugin)
    used = device or _default_device()
    workers = jobs or (1 if model or used != "cpu" else os.cpu_count() or 1)
    config = Config(
        objectives=tuple(spec.text for spec in specs),
        files=tuple((spec.text, str(spec.path), spec.source) for spec in specs if spec.path is not None),
        benchmark=chosen.name,
        benchmark_fields=tuple(values.items()),
        out=out or str(Path("results") / chosen.name),
        model=model,
        reference=reference,
        reward_model=reward_model,
        sft=sft,
        seeds=seeds,
        judges=tuple(judges),
        budget=budget,
        jobs=workers,
        threads=max(1, (os.cpu_count() or 1) // workers),
        device=used,
        max_tokens=max_tokens,
        lora=str(LoRA.parse(lora)) if lora else "",
        dtype=dtype,
        grad_checkpoint=grad_checkpoint,
        command=shlex.join(["alignbench", *sys.argv[1:]]),
    )
    config.budget_for(1)
    return config


def _benchmark_text(benchmark: str, data: str) -> str:
    if not data:
        if benchmark.partition(":")[0] == DATA_BENCHMARK:
            raise InputError(f"--benchmark {DATA_BENCHMARK} needs --data FILE.")
        return benchmark or DEFAULT_BENCHMARK
    name = benchmark.partition(":")[0]
    if name not in ("", DATA_BENCHMARK):
        raise InputError(f"--data and --benchmark {name} exclude each other: leave one out.")
    return benchmark or DATA_BENCHMARK


def default_judges(plugin: Any) -> list[tuple[str, str]]:
    """Gold where there is one, then the judge's reward model, then the benchmark's own language-model judge."""
    judges = [("gold", "")] if plugin.has_gold else []
    judges += [("reward", "")] if plugin.kind == "pairs" else []
    judges += [("lm", "")] if plugin.stages().judge_lessons is not None else []
    return judges


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _fail(message: str, code: int) -> None:
    Console(stderr=True).print(Text(message), soft_wrap=True)
    raise SystemExit(code)


def main() -> None:
    """The entry point: bad usage and bad input are one sentence and exit code 2, failed cells exit code 1."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        _fail(f"alignbench: {error}", 2)
    except AlignbenchError as error:
        _fail(f"alignbench: {error}", 1)


if __name__ == "__main__":
    main()
