"""Progress of a comparison: a bar on a terminal; in a log or a pipe, a line for each run."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from . import At


class Bar:
    """Shows every `At`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)
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

    def show(self, at: At) -> None:
        if self._console.is_terminal:
            text = escape(f"{at.run}  {at.where}")
            self._bar.update(self._task, completed=at.done, total=at.total, description=text)
        elif at.run != self._said:
            self._said = at.run
            self._console.print(Text(f"[{at.done}/{at.total}] {at.run}"), soft_wrap=True)
