"""The command line, one module a command."""

from __future__ import annotations

import os
from collections.abc import Callable

import typer

from ..allocator import keep_freed_memory
from ..errors import AlignbenchError, InputError
from .agree import agree
from .check import check
from .data import data
from .ending import fail
from .judge import judge
from .new import new
from .pairs import pairs
from .plugins import list_plugins
from .report import report
from .run import run
from .speed import speed

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Which alignment objective works, on your model and your data, and how sure can you be?",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run, "judge": judge, "agree": agree, "report": report, "check": check, "new": new, "list": list_plugins,
    "speed": speed, "data": data, "pairs": pairs,
}  # fmt: skip
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """The entry point: bad usage and bad input are one sentence and exit code 2, failed cells exit code 1."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    keep_freed_memory()
    try:
        app()
    except InputError as error:
        fail(f"alignbench: {error}", 2)
    except AlignbenchError as error:
        fail(f"alignbench: {error}", 1)
