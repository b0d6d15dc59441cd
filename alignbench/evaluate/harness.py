"""lm-eval 0.4.13 around a model in memory: quietly, without its caches, and leaving no trace in the process."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError

Report = Callable[[float, str], None]
SEED = 1234  # the default of lm-eval's own command for examples in a prompt and for sampled answers
_LOGGERS = ("lm_eval", "datasets", "huggingface_hub", "transformers")


@contextmanager
def undisturbed(device: torch.device | None = None) -> Iterator[None]:
    """Within it lm-eval may run: generators are seeded, logs and bars are off; afterwards all is as it was.

    Raises:
        InputError: lm-eval is not installed.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    cuda = [device.index or 0] if device is not None and device.type == "cuda" else []
    with warnings.catch_warnings(), torch.random.fork_rng(devices=cuda), _plain_generators():
        warnings.simplefilter("ignore")
        try:
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            torch.manual_seed(SEED)
            with _no_bars():
                yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def _plain_generators() -> Iterator[None]:
    """The global generators of Python and numpy, which tasks may draw from, seeded and put back."""
    import numpy as np

    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002  the very state that must not change
    try:
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def _no_bars() -> Iterator[None]:
    """No progress bars: those of `datasets` by its switch; that of lm-eval's `build_all_requests` has none."""
    try:
        import datasets
        import lm_eval.api.task as module
        import lm_eval.models.huggingface  # noqa: F401  fails here where lm-eval was installed without its models
    except ImportError as error:
        raise InputError(
            f"--lm-eval needs lm-eval with its models ({error.name} is missing): pip install 'lm_eval[hf]>=0.4.13'."
        ) from error
    bars, shown = module.tqdm, not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    module.tqdm = partial(bars, disable=True)
    try:
        yield
    finally:
        module.tqdm = bars
        if shown:
            datasets.enable_progress_bars()


def index_of(name: str, include: Sequence[Path]) -> Any:
    """lm-eval's `TaskManager` over the folders `include`, or over its own tasks where they have none of that name."""
    own = own_index(include)
    return own if name in own.all_tasks else _shipped_index()


def own_index(include: Sequence[Path]) -> Any:
    """lm-eval's `TaskManager` over these folders alone."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=list(include), include_defaults=False)


@lru_cache(maxsize=1)
def _shipped_index() -> Any:
    """Reading lm-eval's own 14,000 files takes 10 s, so once in a process."""
    from lm_eval.tasks import TaskManager

    return TaskManager()
