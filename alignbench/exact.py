"""A world whose completions can all be enumerated: expectations are sums, and the best policy is known.

With a reward r, a reference pi_ref and a price beta of the KL, the objective of alignment

    J(pi) = E_x [ E_{y ~ pi} r(x, y) - beta KL(pi(. | x) || pi_ref(. | x)) ]

has the maximum J* = E_x [ beta log Z(x) ], Z(x) = sum_y pi_ref(y | x) exp(r(x, y) / beta), at
pi*(y | x) = pi_ref(y | x) exp(r(x, y) / beta) / Z(x), and J* - J(pi) = beta KL(pi || pi*) (arXiv:2305.18290, eq. 4
and appendix A.1). Everything here is float64 and in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from torch import Tensor

DIGITS = 30  # nats of accuracy of an interpolant: e^-30 is 1e-13


@dataclass(frozen=True)
class ExactWorld:
    """P prompts, equally likely, and the same N completions of each.

    `reward [P, N]` is r(x, y), `ref [P, N]` is log pi_ref(y | x), whose probabilities sum to 1 for each prompt.
    Policies are `[P, N]` too: log pi(y | x).
    """

    reward: Tensor
    ref: Tensor
    beta: float

    def tilted(self, score: Tensor) -> Tensor:
        """The policy pi_ref(y | x) exp(score(x, y)) / Z(x), `[P, N]`."""
        return torch.log_softmax(self.ref + score.double(), dim=1)

    @cached_property
    def optimum(self) -> Tensor:
        """pi*, `[P, N]`: no policy has a higher J."""
        return self.tilted(self.reward / self.beta)

    @cached_property
    def preference(self) -> Tensor:
        """p(y > y' | x) for y' ~ pi_ref, `[P, N]`: how probable it is that an annotator who follows Bradley and Terry
        prefers y to a completion of the reference.

        It is a smooth function of r(x, y) alone, E_{y'} sigmoid(r - r(x, y')), whose nearest pole is pi i off the real
        line: a Chebyshev interpolant of it errs by less than 1e-12, and N^2 sigmoids need not be computed.
        """
        return torch.stack([_preferred(r, ref.exp()) for r, ref in zip(self.reward, self.ref, strict=True)])

    def expected(self, policy: Tensor, values: Tensor) -> float:
        """E_x E_{y ~ policy} values(x, y)."""
        return float((policy.exp() * values).sum(1).mean())

    def kl(self, policy: Tensor, other: Tensor | None = None) -> float:
        """E_x KL(policy || other), nats a completion; `other` is the reference where none is given."""
        other = self.ref if other is None else other
        return self.expected(policy, policy - other)

    def objective(self, policy: Tensor) -> float:
        """J(policy) = E r - beta KL(policy || pi_ref)."""
        return self.expected(policy, self.reward) - self.beta * self.kl(policy)

    def gap(self, policy: Tensor) -> float:
        """J* - J(policy) = beta KL(policy || pi*), the optimality gap: never negative."""
        return self.beta * self.kl(policy, self.optimum)

    def gain_share(self, policy: Tensor) -> float:
        """(J(policy) - J(pi_ref)) / (J* - J(pi_ref)): 1 at the optimum, 0 at the reference, negative below it."""
        whole = self.gap(self.ref)
        return 1 - self.gap(policy) / whole

    def win_rate(self, policy: Tensor, other: Tensor | None = None) -> float:
        """P(r(x, y) > r(x, y')) + P(equal) / 2 for y ~ policy, y' ~ other (the reference where none is given)."""
        other = self.ref if other is None else other
        shares = []
        for reward, ours, theirs in zip(self.reward, policy.exp(), other.exp(), strict=True):
            values, place = torch.unique(reward, return_inverse=True)
            mass = torch.zeros_like(values).index_add_(0, place, theirs)
            below = mass.cumsum(0) - mass / 2
            shares.append(float((ours * below[place]).sum()))
        return sum(shares) / len(shares)

    def frontier(self, betas: Tensor) -> list[tuple[float, float]]:
        """(KL, E r) of the best policy at each price of the KL: none of the same KL has a higher expected reward."""
        best = [self.tilted(self.reward / float(beta)) for beta in betas]
        return [(self.kl(policy), self.expected(policy, self.reward)) for policy in best]


def _preferred(reward: Tensor, share: Tensor) -> Tensor:
    """`[N]`: sum_j share_j sigmoid(reward_i - reward_j)."""
    low, high = float(reward.min()), float(reward.max())
    half = max((high - low) / 2, 1e-9)
    rate = float(np.arcsinh(np.pi / half))  # how fast the coefficients fall: the pole's Bernstein ellipse

    def at(points: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
        return (torch.sigmoid(torch.from_numpy(points)[:, None] - reward) @ share).numpy()

    fitted = Chebyshev.interpolate(at, int(np.ceil(DIGITS / rate)) + 2, domain=[low - 1e-9, high + 1e-9])
    return torch.from_numpy(fitted(reward.numpy()))
