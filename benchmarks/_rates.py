"""Settings that benchmarks share: rates for models that were trained before, batches and betas alike for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from alignbench import Objective, Training


@dataclass(frozen=True)
class Rates:
    """One learning rate for each kind of training."""

    demonstrations: float
    reward: float
    offline: float
    online: float


# A model that was trained before. Demonstrations: 2e-5, Zephyr (arXiv:2310.16944). Reward model and online: 3e-6, the
# N+ implementation details of RLHF (arXiv:2403.17031). Offline: 1e-6, DPO (arXiv:2305.18290, appendix B).
PRETRAINED = Rates(demonstrations=2e-5, reward=3e-6, offline=1e-6, online=3e-6)


def even(settings: Training, objective: type[Objective[Any]]) -> Training:
    """Settings whose `batch_size` is that of pairs, for an objective of any kind: a step reads as many completions.

    A pair has two, a label is of one, and an online objective draws `n` for each prompt, the default of its class.
    """
    drawn = int(getattr(objective, "n", 1)) if "sampling" in objective.needs else 2
    each = 1 if "labels" in objective.needs else drawn
    return replace(settings, batch_size=max(1, 2 * settings.batch_size // each))


def beta_for(objective: type[Objective[Any]], beta: float) -> Mapping[str, object]:
    """`beta` as a default, where an objective has a field of that name and a reference for it to be the price of the
    distance to: without one (SimPO, CPO) a beta is a mere scale, and stays its own."""
    has_beta = any(field.name == "beta" for field in fields(objective))  # type: ignore[arg-type]
    return {"beta": beta} if has_beta and "reference" in objective.needs else {}
