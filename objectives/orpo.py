"""Odds Ratio Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Paired, Pairs, Positive

from ._log1mexp import log1mexp


@dataclass(frozen=True)
class ORPO(Paired):
    """Odds Ratio Preference Optimization: fine-tuning on the chosen, and its odds against those of the rejected.

    With P(y|x) = exp(log pi(y|x) / |y|), the geometric mean of the tokens' probabilities, and odds = P / (1 - P),
    `[B]`, nats; no reference:

        -log P(y_w|x) - lam log sigmoid(log odds(y_w|x) - log odds(y_l|x))

    The first term is over the completion alone (TRL's includes the prompt). `lam` is the paper's lambda.
    """

    paper = "arXiv:2403.07691, eq. 3, 4, 6 and 7"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    lam: Positive = 0.1

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen, rejected = batch.chosen.mean_logp, batch.rejected.mean_logp
        log_odds_ratio = (chosen - log1mexp(chosen)) - (rejected - log1mexp(rejected))
        return -chosen - self.lam * logsigmoid(log_odds_ratio)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # P = 0.5 (geometric mean of 0.25 and 1) against 0.2: odds 1 and 0.25, ratio 4, log 2 + 0.1 log(1 + 1/4).
        # P = 0.25 against 0.5: odds 1/3 and 1, ratio 1/3, log 4 + 0.1 log(1 + 3).
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[0.25, 1.0], [0.25, 0.25]]).log(), None, both)
        rejected = Completions.of(torch.tensor([[0.2], [0.5]]).log(), None, first)
        return Pairs(chosen, rejected), torch.tensor([0.715461, 1.524924])
