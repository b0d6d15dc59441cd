"""Rollouts of small models, with rewards that are a formula, for tests of what trains on samples of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from alignbench import Tokens, create
from alignbench.engine import LocalEngine
from alignbench.logprobs import LanguageModel
from tests.small import EOS, dataset, engine, full_logps, language_model, reward_model


def gold(rows: Sequence[Tokens]) -> list[float]:
    """A reward that differs between almost any two completions."""
    return [math.sin(sum((i + 1) * t for i, t in enumerate(row.completion))) for row in rows]


def penalised(row: Tokens, penalty: float) -> float:
    return gold([row])[0] - penalty * (not row.ended)


def serving(**settings: Any) -> LocalEngine:
    """An engine of 16 prompts, four a batch, samples of up to 5 tokens, and both kinds of reward."""
    settings = {"batch_size": 4, "budget": 64, "max_new_tokens": 5, "rewards": reward_model(), **settings}
    made = engine(dataset(16), model=settings.pop("model", None) or likes_to_end(), **settings)
    made.sources.gold = gold
    return made


def first_batch(spec: str, **settings: Any) -> tuple[LocalEngine, Any]:
    made, objective = serving(**settings), create(spec)
    made.head = objective.init(made)
    with torch.no_grad():
        return made, next(objective.batches(made))


@torch.no_grad()
def slow_kl(made: LocalEngine, row: Tokens) -> float:
    """log pi(y|x) - log pi_ref(y|x) from plain full logits."""
    reference = language_model(1).policy
    return float((full_logps(made.model.policy, row) - full_logps(reference, row)).sum())


def groups(values: Sequence[Any], n: int) -> list[list[Any]]:
    return [list(values[i : i + n]) for i in range(0, len(values), n)]


def likes_to_end() -> LanguageModel:
    """A random policy that favours the end token: about half of its samples end in time."""
    model = language_model(family="gpt-neox")
    head = model.policy.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]))
    with torch.no_grad():
        head.weight.mul_(0.4)
        head.bias[EOS] = 2.3
    return model
