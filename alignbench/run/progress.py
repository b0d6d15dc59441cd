"""Progress on the terminal: every job that is running, and how long the run will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..visible import plain
from .config import Event
from .plan import Job

LINE_EVERY = 10.0  # seconds between lines where the output is no terminal


class Display:
    """Bars on a terminal; elsewhere (a log, a pipe) a line when a job ends and one now and then between."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.over = 0
        self.weights: dict[str, float] = {}
        self.finished = 0.0  # weight of the jobs that are over
        self.started = self.last_line = time.monotonic()
        self.running: dict[str, float] = {}
        self.tasks: dict[str, TaskID] = {}
        columns = (
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self.bars = Progress(*columns, console=console, transient=True)
        self.whole = self.bars.add_task("all jobs", total=1.0, text="")

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def begin(self, jobs: list[Job], finished: set[Job], remarks: list[str]) -> None:
        self._say(remarks)
        # A run with tuning begins twice, first with its trials.
        self.total, self.over, self.finished = len(jobs) - len(finished), 0, 0.0
        self.weights = {job.label: job.weight for job in jobs if job not in finished}
        self.started = time.monotonic()
        if finished:
            cells = sum(job.stage == "cell" for job in finished)
            text = f"{len(finished)} of {len(jobs)} jobs are on disk already ({cells} cells): reused."
            self.console.print(text, highlight=False)

    def _say(self, remarks: Sequence[str]) -> None:
        for remark in remarks:
            self.console.print(Text(plain(remark)), soft_wrap=True)

    def show(self, event: Event) -> None:
        self._say(event.remarks)
        ended = event.fraction >= 1
        if ended:
            self.running.pop(event.job, None)
            self.over += 1
            self.finished += self.weights.get(event.job, 1.0)
        else:
            self.running[event.job] = event.fraction
        working = sum(self.weights.get(label, 1.0) * done for label, done in self.running.items())
        share = (self.finished + working) / (sum(self.weights.values()) or 1.0)
        left = self._left(share)
        if self.console.is_terminal:
            self._bars(event, ended, share, left)
        elif ended or time.monotonic() - self.last_line > LINE_EVERY:
            self.last_line = time.monotonic()
            line = f"[{self.over}/{self.total}] {event.job}: {event.text}  ({left} left)"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _bars(self, event: Event, ended: bool, share: float, left: str) -> None:
        if ended:
            task = self.tasks.pop(event.job, None)
            if task is not None:
                self.bars.remove_task(task)
        else:
            if event.job not in self.tasks:
                self.tasks[event.job] = self.bars.add_task(escape(event.job), total=1.0, text="")
            self.bars.update(self.tasks[event.job], completed=event.fraction, text=escape(event.text))
        self.bars.update(self.whole, completed=share, text=f"{self.over}/{self.total} done, {left} left")

    def _left(self, share: float) -> str:
        """Time left at the pace so far: jobs are weighed by kind, so this is rough until half of them are over."""
        if share < 0.02:
            return "time unknown"
        seconds = (time.monotonic() - self.started) * max(0.0, 1 - share) / share
        return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
