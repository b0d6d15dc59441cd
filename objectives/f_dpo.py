"""DPO under other divergences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, ExactWorld, InputError, Paired, Pairs, Positive, Range

from ._limits import root

STEEP = 20.0  # nats: e^20 squared is far inside float32, where norms of gradients are taken


@dataclass(frozen=True)
class FDPO(Paired):
    """f-DPO: the implicit reward is beta f'(pi/pi_ref), for the divergence from the reference that f makes, `[B]`.

    With h = log pi(y|x)/pi_ref(y|x), -log sigmoid(beta (s(h_w) - s(h_l))), nats, where s(h) = f'(e^h) is

        reverse_kl  h (DPO)          js     log sigmoid(h) + log 2
        forward_kl  1 - e^-h         alpha  (1 - e^(-alpha h)) / alpha

    `alpha` is the paper's: reverse KL at 0, forward KL at 1 (TRL's is 1 - alpha). Where -h (or -alpha h) is
    above 20, e^-h goes on along its tangent: values and gradients stay finite and keep their sign, but the loss is no
    longer the paper's for a completion that has become e^20 (or e^(20 / alpha)) times less likely.
    """

    paper = "arXiv:2309.16240, table 1"
    at_reference: ClassVar[float | None] = math.log(2)
    beta: Positive = 0.1
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "alpha"
    alpha: Annotated[float, Range(0, 1, low_open=True)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divergence != "alpha" and self.alpha != 0.5:
            raise InputError(f"FDPO: alpha={self.alpha:g} has no part in divergence={self.divergence}: leave it out.")

    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return -logsigmoid(self.beta * (self.score(batch.chosen.log_ratio) - self.score(batch.rejected.log_ratio)))

    def score(self, h: Tensor) -> Tensor:
        """f'(e^h), continued along the tangent where it is steep."""
        if self.divergence == "reverse_kl":
            return h
        if self.divergence == "js":
            return logsigmoid(h)  # log 2 is in both scores
        power = self._power
        near = (-power * h).clamp(max=STEEP)
        return -(near.expm1() + near.exp() * (-power * h - near)) / power

    @property
    def _power(self) -> float:
        return self.alpha if self.divergence == "alpha" else 1.0

    def limit(self, world: ExactWorld) -> Tensor | None:
        # Bradley-Terry labels are met exactly by beta f'(pi/pi_ref) = r + a constant of each prompt, which makes the
        # probabilities sum to 1. f' is bounded above, so the constant is sought as the distance e^t to that bound.
        if self.divergence == "reverse_kl":
            return world.tilted(world.reward / self.beta)
        below = (world.reward.amax(1, keepdim=True) - world.reward) / self.beta

        def log_ratio(t: Tensor) -> Tensor:
            gap = below + t.exp()
            if self.divergence == "js":
                return -(gap + (-(-gap).expm1()).log())  # -log(e^gap - 1), where e^gap may be too large
            return -(self._power * gap).log() / self._power

        def missing(t: Tensor) -> Tensor:
            return -torch.logsumexp(world.ref + log_ratio(t), dim=1, keepdim=True)

        bound = torch.full_like(world.ref[:, :1], 100.0)
        return world.tilted(log_ratio(root(missing, -bound, bound)))

    @staticmethod
    def example() -> tuple[Pairs, Tensor]:
        # Log-ratios 2 and -3: s = 2 (1 - e^-1) = 1.264241 and 2 (1 - e^1.5) = -6.963378, times beta 0.1 a margin of
        # 0.822762, and log(1 + e^-0.822762) = 0.364099. The second pair is at the reference: log 2.
        both, first = torch.tensor([[True, True], [True, True]]), torch.tensor([[True], [True]])
        chosen = Completions.of(
            torch.tensor([[-1.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-2.0, -3.0], [-1.0, -1.0]]), both
        )
        rejected = Completions.of(torch.tensor([[-4.0], [-2.0]]), torch.tensor([[-1.0], [-2.0]]), first)
        return Pairs(chosen, rejected), torch.tensor([0.364099, 0.693147])
