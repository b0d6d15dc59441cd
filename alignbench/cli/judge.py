"""`alignbench judge`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from .ending import fail
from .options import check_server, default_device, price_of


def judge(
    folder: Annotated[str, typer.Argument(help="Results folder of a finished run.")],
    judge: Annotated[str, typer.Option(help="Comma list of judges: openai:gpt-4o,lm:PATH,length")],
    judge_url: Annotated[str, typer.Option(help="Server of openai: judges, http://127.0.0.1:8000/v1 say.")] = "",
    judge_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request to it may take.")] = 60.0,
    judge_concurrency: Annotated[int, typer.Option(min=1, help="Requests of a job to it at once.")] = 8,
    judge_price: Annotated[str, typer.Option(help="Price of a million tokens read/written: 2.5/10.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = "",
) -> None:
    """Ask further judges about a finished run: nothing is trained, nothing is sampled."""
    from ..plugins import parse_judges
    from ..report import print_table, write_report
    from ..run.again import Server, judge_again
    from ..run.progress import Display

    console = Console()
    named = parse_judges(judge)
    check_server(named, judge_url, judge_price)
    server = Server(judge_url, judge_timeout, judge_concurrency, price_of(judge_price))
    command = shlex.join(["alignbench", *sys.argv[1:]])
    try:
        with Display(console) as display:
            used = device or default_device()
            failed = judge_again(Path(folder), named, server, used, command, display.show, display.begin)
    except KeyboardInterrupt:
        fail("stopped: what was answered is kept; the same command goes on from there.", 130)
    print_table(write_report(Path(folder)), console)
    for reason in failed:
        console.print(Text(reason, style="red"))
    raise typer.Exit(1 if failed else 0)
