"""Which prompts a run evaluates on, which its tuning chooses on, and which tasks lm-eval asks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from ..benchmark import Benchmark
from ..errors import InputError
from ..evaluate.capability import fingerprint
from ..records import Prompt
from ..results import digest
from .config import Config


def evaluation_prompts(
    benchmark: Benchmark, config: Config, fits: Callable[[Prompt], bool], context: int
) -> tuple[Prompt, ...]:
    """The first `eval_prompts` of the evaluation split that leave room for a completion in the context.

    The trials of a tuning take theirs from the end of the split, and a tuned run leaves those alone.

    Raises:
        InputError: none fits.
    """
    prompts, trial = benchmark.prompts("eval"), config.tuning_prompts
    own = prompts[-trial:] if trial else prompts[: len(prompts) - config.held_back]
    kept = tuple(islice((prompt for prompt in own if fits(prompt)), trial or benchmark.eval_prompts))
    if not kept:
        raise InputError(f"no evaluation prompt fits the model's context of {context} tokens.")
    return kept


def tasks_key(names: Sequence[str], benchmark: Benchmark) -> str:
    """A hash of tasks of lm-eval: their names, its version, and the content of those that the benchmark brings."""
    if not names:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        own = benchmark.lm_eval_tasks(Path(folder))
        return digest(names, version("lm_eval"), fingerprint([] if own is None else [own]))
