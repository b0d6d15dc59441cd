"""REINFORCE with the reward of the greedy completion as its baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from alignbench import Completions, Engine, Experience

from ._online import Reinforce, recorded


@dataclass(frozen=True)
class ReMax(Reinforce):
    """ReMax: REINFORCE with one sample a prompt, against the reward of the policy's greedy completion, `[B]`.

    With y drawn at temperature 1, y' the greedy completion of the same prompt, and no gradient in the bracket:

        -(r(x, y) - beta log pi(y|x)/pi_ref(y|x) - r(x, y')) log pi(y|x)

    The KL is that of the whole completion (k1), at the time of sampling; the baseline is free of it, and any baseline
    that y does not enter leaves the gradient without bias. Greedy completions are not trained on, but they are drawn
    and rewarded, and so they count in the budget of completions, as the samples do that RLOO has for a baseline.
    """

    paper = "arXiv:2310.10505, algorithm 1"

    def batches(self, engine: Engine) -> Iterator[Experience]:
        for prompts in engine.prompts(n=2):
            greedy = self.rewarded(engine, engine.sample(prompts, greedy=True))
            samples = engine.score(engine.sample(prompts))
            rewards = self.rewarded(engine, samples)
            yield recorded(self, samples, rewards, rewards - self.beta * samples.log_ratio - greedy)

    @staticmethod
    def example() -> tuple[Experience, Tensor]:
        # Rewards less KL of 0.5 and 2 against 1 and 1.5 of the greedy completions: advantages -0.5 and 0.5, on
        # log 1/2 + log 1/4 = -2.079442 and, of one token, log 1/8 = -2.079442.
        mask = torch.tensor([[True, True], [True, False]])
        logps = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).log()
        advantages, scores = torch.tensor([[-0.5, -0.5], [0.5, 0.0]]), torch.tensor([0.5, 2.0])
        batch = Experience(Completions.of(logps, logps, mask), logps, advantages, scores=scores)
        return batch, torch.tensor([-1.039721, 1.039721])
