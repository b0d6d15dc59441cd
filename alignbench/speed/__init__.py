"""How fast is the engine here? The same training on the same batches, by us, plainly, and by TRL where it is there."""

from __future__ import annotations

import os
import platform
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from ..errors import TrainingError
from ..results import Json, slug, write_json, write_text
from .contenders import LEARNING_RATE, NOISE, Task
from .prepare import Prepared, prepare
from .settings import Settings, resolve
from .summary import summarise
from .table import NAMES, as_markdown, print_summary
from .worker import work

__all__ = ["At", "Settings", "print_summary", "resolve", "speed"]

OURS = "alignbench"


@dataclass(frozen=True)
class At:
    """Progress: `done` of `total` rounds of all contenders and repetitions, which run it is, and where in it."""

    done: int
    total: int
    run: str
    where: str = ""


Show = Callable[[At], None]


def speed(settings: Settings, show: Show) -> Json:
    """Run every contender in turn, again and again, and store what was measured; returns what `print_summary` takes.

    Raises:
        InputError: the data or the model cannot be used.
        TrainingError: our own engine failed.
    """
    with tempfile.TemporaryDirectory(prefix="alignbench-speed-") as scratch:
        folder = Path(scratch)
        show(At(0, 1, "model and data"))
        prepared = prepare(settings, folder)
        contenders = (OURS, *settings.rivals)
        runs: dict[str, list[Json]] = {name: [] for name in contenders}
        failed: dict[str, str] = {}
        total = len(contenders) * settings.repeats * (1 + settings.steps)
        done = 0
        for repeat in range(settings.repeats):
            for name in contenders:  # in turn, so that a machine that slows down slows all of them
                if name not in failed:
                    text = f"repetition {repeat + 1} of {settings.repeats}: {NAMES[name]}"
                    task = _task(settings, prepared, name, folder / f"{repeat}-{slug(name)}")
                    counted = _Counted(show, done, total, text)
                    found = _run(task, counted)
                    if isinstance(found, str):
                        failed[name] = found
                    else:
                        runs[name].append(found)
                done += 1 + settings.steps
            if OURS in failed:
                raise TrainingError(f"our own engine failed: {failed[OURS]}")
    result = {
        "schema": 1,
        "settings": _described(settings),
        "data": prepared.facts,
        "versions": _versions(),
        "hardware": _hardware(settings),
        "runs": runs,
        "failed": failed,
    }
    result["summary"] = summarise(settings, runs, failed)
    return _store(settings, result)


def _store(settings: Settings, result: Json) -> Json:
    stem = "-".join(slug(part) for part in (Path(settings.model).name, settings.spec.text, settings.dtype))
    path = settings.out / f"{stem}.json"
    write_json(path, result)
    write_text(path.with_suffix(".md"), as_markdown(result))
    return {**result, "stored": str(path)}


def _task(settings: Settings, prepared: Prepared, contender: str, scratch: Path) -> Task:
    scratch.mkdir(parents=True)
    return Task(
        contender=contender,
        spec=settings.spec,
        model=prepared.model,
        reward=prepared.reward,
        dataset=prepared.dataset,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
        steps=settings.steps,
        threads=settings.threads,
        max_tokens=settings.max_tokens,
        max_new_tokens=settings.max_new_tokens,
        device=settings.device,
        scratch=scratch,
    )


class _Counted:
    """Turns what a worker says into progress of the whole."""

    def __init__(self, show: Show, before: int, total: int, text: str) -> None:
        self._show, self._before, self._total, self._text = show, before, total, text
        self._rounds = 0
        show(At(before, total, text))

    def __call__(self, where: str) -> None:
        self._rounds += where.startswith("round")
        self._show(At(self._before + self._rounds, self._total, self._text, where))


def _run(task: Task, at: Callable[[str], None]) -> Json | str:
    """The figures of one run in a process of its own, or why there are none."""
    # Spawned: a forked process would share our memory and the locks of our thread pools.
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    log = task.scratch / "log.txt"
    process = context.Process(target=work, args=(task, sending, log), name=f"speed {task.contender}")
    with _environment(task):
        process.start()
    sending.close()
    try:
        found = _listen(receiving, at)
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
        receiving.close()
    if found is None:
        return f"its process died (exit code {process.exitcode}), most likely for lack of memory"
    return found


def _listen(receiving: Connection, at: Callable[[str], None]) -> Json | str | None:
    while True:
        try:
            kind, said = receiving.recv()
        except EOFError:
            return None
        if kind != "at":
            return said  # type: ignore[no-any-return]
        at(said)


@contextmanager
def _environment(task: Task) -> Iterator[None]:
    """What a process must find when it starts: libraries read some of it once, when they are imported."""
    wanted = {
        "OMP_NUM_THREADS": str(task.threads),
        "HF_HUB_DISABLE_TELEMETRY": "1",  # TRL would report its use over the network
        "TQDM_DISABLE": "1",
    }
    if task.device.startswith("cuda"):  # a trainer would spread over several
        wanted["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    # Inherited, for good: Ctrl-C is ours to answer, and we do so when the process has started.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _described(settings: Settings) -> Json:
    kept = {name: value for name, value in asdict(settings).items() if name != "spec"}
    spec = settings.spec
    return {
        **kept,
        "objective": spec.text,
        "params": spec.params,
        "objective_source": spec.source,
        "online": settings.online,
        "learning_rate": LEARNING_RATE,
        "noise_on_the_policy": NOISE,
    }


def _versions() -> Json:
    found: Json = {"python": platform.python_version()}
    for name in ("alignbench", "torch", "transformers", "accelerate", "trl"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _hardware(settings: Settings) -> Json:
    cpu = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "device": settings.device,
        "gpu": torch.cuda.get_device_name() if settings.device.startswith("cuda") else None,
    }
