"""Learning rates for models that were trained before, which every benchmark takes where the user names a model."""

from __future__ import annotations

from dataclasses import dataclass


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
