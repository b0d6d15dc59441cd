"""Evaluation, the same for every objective: samples, KL to the reference, rewards, capability."""

from __future__ import annotations

from .measure import Measures, measure

__all__ = ["Measures", "measure"]
