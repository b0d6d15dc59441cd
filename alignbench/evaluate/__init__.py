"""Evaluation, the same for every objective: samples, KL to the reference, rewards, verdicts."""

from __future__ import annotations

from .measure import Measures, measure
from .verdicts import Judged, judge_all

__all__ = ["Judged", "Measures", "judge_all", "measure"]
