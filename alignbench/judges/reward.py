"""A reward model as a judge, never the one that an objective optimises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..judge import Judge, JudgeContext, by_score
from ..models import RewardModel
from ..records import Comparison, Completion, Prompt, Verdict
from ..tokens import tokenize_each


@dataclass(frozen=True)
class Reward(Judge):
    """Prefers the completion that a reward model scores higher.

    Without an argument it is the model that the run trains on a split of the pairs of its own; `reward:PATH` is any
    sequence classifier of transformers.
    """

    summary: ClassVar[str] = "a reward model: the run's own, trained on pairs no objective sees, or reward:PATH"
    needs: ClassVar[frozenset[str]] = frozenset({"reward"})

    model: RewardModel

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Reward:
        return cls(RewardModel.load(argument or context.models["reward"], context.device))

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        prompts = [item.prompt for item in items]
        first = self.score(prompts, [item.first for item in items])
        second = self.score(prompts, [item.second for item in items])
        return [by_score(a, b) for a, b in zip(first, second, strict=True)]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """The reward of each completion, read with the reward model's own tokenizer."""
        return reward_scores(self.model, prompts, completions)


def reward_scores(model: RewardModel, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
    context = int(getattr(model.model.config, "max_position_embeddings", None) or 2**20)
    texts = list(zip(prompts, completions, strict=True))
    rows = [row.prompt + row.completion for row in tokenize_each(texts, model.tokenizer, context)]
    return model.score(rows).tolist()
