"""Makers of preference pairs: a model's own samples, best against worst, or its answers against corrected ones."""

from __future__ import annotations

from .correction import Rule, Rules, correct
from .drawing import BLOCK, Sampling, Watcher
from .judging import QUESTION, Judging
from .made import Made, write_pairs
from .on_policy import on_policy
from .sources import Item, Items, read_answers, read_prompts

__all__ = [
    "BLOCK", "QUESTION", "Item", "Items", "Judging", "Made", "Rule", "Rules", "Sampling", "Watcher", "correct",
    "on_policy", "read_answers", "read_prompts", "write_pairs",
]  # fmt: skip
