"""The plain way, written out for itself: every sequence padded, all logits, and a live reference model beside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..batch import Tokens
from ..logprobs import LanguageModel, Path
from ..models import Policy


class PaddedForward:
    """log softmax of the logits of all positions, `[B, L, V]` float32; those of the completions are picked out."""

    def __init__(self, policy: Policy, rows: Sequence[Tokens], with_states: bool) -> None:
        width = max(len(row.prompt) + len(row.completion) for row in rows)
        ids = torch.full((len(rows), width), policy.end)
        attended = torch.zeros(len(rows), width, dtype=torch.long)
        completion = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            stop = len(row.prompt) + len(row.completion)
            ids[i, :stop] = torch.tensor(row.prompt + row.completion)
            attended[i, :stop] = 1
            completion[i, len(row.prompt) : stop] = True
        ids, self._completion = ids.to(policy.device), completion.to(policy.device)
        with policy.computing():
            self._output = policy.model(
                input_ids=ids,
                attention_mask=attended.to(policy.device),
                output_hidden_states=with_states,
                use_cache=False,
            )
        self._distributions: Tensor = self._output.logits[:, :-1].float().log_softmax(-1)
        self._targets = ids[:, 1:, None]

    @cached_property
    def logps(self) -> Tensor:
        chosen = self._distributions.gather(2, self._targets).squeeze(2)
        return chosen[self._completion[:, 1:]]

    @cached_property
    def states(self) -> Tensor:
        before = self._completion.clone()
        before[:, :-1] |= self._completion[:, 1:]  # a state precedes each token, and one follows the last
        states: Tensor = self._output.hidden_states[-1][before]
        return states.float()

    @cached_property
    @torch.no_grad()
    def entropy(self) -> Tensor:
        kept = self._distributions[self._completion[:, 1:]]
        return -(kept.exp() * kept).sum(1)

    @cached_property
    @torch.no_grad()
    def collision(self) -> Tensor:
        return (2 * self._distributions[self._completion[:, 1:]]).logsumexp(1)


class PaddedModel(LanguageModel):
    """A language model whose every pass is the plain one, whole batches at once."""

    def __init__(self, policy: Policy, max_tokens: int, with_states: bool) -> None:
        super().__init__(policy, Path(False, "asked for"), max_tokens)
        self._with_states = with_states

    def forward(self, rows: Sequence[Tokens]) -> PaddedForward:
        return PaddedForward(self.policy, rows, self._with_states)
