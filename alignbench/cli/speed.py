"""`alignbench speed`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .ending import fail


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
    from ..speed import print_summary, resolve
    from ..speed import speed as measure
    from ..speed.progress import Bar

    settings = resolve(
        objective, model, data, against, dtype, batch_size, steps, repeats, threads, max_tokens, max_new_tokens, out,
        shlex.join(["alignbench", *sys.argv[1:]]),
    )  # fmt: skip
    console = Console()
    try:
        with Bar(console) as bar:
            result = measure(settings, bar.show)
    except KeyboardInterrupt:
        fail("stopped: nothing is stored.", 130)
    print_summary(result, console)
    console.print(Text(f"written to {result['stored']} and the table beside it"))
    raise typer.Exit(1 if result["failed"] else 0)
