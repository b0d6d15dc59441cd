"""Sequence likelihood calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from alignbench import Completions, NonNegative, Paired, Pairs, Positive


@dataclass(frozen=True)
class SLiC(Paired):
    """SLiC-HF: a hinge on the log-probs themselves, without a reference, and the likelihood of the chosen, `[B]`.

        max(0, delta - log pi(y_w|x) + log pi(y_l|x)) - lam log pi(y_w|x)

    Log-probs are sums over tokens, nats. This is SLiC-HF-direct, on the pairs of the data as they are. The last term is
    the likelihood of a target, in the paper possibly a demonstration; here it is the chosen completion, as in HALOs,
    whose defaults these are. The hinge on the margin against a reference is `hinge`.
    """

    paper = "arXiv:2305.10425, section 2"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    delta: Positive = 1.0
    lam: NonNegative = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = batch.chosen.logp, batch.rejected.logp
        return torch.relu(self.delta - chosen + rejected) - self.lam * chosen

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # log p_w = -1 - 2 = -3, log p_l = -3.5: max(0, 1 + 3 - 3.5) + 0.1 * 3 = 0.8.
        # log p_w = -1 - 1 = -2, log p_l = -2: max(0, 1 + 2 - 2) + 0.1 * 2 = 1.2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), None, both)
        rejected = Completions.of(torch.tensor([[-3.5], [-2.0]]), None, first)
        return Pairs(chosen, rejected), torch.tensor([0.8, 1.2])
