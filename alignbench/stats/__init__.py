"""Intervals, paired tests and the field's summary statistics: pure functions on arrays.

Scores are `[P, S]`, one per prompt and seed. Both are samples: the estimand is the mean over the prompts and the seeds
that could have been drawn, so a hundred thousand prompts do not make up for one seed. Randomness comes from the `rng`
that is passed in. Malformed arguments (wrong shape, NaN, an empty axis) raise `ValueError`.
"""

from __future__ import annotations

from .agreeing import agreement_interval
from .estimates import Difference, Estimate
from .frontier import best_of_n_kl, frontier_area, reward_at_kl
from .intervals import bootstrap_interval, interval
from .lengths import LengthControlled, length_controlled
from .pairs import holm, mcnemar, paired_difference
from .power import Needed, needed
from .seeds import interquartile_mean, probability_of_improvement
from .strengths import bradley_terry

__all__ = [
    "Difference",
    "Estimate",
    "LengthControlled",
    "Needed",
    "agreement_interval",
    "best_of_n_kl",
    "bootstrap_interval",
    "bradley_terry",
    "frontier_area",
    "holm",
    "interquartile_mean",
    "interval",
    "length_controlled",
    "mcnemar",
    "needed",
    "paired_difference",
    "probability_of_improvement",
    "reward_at_kl",
]
