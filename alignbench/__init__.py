"""alignbench: which alignment objective works, on your model and your data, and how sure can you be?

A plug-in needs only what is exported here. `create` makes plug-ins from specs such as `"dpo:beta=0.5"`.
"""

from __future__ import annotations

from typing import Any

from .batch import Completions, Experience, Labelled, Pairs, Prompts, Ranked, Tokens
from .benchmark import Benchmark, Enumeration, Probe, Sampler, Split, Stages
from .errors import AlignbenchError, InputError, TrainingError
from .exact import ExactWorld
from .families import Listwise, Online, Paired, Rewarded, Unpaired
from .judge import Judge, JudgeContext, by_score, comparison_prompt
from .models import SmallModel
from .objective import Count, Engine, Fraction, Move, NonNegative, Objective, Positive, Range, Training
from .records import (
    Comparison,
    Completion,
    Demonstration,
    Kind,
    LabelledCompletion,
    Pair,
    Preferences,
    Prompt,
    Ranking,
    Usage,
    Verdict,
)

__version__ = "0.1.0"

__all__ = [
    "AlignbenchError", "Benchmark", "Comparison", "Completion", "Completions", "Count", "Demonstration", "Engine",
    "Enumeration", "ExactWorld", "Experience", "Fraction", "InputError", "Judge", "JudgeContext", "Kind", "Labelled",
    "LabelledCompletion", "Listwise", "Move", "NonNegative", "Objective", "Online", "Pair", "Paired", "Pairs",
    "Positive", "Preferences", "Probe", "Prompt", "Prompts", "Range", "Ranked", "Ranking", "Rewarded", "Sampler",
    "SmallModel", "Split", "Stages", "Tokens", "Training", "TrainingError", "Unpaired", "Usage", "Verdict", "by_score",
    "comparison_prompt", "create",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "create":  # lazily: finding plug-ins imports them, and they import this module
        from .plugins import create

        return create
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
