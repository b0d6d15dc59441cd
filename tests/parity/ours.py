"""Our side: what one step of the training loop would do with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from alignbench import Completions, Prompts, Tokens, Training
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

    def sample(self, prompts: Prompts, n: int = 1) -> Completions:
        drawn = [row for prompt in prompts.tokens for row in self._of(prompt)[:n]]
        assert len(drawn) == n * len(prompts), "more samples are asked for than there are"
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


def offline(spec: str, data: Dataset) -> Answer:
    """The whole of the data as one batch."""
    objective = create(spec)
    labelled = "labels" in objective.needs
    made = engine(data, len(data.as_labelled()) if labelled else len(data.pairs))
    return _answer(objective, made, moved=False)


def online(spec: str) -> Answer:
    """One batch of samples, met after the policy has moved on."""
    prompts = {row.prompt: row for row in world.samples()}
    data = small.of_pairs([(row, row) for row in prompts.values()])
    return _answer(create(spec), engine(data, len(prompts)), moved=True)


def _answer(objective: Any, made: Engine, moved: bool) -> Answer:
    model = made.model.policy.model
    made.head = objective.init(made)
    if objective.trains == "reward":
        made.head.load_state_dict({"weight": world.head()})
    with torch.no_grad():
        batch = next(objective.batches(made))
    if moved:
        model.load_state_dict(world.weights("moved"))
    loss, _ = accumulate(objective, batch, made)
    gradient = {name: given.grad for name, given in model.named_parameters() if given.grad is not None}
    if objective.trains == "reward":
        gradient["score.weight"] = made.head.weight.grad
    return Answer(loss, gradient)
