"""Contrastive Preference Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, NonNegative, Paired, Pairs, Positive


@dataclass(frozen=True)
class CPO(Paired):
    """Contrastive Preference Optimization: DPO against a uniform reference, and a supervised term on the chosen, `[B]`.

        -log sigmoid(beta (log pi(y_w|x) - log pi(y_l|x))) + alpha NLL(y_w)

    The log-probs in the margin are sums over the tokens. `nll` says what NLL is: "mean", -log pi(y_w|x) / |y_w|, close
    to what the authors' code minimises (it averages over the tokens of a batch); or "sum", -log pi(y_w|x), as the paper
    writes it: then every token of the chosen weighs 1 in the gradient and at most beta in the preference term.
    """

    paper = "arXiv:2401.08417, eq. 3 (L_prefer), with its L_NLL"
    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    beta: Positive = 0.1
    alpha: NonNegative = 1.0
    nll: Literal["mean", "sum"] = "mean"

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        margin = self.beta * (batch.chosen.logp - batch.rejected.logp)
        chosen = batch.chosen.mean_logp if self.nll == "mean" else batch.chosen.logp
        return -logsigmoid(margin) - self.alpha * chosen

    def limit(self, world: ExactWorld) -> Tensor | None:
        # Without the supervised term it is DPO, and the reference in the optimum is uniform. With it nobody knows.
        return None if self.alpha else (world.reward.double() / self.beta).log_softmax(1)

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # log pi -3 and -8: log(1 + e^-0.5) = 0.474077, and 3 / 2 tokens = 1.5. Then -2 and -2: log 2, and 2 / 2 = 1.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), None, both)
        rejected = Completions.of(torch.tensor([[-8.0], [-2.0]]), None, first)
        return Pairs(chosen, rejected), torch.tensor([1.974077, 1.693147])
