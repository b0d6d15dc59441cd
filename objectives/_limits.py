"""The limits of losses that judge every completion by itself, found by bisection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alignbench import ExactWorld

STEPS = 40  # halvings: 1,000 nats become 1e-9 nats


def root(rising: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where a function that rises from below 0 at `low` to above 0 at `high` is 0, element by element."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = rising(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def by_completion(world: ExactWorld, slope: Callable[[Tensor], Tensor], beta: float) -> Tensor:
    """The policy `[P, N]` that minimises E_{y ~ ref} l_y(h(y)), h = log pi/pi_ref, for convex l_y of slope `slope(h)`.

    The minima of the l_y must satisfy E_ref e^h >= 1. Then nothing lies below on the convex set E_ref e^h <= 1, its
    edge is where policies are, and there l_y'(h) + k e^h = 0 with one k >= 0 for each prompt. |h| and |log k| are
    sought up to 100 (1 + 1 / beta).
    """
    wide = torch.full_like(world.ref, 100 * (1 + 1 / beta))

    def log_ratio(log_k: Tensor) -> Tensor:
        return root(lambda h: slope(h) + (log_k + h).exp(), -wide, wide)

    def missing(log_k: Tensor) -> Tensor:
        return -torch.logsumexp(world.ref + log_ratio(log_k), dim=1, keepdim=True)

    return world.tilted(log_ratio(root(missing, -wide[:, :1], wide[:, :1])))
