"""Binary Classifier Optimization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Engine, Labelled, Positive, Unpaired

from ._whole_batch import RewardShift


@dataclass(frozen=True)
class BCO(Unpaired):
    """Binary Classifier Optimization: logistic regression of the label on the implicit reward less a running mean.

    With r = beta log pi(y|x)/pi_ref(y|x), `[B]`, nats:

        -log sigmoid(r - delta)   where y is desirable
        -log sigmoid(delta - r)   where it is not

    delta = (mean r of the desirable + mean r of the undesirable) / 2, each a cumulative mean over all completions
    trained on so far, at the reward that each had then, the batch itself included (a pass over the whole batch before
    it is split), without gradient. The weights for prompts that differ between the labels are not part of it.
    """

    # No limit is stated: were delta -beta log Z(x) for each prompt, it would be pi_ref exp(logit(p) / beta) / Z(x), p
    # the probability of the label; with one mean for all prompts that is near it, and not it.
    paper = "arXiv:2404.04656, the BCO loss with reward shift"
    at_reference: ClassVar[float | None] = 0.693147
    beta: Positive = 0.1

    def batches(self, engine: Engine) -> Iterator[Labelled]:
        shift = RewardShift()
        for batch in engine.labelled():
            # Selected afresh, so that the batch itself stays unread until there is a gradient.
            whole = engine.score(batch.completions.select(range(len(batch))))
            yield batch.with_extra(shift=shift.update(self.beta * whole.log_ratio, batch.desirable))

    def loss(self, batch: Labelled) -> Tensor:  # [B]
        logit = self.beta * batch.completions.log_ratio - batch.extra["shift"]
        return -logsigmoid(torch.where(batch.desirable, logit, -logit))

    def metrics(self, batch: Labelled) -> dict[str, Tensor]:
        """As for every labelled batch; also `shift`, delta, nats."""
        return {**super().metrics(batch), "shift": batch.extra["shift"]}

    @staticmethod
    def example() -> tuple[Labelled, Tensor]:
        # delta = 0.2. Desirable: log-ratio 7, 0.7 - 0.2 = 0.5, log(1 + e^-0.5) = 0.474077.
        # Undesirable: log-ratio 12, 1.2 - 0.2 = 1, log(1 + e) = 1.313262.
        mask = torch.tensor([[True], [True]])
        completions = Completions.of(torch.tensor([[-1.0], [-3.0]]), torch.tensor([[-8.0], [-15.0]]), mask)
        batch = Labelled.of(completions, torch.tensor([True, False]), mismatched_log_ratio=torch.zeros(2))
        return batch.with_extra(shift=torch.tensor([0.2, 0.2])), torch.tensor([0.474077, 1.313262])
