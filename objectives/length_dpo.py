"""Length-normalised DPO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Paired, Pairs, Positive


@dataclass(frozen=True)
class LengthDPO(Paired):
    """Length-normalised DPO: the logistic loss on the margin of the log-ratios per token, `[B]`.

        -log sigmoid(beta (log pi(y_w|x)/pi_ref(y_w|x) / |y_w| - log pi(y_l|x)/pi_ref(y_l|x) / |y_l|))

    Log-ratios per token are small, so beta must be large: 5 in Tulu 3 and open-instruct, where DPO has 0.1.
    """

    paper = "arXiv:2411.15124, 'length-normalized DPO'"
    at_reference: ClassVar[float | None] = math.log(2)
    beta: Positive = 5.0

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        chosen = batch.chosen.log_ratio / batch.chosen.length
        return -logsigmoid(self.beta * (chosen - batch.rejected.log_ratio / batch.rejected.length))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Chosen (-1 - 2 + 1.1 + 2.1) / 2 = 0.1 nats a token, rejected (-4 + 3.9) / 1 = -0.1: 5 * 0.2 = 1, and
        # log(1 + e^-1) = 0.313262. The second pair is at the reference: log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-1.1, -2.1], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-3.9], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.313262, 0.693147])
