"""Runs jobs in the order their needs allow: here, or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..allocator import keep_freed_memory
from ..errors import AlignbenchError, InputError
from ..models import quiet
from ..results import slug, write_text
from .config import Config, Event
from .jobs import execute
from .plan import Job
from .stages import Report

Show = Callable[[Event], None]
EVERY = 0.1  # seconds between two reports of one job; more would only cost time

_events: Any = None


def run_jobs(config: Config, jobs: Iterable[Job], finished: set[Job], show: Show) -> dict[Job, str]:
    """Do every job that is not `finished`; returns why each failed one failed.

    A job whose needs failed fails for their reason. `InputError` ends everything: no job can do better.
    """
    waiting = [job for job in jobs if job not in finished]
    if config.jobs == 1 or len(waiting) == 1:
        return _in_turn(config, waiting, show)
    try:
        return _side_by_side(config, waiting, finished, show)
    except BrokenProcessPool:
        raise InputError(
            "a worker process died, most likely for lack of memory; finished cells are kept: "
            "run the same command again with --jobs 1 or a smaller batch_size."
        ) from None


def _in_turn(config: Config, waiting: list[Job], show: Show) -> dict[Job, str]:
    failed: dict[Job, str] = {}
    for job in waiting:
        reason = _blocked(job, failed) or _attempt(config, job, _throttled(job, show))
        if reason is not None:
            failed[job] = reason
        show(Event(job.label, 1.0, "failed" if reason else "done"))
    return failed


def _side_by_side(config: Config, waiting: list[Job], finished: set[Job], show: Show) -> dict[Job, str]:
    failed: dict[Job, str] = {}
    over = set(finished)
    # Spawned, not forked: a forked child would inherit the locks of the parent's thread pools.
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    pool = ProcessPoolExecutor(config.jobs, mp_context=context, initializer=_begin_worker, initargs=(events,))
    running: dict[Future[str | None], Job] = {}
    try:
        while waiting or running:
            for job in _ready(waiting, over, failed, config.jobs - len(running)):
                waiting.remove(job)
                blocked = _blocked(job, failed)
                if blocked is not None:
                    failed[job] = blocked
                    show(Event(job.label, 1.0, "failed"))
                else:
                    running[pool.submit(_work, config, job)] = job
            complete, _ = wait(running, timeout=EVERY, return_when=FIRST_COMPLETED)
            under_way = {job.label for job in running.values()}
            while not events.empty():
                event = events.get()
                if event.job in under_way:  # it may arrive later than the end of its job
                    show(event)
            for future in complete:
                job = running.pop(future)
                reason = future.result()
                if reason is not None:
                    failed[job] = reason
                over.add(job)
                show(Event(job.label, 1.0, "failed" if reason else "done"))
    except BaseException:
        _stop(pool)
        raise
    finally:
        events.close()
        events.join_thread()
    pool.shutdown()
    return failed


def _ready(waiting: list[Job], over: set[Job], failed: dict[Job, str], free: int) -> list[Job]:
    """Jobs that can begin: stages before cells, long ones before short ones, so that no long one is left for last."""
    ready = [job for job in waiting if all(need in over or need in failed for need in (*job.needs, *job.after))]
    return sorted(ready, key=lambda job: (job.stage == "cell", not job.heavy, job.seed))[: max(0, free)]


def _blocked(job: Job, failed: dict[Job, str]) -> str | None:
    return next((f"{need.label} failed: {failed[need]}" for need in job.needs if need in failed), None)


def _attempt(config: Config, job: Job, report: Report) -> str | None:
    """Why a job failed, or None. It is put into words here, because not every exception can go from a worker home."""
    try:
        return execute(config, job, report)
    except InputError:
        raise
    except AlignbenchError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a stage that breaks fails what needs it
        write_text(config.folder / "stages" / f"{slug(job.label)}.failure.log", traceback.format_exc())
        return f"{type(error).__name__}: {error}"


def _throttled(job: Job, show: Show) -> Report:
    last = 0.0

    def report(fraction: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            show(Event(job.label, min(fraction, 0.99), text))  # only the pool says that a job is over

    return report


def _begin_worker(events: Any) -> None:
    global _events  # noqa: PLW0603  a worker learns once where to report
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    quiet()
    keep_freed_memory()


def _work(config: Config, job: Job) -> str | None:
    return _attempt(config, job, _throttled(job, _events.put))


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers at once; what they were writing is beside its final name and is swept up by the next run."""
    processes = list((pool._processes or {}).values())
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
        process.kill()
    # Waits for the pool's own thread, which ends and collects what is left where a worker had died by itself.
    pool.shutdown(wait=True, cancel_futures=True)
