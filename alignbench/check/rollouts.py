"""The check that a policy gradient is one, exactly: every rollout of a tiny policy is tried, with its probability."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..batch import Completions, Experience, Prompts, Tokens
from ..objective import Objective
from .outcomes import Failed, NotApplicable, short
from .plain import PlainEngine
from .points import Numbers, Point
from .subject import Served, Subject

SHARE = 0.3  # the probability of the first of the two completions that there are
REWARDS = (1.5, -0.5)
MOST = 10  # samples of one prompt: 2^10 rollouts are tried


def policy_gradient(subject: Subject) -> None:
    """The mean gradient over all rollouts is that of the expected reward, wherever advantages go with the rewards."""
    objective = subject.objective
    if "sampling" not in objective.needs:
        raise NotApplicable("it draws no samples")
    probe = _Drawn((0,) * MOST)
    batches = _first(objective, probe).batches
    batch = batches[0] if batches else None
    if not isinstance(batch, Experience):
        raise NotApplicable("its batches are not of sampled experience")
    if probe.asked > MOST or len(batch) != probe.asked:
        raise NotApplicable("a prompt's samples come in several batches, or they are too many to try all rollouts")
    found, doubled = (_mean_gradient(objective, probe.asked, scale) for scale in (1.0, 2.0))
    if not math.isclose(doubled, 2 * found, rel_tol=1e-4, abs_tol=1e-7) or found == 0:
        raise NotApplicable("its advantages are normalised, or depend on values: they have no scale to be held to")
    true = -SHARE * (1 - SHARE) * (REWARDS[0] - REWARDS[1])
    if not math.isclose(found, true, rel_tol=1e-3):
        raise Failed(
            f"over all rollouts of a tiny policy its mean gradient is {short(found / true)} times that of the expected "
            f"reward: let no baseline hold the reward of the sample itself, and look at the sign and the scale."
        )


def _first(objective: Objective[Any], engine: PlainEngine) -> Served:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine.table.head = objective.init(engine)
    with torch.no_grad():
        return Served(objective, engine, list(islice(objective.batches(engine), 1)))


def _mean_gradient(objective: Objective[Any], samples: int, scale: float) -> float:
    """E over rollouts of d loss / d theta, where theta is the logit of the first completion."""
    slopes = (1 - SHARE, -SHARE)  # of the log-prob of each completion in theta
    total = 0.0
    for draws in itertools.product((0, 1), repeat=samples):
        engine = _Drawn(draws, scale)
        served = _first(objective, engine)
        looked = served.look(served.batches[0])
        gradients = served.gradients(looked)
        slope = sum(
            float(gradients[row][0].sum()) * slopes[place]
            for place in (0, 1)
            if (row := engine.option(place)) in gradients
        )
        probability = math.prod((SHARE, 1 - SHARE)[draw] for draw in draws)
        total += probability * slope / len(looked.part)
    return total


class _Drawn(PlainEngine):
    """One prompt with two completions of one token; its samples are those of `draws`, in this order."""

    def __init__(self, draws: Sequence[int], scale: float = 1.0) -> None:
        super().__init__(Point("where all rollouts are tried", _options), ((0,),))
        self.draws, self.scale, self.asked = draws, scale, 0
        for place in (0, 1):
            logp = torch.tensor([math.log((SHARE, 1 - SHARE)[place])])
            leaves = self.table[self.option(place)]
            for leaf in (leaves.logps, leaves.moved, leaves.ref_logps):
                leaf.data.copy_(logp)

    def option(self, place: int) -> Tokens:
        return Tokens((1, 100), (4 + place,), 0)

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        if greedy:
            return Completions.from_rows([self.option(1)] * n * len(prompts), self.table)
        self.asked += n
        if self.asked > len(self.draws):
            raise NotApplicable("it draws too many samples of a prompt to try all rollouts")
        drawn = self.draws[self.asked - n : self.asked]
        return Completions.from_rows([self.option(place) for place in drawn], self.table)

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        return torch.tensor([self.scale * REWARDS[row.completion[0] - 4] for row in samples.tokens])


def _options(draw: torch.Generator, length: int) -> Numbers:
    zero = torch.zeros(length, dtype=torch.float64)
    values = torch.zeros(length + 1, dtype=torch.float64)
    return Numbers(zero, zero, zero, values, values)
