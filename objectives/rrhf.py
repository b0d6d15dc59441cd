"""Rank responses to align with human feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from alignbench import Completions, Listwise, Positive, Ranked


@dataclass(frozen=True)
class RRHF(Listwise):
    """RRHF: a hinge on the mean log-probs of all pairs of a ranked list, and fine-tuning on its best; no reference.

    With p_i = log pi(y_i|x) / |y_i| and y_1 the best of the list, `[B]`, nats:

        rank_weight sum_{i better than j} max(0, p_j - p_i) + NLL(y_1)

    `nll` says what NLL is: "mean", -p_1, which is on the scale of the hinge and close to what the authors' code
    minimises; or "sum", -log pi(y_1|x), as the paper writes it. The paper has no `rank_weight`, its code has.
    """

    paper = "arXiv:2304.05302, L_rank + L_ft"
    needs: ClassVar[frozenset[str]] = frozenset({"rankings"})
    rank_weight: Positive = 1.0
    nll: Literal["mean", "sum"] = "mean"

    def loss(self, batch: Ranked) -> Tensor:  # [B]
        p = batch.table(batch.completions.mean_logp)  # [B, K]
        violated = (p[:, None, :] - p[:, :, None]).clamp(min=0)  # of j over i, where i stands before j in the list
        hinges = (violated.triu(1) * batch.present[:, None, :]).sum((1, 2))
        best = p if self.nll == "mean" else batch.table(batch.completions.logp)
        return self.rank_weight * hinges - best[:, 0]

    @staticmethod
    def example() -> tuple[Ranked, Tensor]:
        # A list with means -2 (over 2 tokens), -1, -3: only the second is over a better one, by 1; 1 + 2 = 3.
        # A list with means -1, -0.5: 0.5 + 1 = 1.5.
        logps = torch.tensor([[-1.0, -3.0], [-1.0, 0.0], [-3.0, 0.0], [-1.0, 0.0], [-0.5, 0.0]])
        mask = torch.tensor([[True, True], [True, False], [True, False], [True, False], [True, False]])
        return Ranked(Completions.of(logps, None, mask), (3, 2)), torch.tensor([3.0, 1.5])
