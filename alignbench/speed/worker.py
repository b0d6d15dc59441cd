"""One run of one contender, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ..allocator import keep_freed_memory
from ..models import DTYPES, quiet
from ..results import Json
from .contenders import Run, Task, items, run_here
from .measure import PRODUCTS, Yardstick, peak_memory, resident_peak
from .settings import RIVALS
from .trl import run_trl


def work(task: Task, connection: Connection, log: Path) -> None:
    """The entry of the process: sends `("at", where)` on the way, and `("done", figures)` or `("failed", why)`."""

    def tell(where: str) -> None:
        connection.send(("at", where))

    with log.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            connection.send(("done", measured(task, tell)))
        except Exception as error:  # noqa: BLE001  another's trainer fails in its own way
            traceback.print_exc(file=file)
            connection.send(("failed", f"{type(error).__name__}: {error}"))
    connection.close()


def measured(task: Task, tell: Callable[[str], None]) -> Json:
    """Everything one run measures, as it is stored."""
    torch.set_num_threads(task.threads)
    quiet()
    ours = not task.contender.startswith(RIVALS)
    if ours:  # as the jobs of a run do; the others' processes are as their users have them
        keep_freed_memory()
    before = resident_peak()
    if task.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    yardstick = Yardstick(DTYPES[task.dtype], task.device)
    yardstick.measure(PRODUCTS)
    run = (run_trl if task.contender.startswith("trl") else run_here)(task, yardstick, tell)
    yardstick.measure(PRODUCTS)
    return figures(task, run, yardstick) | {
        "peak_memory_bytes": peak_memory(task.device),
        "bytes_before_the_model": before,
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def figures(task: Task, run: Run, yardstick: Yardstick) -> Json:
    """The raw figures of a run; rates are made of them in `table`."""
    every = len(task.dataset.pairs) if task.paired else len(items(task.dataset))
    return {
        "losses": run.rounds.losses,
        "tokens": run.tokens,
        "round_seconds": run.rounds.seconds,
        "round_items": task.batch_size,
        "round_flops": run.round_flops,
        "reference_seconds": run.reference_seconds,
        "reference_items": every,
        "reference_flops": run.reference_flops,
        "matrix_rates": yardstick.rates,
        "how": run.how,
        "phases": run.phases,
    }
