"""`alignbench agree`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..results import slug
from ..visible import plain
from .ending import fail
from .options import default_device, price_of


def agree(
    pairs: Annotated[str, typer.Argument(help="Pairs with human labels: prompt, output_1, output_2 and label.")],
    judge: Annotated[
        str, typer.Option(help="Comma list: openai:MODEL, lm:PATH, replay:FILE, length, ./mine.py; else people only.")
    ] = "",
    question: Annotated[
        str, typer.Option(help="What judges are asked; else which output follows the instruction.")
    ] = "",
    judge_url: Annotated[str, typer.Option(help="The server of judges behind one; else the service's own.")] = "",
    judge_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 60.0,
    judge_concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    judge_price: Annotated[str, typer.Option(help="Price of a million tokens read/written: 2.5/10.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first N usable pairs; 0: all of them.")] = 0,
    out: Annotated[str, typer.Option(help="Folder of the results; default: results/agree/NAME.")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = "",
) -> None:
    """How far judges agree with people, with each other and with themselves; and people with each other."""
    from ..agree import FILES, QUESTION, Settings
    from ..agree import agree as measure
    from ..agree.table import print_summary
    from ..plugins import parse_judges

    settings = Settings(
        pairs=pairs,
        out=Path(out) if out else default_out(pairs),
        judges=tuple(parse_judges(judge)) if judge else (),
        question=question or QUESTION,
        url=judge_url,
        timeout=judge_timeout,
        concurrency=judge_concurrency,
        price=price_of(judge_price),
        limit=limit or None,
        device=device or default_device(),
        command=shlex.join(["alignbench", *sys.argv[1:]]),
    )
    console = Console()
    try:
        with Bar(console) as bar:
            summary = measure(settings, bar.show)
    except KeyboardInterrupt:
        fail("stopped: answers of a server are kept, the same command asks only for the others.", 130)
    print_summary(summary, console)
    console.print(Text(f"written to {settings.out}: {', '.join(n for n in FILES if (settings.out / n).exists())}"))
    judges = summary["judges"].values()
    raise typer.Exit(1 if any(found["remote"] and found["answers"]["unanswered"] for found in judges) else 0)


def default_out(pairs: str) -> Path:
    """The folder of a file's results: its name without folder and endings."""
    name = Path(pairs).name
    for ending in (".gz", ".jsonl", ".json", ".parquet"):
        name = name.removesuffix(ending)
    return Path("results") / "agree" / slug(name)


class Bar:
    """What is being asked of which judge: a bar on a terminal, elsewhere a line a judge."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(bar_width=24), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.description}", markup=False), console=console, transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._said = ""

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, judge: str, fraction: float, text: str) -> None:
        line = plain(f"{judge}: {text}" if judge else text)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=fraction, description=line)
        elif judge and judge != self._said:
            self._console.print(Text(line), soft_wrap=True)
        self._said = judge
