"""Our side: what one step of the training loop would do with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from alignbench import Completions, Prompts, Tokens, Training
from alignbench.batch import Batch
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.logprobs import LanguageModel, Path
from alignbench.models import Policy
from alignbench.plugins import create
from alignbench.tokens import Dataset
from alignbench.train import accumulate
from tests import small

from . import world
from .world import Answer


class Engine(LocalEngine):
    """An engine whose sampler gives what it is told to: the other side must meet the same samples."""

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        drawn = [row for prompt in prompts.tokens for row in self._of(prompt)[:n]]
        assert len(drawn) == n * len(prompts) and not greedy, "the world has no such samples"
        return Completions.from_rows(drawn, self)

    def _of(self, prompt: Tokens) -> list[Tokens]:
        return [row for row in world.samples() if row.prompt == prompt.prompt]


def language_model(name: str) -> LanguageModel:
    return LanguageModel(Policy(world.model(name), small.tokenizer()), Path(True, ""))


def engine(data: Dataset, batch_size: int) -> Engine:
    def rewards(rows: Sequence[Tokens]) -> Tensor:
        return torch.tensor(world.reward(tuple(rows)))

    sources = Sources(
        dataset=data,
        demonstrations=[chosen for chosen, _ in data.pairs],
        reference=small.live(language_model("reference")),
        reward=rewards,
        gold=rewards,
    )
    return Engine(language_model("policy"), sources, Training(batch_size=batch_size), Budget(10**6), seed=0)


def offline(spec: str, data: Dataset, served_at_reference: bool = False) -> Answer:
    """The whole of the data as one batch."""
    objective = create(spec)
    return _answer(objective, _whole(objective, data), "reference" if served_at_reference else "policy", "policy")[1]


def batch(spec: str, data: Dataset) -> Batch:
    """That batch, unread."""
    objective = create(spec)
    served: Batch = next(objective.batches(_whole(objective, data)))
    return served


def _whole(objective: Any, data: Dataset) -> Engine:
    return engine(data, len(data.as_labelled()) if "labels" in objective.needs else len(data.pairs))


def online(spec: str, moved: bool) -> tuple[Batch, Answer]:
    """One batch of samples, met after the policy has moved on, or before."""
    prompts = {row.prompt: row for row in world.samples()}
    data = small.of_pairs([(row, row) for row in prompts.values()])
    return _answer(create(spec), engine(data, len(prompts)), "policy", "moved" if moved else "policy")


def _answer(objective: Any, made: Engine, served: str, met: str) -> tuple[Batch, Answer]:
    """The gradient of one batch: served by a policy with some weights, met by it with others."""
    model = made.model.policy.model
    made.model.into_grad = True  # as the training loop has it
    made.head = objective.init(made)
    if objective.trains == "reward":
        made.head.load_state_dict({"weight": world.head()})
    model.load_state_dict(world.weights(served))
    with torch.no_grad():
        batch = next(objective.batches(made))
    model.load_state_dict(world.weights(met))
    loss, _ = accumulate(objective, batch, made)
    gradient = {name: given.grad for name, given in model.named_parameters() if given.grad is not None}
    if objective.trains == "reward":
        gradient["score.weight"] = made.head.weight.grad
    return batch, Answer(loss, gradient)
