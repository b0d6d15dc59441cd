"""What several online objectives share: ratios that stay finite, records of a rollout, inner epochs, groups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from torch import Tensor

from alignbench import (
    Completions,
    Count,
    Engine,
    ExactWorld,
    Experience,
    NonNegative,
    Online,
    Pairs,
    Positive,
    Range,
    Rewarded,
)

LIMIT = 20.0  # nats: no ratio that a clip of any use leaves a gradient comes near e^20

Group = Annotated[int, Range(2)]
"""How many samples of one prompt are compared with one another."""

BatchT = TypeVar("BatchT", Completions, Pairs)


def bounded_exp(x: Tensor) -> Tensor:
    """e^x up to e^`LIMIT`, and from there its tangent: finite for every x, and its gradient never turns or ends."""
    return x.clamp(max=LIMIT).exp() * (1 + (x - LIMIT).clamp(min=0))


def log_rho(batch: Experience) -> Tensor:  # [B, T]
    """log pi - log pi_old of each token, nats: 0 in the first inner epoch."""
    return (batch.completions.logps - batch.old_logps).masked_fill(~batch.mask, 0.0)


def clipped(batch: Experience, clip: float) -> Tensor:  # [B, T]
    """max(-A rho, -A clip(rho, 1 - clip, 1 + clip)), rho = pi / pi_old (arXiv:1707.06347, eq. 7, as a loss)."""
    rho = bounded_exp(log_rho(batch))
    return torch.maximum(-batch.advantages * rho, -batch.advantages * rho.clamp(1 - clip, 1 + clip))


def k3(completions: Completions) -> Tensor:  # [B, T]
    """pi_ref / pi - log(pi_ref / pi) - 1 of each token: never negative, and under pi its mean is KL(pi || pi_ref)."""
    d = completions.ref_logps - completions.logps
    return bounded_exp(d) - d - 1


def recorded(objective: Online, samples: Completions, rewards: Tensor, advantages: Tensor) -> Experience:
    """What is known of scored samples; `advantages` are `[B, T]`, or `[B]` and then those of each of its tokens."""
    if advantages.dim() == 1:
        advantages = advantages[:, None] * samples.mask
    scores = unpenalised(rewards, samples, objective.missing_end_penalty)
    return Experience(samples, samples.logps, advantages, scores=scores)


def unpenalised(rewards: Tensor, samples: Completions, missing_end_penalty: float) -> Tensor:  # [B]
    """Rewards as they were before the penalty of a missing end: what the reward model (or the truth) said."""
    return rewards + missing_end_penalty * (~samples.ended)


def replayed(experience: Experience, engine: Engine, inner_epochs: int, minibatches: int) -> Iterator[Experience]:
    """The experience `inner_epochs` times, each time in an order of its own and in `minibatches` parts."""
    for _ in range(inner_epochs):
        order = torch.randperm(len(experience), generator=engine.generator)
        for rows in order.chunk(minibatches):
            yield experience.select(rows.tolist())


def rollout_metrics(batch: Experience) -> dict[str, Tensor]:
    """`score`, of the reward model, and `kl`, to the reference when sampled (k1, nats): a completion's mean."""
    assert batch.scores is not None
    return {"score": batch.scores, "kl": batch.old_logps.sum(-1) - batch.completions.ref_logps.sum(-1)}


def ratio_metrics(batch: Experience, clip: float) -> dict[str, Tensor]:
    """`ratio`, `clip_fraction`, `approx_kl` (to the sampling policy, nats), `entropy`: a token's mean."""
    change = log_rho(batch)
    ratio = bounded_exp(change)
    return {
        "ratio": ratio,
        "clip_fraction": ((ratio - 1).abs() > clip).float(),
        "approx_kl": ratio - 1 - change,
        "entropy": batch.completions.entropy,
    }


@dataclass(frozen=True)
class Reinforce(Online):
    """REINFORCE on whole completions, -A log pi(y|x): a subclass gives `batches`, with advantages without gradient.

    Rewards less `beta` times the log-ratio to the reference (k1, when sampled), against a baseline that y does not
    enter, give the gradient of J(pi) = E r - beta KL(pi || pi_ref) without bias.
    """

    beta: NonNegative = 0.05

    def loss(self, batch: Experience) -> Tensor:  # [B]
        return -(batch.advantages * batch.completions.logps).sum(-1)

    def metrics(self, batch: Experience) -> dict[str, Tensor]:
        return {**rollout_metrics(batch), "entropy": batch.completions.entropy}

    def limit(self, world: ExactWorld) -> Tensor | None:
        # J is concave in pi, so that its maximum at this beta is the only one. With a reward model it is another J.
        return world.tilted(world.reward / self.beta) if self.reward == "gold" and self.beta else None


@dataclass(frozen=True)
class Grouped(Online):
    """Advantages from the other samples of a prompt, a clipped ratio, and the KL in the loss: GRPO and its kin.

    A subclass gives `advantages` and reduces `token_loss`.
    """

    n: Group = 4
    beta: NonNegative = 0.04
    clip: Positive = 0.2
    inner_epochs: Count = 1
    minibatches: Count = 1

    @abstractmethod
    def advantages(self, rewards: Tensor) -> Tensor:
        """`[P, n] -> [P, n]`: of each sample, from the rewards of those of its prompt."""

    def batches(self, engine: Engine) -> Iterator[Experience]:
        for samples, rewards in self.rollouts(engine, self.n):
            advantages = self.advantages(rewards.view(-1, self.n)).flatten()
            experience = recorded(self, samples, rewards, advantages)
            yield from replayed(experience, engine, self.inner_epochs, self.minibatches)

    def token_loss(self, batch: Experience) -> Tensor:  # [B, T]
        """The clipped policy loss of a token, and beta times its KL penalty; 0 off the mask."""
        return (clipped(batch, self.clip) + self.beta * k3(batch.completions)).masked_fill(~batch.mask, 0.0)

    def metrics(self, batch: Experience) -> dict[str, Tensor]:
        return {**ratio_metrics(batch, self.clip), **rollout_metrics(batch)}


@dataclass(frozen=True)
class Picking(Rewarded[BatchT]):
    """An objective that picks some of n samples of a prompt by their rewards."""

    n: Group = 4

    def groups(self, engine: Engine) -> Iterator[tuple[Completions, Tensor]]:
        """For each batch of P prompts n samples of each, and their rewards `[P, n]`."""
        for prompts in engine.prompts(self.n):
            samples = engine.sample(prompts, self.n)
            yield samples, self.rewarded(engine, samples).view(-1, self.n)

    def place(self, column: Tensor) -> Tensor:
        """The rows `[P]`, among the P n samples, of one `column [P]` of each group."""
        return torch.arange(len(column), device=column.device) * self.n + column
