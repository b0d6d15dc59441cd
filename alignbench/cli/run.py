"""`alignbench run`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .ending import fail
from .options import Options, config_of


def run(
    objectives: Annotated[str, typer.Option(help="Comma list of specs: dpo,kto,./my_loss.py,dpo:beta=0.05/0.5")],
    benchmark: Annotated[str, typer.Option(help="A benchmark spec, reviews:pairs=500 say.")] = "",
    data: Annotated[str, typer.Option(help="Your preference data: a file, a data set folder or a hub id.")] = "",
    eval_data: Annotated[str, typer.Option(help="Held-out data; else a part of --data, by prompt.")] = "",
    source: Annotated[str, typer.Option(help="Where the benchmark's own data are: a folder or another hub id.")] = "",
    model: Annotated[str, typer.Option(help="A model folder or hub id; else a small model from scratch.")] = "",
    sft: Annotated[bool, typer.Option("--sft", help="Fine-tune --model on the chosen completions first.")] = False,
    reference: Annotated[str, typer.Option(help="Another reference than the starting model.")] = "",
    reward_model: Annotated[str, typer.Option(help="A sequence classifier for online objectives.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...: each trains every objective once.")] = 3,
    judge: Annotated[str, typer.Option(help="Comma list of judges; the first is the headline.")] = "",
    judge_url: Annotated[str, typer.Option(help="Server of openai: judges, http://127.0.0.1:8000/v1 say.")] = "",
    judge_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request to it may take.")] = 60.0,
    judge_concurrency: Annotated[int, typer.Option(min=1, help="Requests of a job to it at once.")] = 8,
    judge_price: Annotated[str, typer.Option(help="Price of a million tokens read/written: 2.5/10.")] = "",
    against: Annotated[str, typer.Option(help="What samples are compared with.")] = "reference,chosen,each-other",
    temperatures: Annotated[str, typer.Option(help="Sample at these as well: 0,0.25,0.5,0.75,1.")] = "",
    best_of: Annotated[str, typer.Option(help="Best-of-n of the reference as baselines: 1,4,16,64,128.")] = "",
    lm_eval: Annotated[str, typer.Option(help="Tasks of lm-eval, or of the benchmark: reviews_grammar.")] = "",
    tune: Annotated[str, typer.Option(help="One grid for all: learning_rate=1e-4/1e-3[:beta=0.1/0.5].")] = "",
    tune_prompts: Annotated[int, typer.Option(min=0, help="Prompts that --tune chooses on; 0: 64.")] = 0,
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
    options = Options(**locals())
    console = Console()
    config = config_of(options)
    from ..report import print_table, write_report
    from ..run import run as start
    from ..run.progress import Display

    try:
        with Display(console) as display:
            failed = start(config, display.show, display.begin, fresh)
    except KeyboardInterrupt:
        fail("stopped: finished cells are kept; the same command goes on from there.", 130)
    summary = write_report(config.folder)
    print_table(summary, console)
    for label, reason in failed.items():
        console.print(Text(f"failed: {label}: {reason}", style="red"))
    tables = [f"{name}.{kind}" for name in ("table", "exact", "probes") if name == "table" or name in summary
              for kind in ("md", "csv", "tex")]  # fmt: skip
    console.print(Text(f"written to {config.folder}: {', '.join(tables)}, plots/, report.html, summary.json"))
    raise typer.Exit(1 if failed else 0)
