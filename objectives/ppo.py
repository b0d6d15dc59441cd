"""Proximal Policy Optimization against a trained reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from alignbench import Completions, Count, Engine, ExactWorld, Experience, Fraction, NonNegative, Online, Positive

from ._online import clipped, ratio_metrics, recorded, replayed, rollout_metrics


@dataclass(frozen=True)
class PPO(Online):
    """Proximal Policy Optimization: clipped policy and value losses on the policy's own samples, `[B, T]`.

    The reward of a token is -beta (log pi_old - log pi_ref); the reward model's score of the whole completion, less
    `missing_end_penalty` where it did not end by itself, is added at the last real token. With advantages A (GAE,
    whitened over the real tokens of a rollout), returns R, and rho = pi / pi_old, the loss of a token is

        max(-A rho, -A clip(rho, 1 - clip, 1 + clip))
        + value_coef / 2 max((V - R)^2, (clip(V, V_old - value_clip, V_old + value_clip) - R)^2)
    """

    paper = "arXiv:1707.06347, eq. 7 and 9; GAE arXiv:1506.02438, eq. 16; in language models arXiv:2203.02155, eq. 2"
    known_failures: ClassVar[Mapping[str, str]] = {"composition": "advantages are whitened over the whole rollout"}
    beta: NonNegative = 0.05
    gamma: Fraction = 1.0
    lam: Fraction = 0.95
    clip: Positive = 0.2
    value_clip: Positive = 0.2
    value_coef: NonNegative = 0.1
    inner_epochs: Count = 2
    minibatches: Count = 1

    def init(self, engine: Engine) -> nn.Module:
        head = nn.Linear(engine.hidden_size, 1)
        nn.init.normal_(head.weight, std=(engine.hidden_size + 1) ** -0.5)
        nn.init.zeros_(head.bias)
        return head

    def batches(self, engine: Engine) -> Iterator[Experience]:
        for samples, scores in self.rollouts(engine):
            values = samples.values[:, :-1] * samples.mask
            advantages = self.advantages(self.rewards(samples, scores), values, samples.mask)
            experience = replace(
                recorded(self, samples, scores, whiten(advantages, samples.mask)),
                returns=advantages + values,
                old_values=values,
            )
            yield from replayed(experience, engine, self.inner_epochs, self.minibatches)

    def rewards(self, samples: Completions, scores: Tensor) -> Tensor:  # [B, T]
        """Per-token KL penalty everywhere, the score at the last real token, nothing after it."""
        rewards = -self.beta * (samples.logps - samples.ref_logps) * samples.mask
        return rewards.scatter_add(1, samples.length[:, None] - 1, scores[:, None].to(rewards.dtype))

    def advantages(self, rewards: Tensor, values: Tensor, mask: Tensor) -> Tensor:  # [B, T]
        """GAE: A_t = sum_k (gamma lam)^k delta_(t+k), delta_t = r_t + gamma V_(t+1) - V_t; V is 0 after the end."""
        advantages = torch.zeros_like(rewards)
        running = torch.zeros_like(rewards[:, 0])
        following = torch.zeros_like(running)
        for t in reversed(range(rewards.shape[1])):
            delta = rewards[:, t] + self.gamma * following - values[:, t]
            running = torch.where(mask[:, t], delta + self.gamma * self.lam * running, 0.0)
            following = values[:, t]
            advantages[:, t] = running
        return advantages

    def loss(self, batch: Experience) -> Tensor:  # [B, T]
        return clipped(batch, self.clip) + self.value_coef * self._value_loss(batch)

    def metrics(self, batch: Experience) -> dict[str, Tensor]:
        """`ratio`, `clip_fraction`, `approx_kl` (to the sampling policy), `entropy`, `value_loss`: a token's mean;
        `score` (of the reward model) and `kl` (to the reference, when sampled): a completion's mean."""
        value_loss = self._value_loss(batch)
        return {**ratio_metrics(batch, self.clip), "value_loss": value_loss, **rollout_metrics(batch)}

    def limit(self, world: ExactWorld) -> Tensor | None:
        # Without discount the rewards of the tokens add up to r - beta log pi/pi_ref, so what is climbed is J at this
        # beta; where no step changes J any more, true values leave every advantage 0. A reward model has another J.
        found = self.reward == "gold" and self.beta > 0 and self.gamma == 1 and (self.value_coef > 0 or self.lam == 1)
        return world.tilted(world.reward / self.beta) if found else None

    def _value_loss(self, batch: Experience) -> Tensor:  # [B, T]
        assert batch.returns is not None and batch.old_values is not None
        values = batch.completions.values[:, :-1]
        near = batch.old_values + (values - batch.old_values).clamp(-self.value_clip, self.value_clip)
        return 0.5 * torch.maximum((values - batch.returns) ** 2, (near - batch.returns) ** 2)

    @staticmethod
    def example() -> tuple[Experience, Tensor]:
        # Ratio e^log(1.5) = 1.5 with A = 2: max(-3, -2 * 1.2) = -2.4; V = 1, V_old = 0.5 clips to 0.7, R = 2:
        # 0.5 max(1, 1.69) = 0.845, times 0.1. Ratio 0.5 with A = -1: max(0.5, 0.8) = 0.8; V = V_old = R: nothing.
        mask = torch.tensor([[True], [True]])
        completions = Completions.of(
            torch.tensor([[0.3], [0.2]]).log(), None, mask, values=torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        )
        batch = Experience(
            completions,
            old_logps=torch.tensor([[0.2], [0.4]]).log(),
            advantages=torch.tensor([[2.0], [-1.0]]),
            returns=torch.tensor([[2.0], [3.0]]),
            old_values=torch.tensor([[0.5], [3.0]]),
            scores=torch.tensor([0.0, 0.0]),
        )
        return batch, torch.tensor([[-2.4 + 0.0845], [0.8]])


def whiten(values: Tensor, mask: Tensor) -> Tensor:  # [B, T]
    """Zero mean and unit variance over the real tokens of the whole rollout; padding stays 0."""
    real = values[mask]
    scale = real.std(unbiased=False) if len(real) > 1 else torch.ones_like(real[0])
    return torch.where(mask, (values - real.mean()) / (scale + 1e-8), 0.0)
