"""Plackett-Luce DPO: Direct Preference Optimization on ranked lists."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alignbench import Completions, ExactWorld, Listwise, Positive, Ranked


@dataclass(frozen=True)
class PLDPO(Listwise):
    """DPO on ranked lists: the likelihood of drawing the list, best first, each from those that are left.

    With s_k = beta log pi(y_k|x)/pi_ref(y_k|x) and y_1, ..., y_K from the best to the worst, `[B]`, nats:

        -sum_k log(exp(s_k) / sum_{j >= k} exp(s_j))

    A list of two is DPO. At the reference it is log K!.
    """

    paper = "arXiv:2305.18290, appendix A.3, eq. 20"
    beta: Positive = 0.1

    def loss(self, batch: Ranked) -> Tensor:  # [B]
        scores = batch.table(self.beta * batch.completions.log_ratio)  # [B, K]
        own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        # Of the places j >= k those that hold a completion; after the end of a list a place meets itself alone: loss 0.
        left = (batch.present[:, None, :] | own) & torch.ones_like(own).triu()
        log_sums = scores[:, None, :].masked_fill(~left, -torch.inf).logsumexp(-1)
        return (log_sums - scores).sum(-1)

    def limit(self, world: ExactWorld) -> Tensor | None:
        return world.tilted(world.reward / self.beta)  # as DPO: a ranking by Plackett and Luce has the same optimum

    @staticmethod
    def example() -> tuple[Ranked, Tensor]:
        # Log-ratios 20, 10, 0 times 0.1: log((e^2 + e + 1) / e^2) + log((e + 1) / e) = 0.407606 + 0.313262.
        # Log-ratios 5 and 0, a list of two: log(1 + e^-0.5) = 0.474077.
        logps = torch.tensor([[-1.0], [-2.0], [-3.0], [-4.0], [-5.0]])
        ref_logps = torch.tensor([[-21.0], [-12.0], [-3.0], [-9.0], [-5.0]])
        completions = Completions.of(logps, ref_logps, torch.ones(5, 1))
        return Ranked(completions, (3, 2)), torch.tensor([0.720868, 0.474077])
