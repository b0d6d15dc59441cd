"""What the objectives on margins tend to: the least expected loss over all pairs of a small world, minimised."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, ExactWorld, Pairs, create


@cache
def world(beta: float) -> ExactWorld:
    draw = torch.Generator().manual_seed(5)
    reward = torch.randn(2, 6, generator=draw, dtype=torch.float64)
    return ExactWorld(reward, torch.log_softmax(torch.randn(2, 6, generator=draw, dtype=torch.float64), 1), beta)


def minimiser(spec: str, beta: float, flipped: float = 0.0) -> Tensor:
    """The policy `[P, N]` of least expected loss over pairs of the reference labelled by Bradley and Terry, found in
    its logits; labels are flipped at the rate `flipped`."""
    here, objective = world(beta), create(spec)
    prompts, n = here.reward.shape
    w, lo = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    preferred = torch.sigmoid(here.reward[:, w] - here.reward[:, lo])
    preferred = preferred * (1 - flipped) + (1 - preferred) * flipped
    weight = (here.ref[:, w] + here.ref[:, lo]).exp() * preferred
    logits = here.ref.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [logits], max_iter=3000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def expected() -> float:
        search.zero_grad()
        policy = torch.log_softmax(logits, 1)

        def side(of: Tensor) -> Completions:
            logps, ref = policy[:, of].reshape(-1, 1), here.ref[:, of].reshape(-1, 1)
            return Completions.of(logps, ref, torch.ones(prompts * n * n, 1))

        total = (weight.reshape(-1) * objective.loss(Pairs(side(w), side(lo)))).sum()
        total.backward()
        return float(total.detach())

    search.step(expected)
    return torch.log_softmax(logits.detach(), 1)


@pytest.mark.parametrize("spec", [
    "dpo", "robust_dpo:label_smoothing=0", "ipo", "sppo", "nca", "f_dpo", "f_dpo:alpha=0.1", "f_dpo:divergence=js",
    "f_dpo:divergence=reverse_kl", "f_dpo:divergence=forward_kl",
])  # fmt: skip
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_limit_is_the_least_expected_loss(spec: str, beta: float) -> None:
    spec = f"{spec}:beta={beta}"
    limit = create(spec).limit(world(beta))
    assert limit is not None
    assert limit.dtype == torch.float64 and torch.logsumexp(limit, 1).abs().max() < 1e-12
    assert_close(minimiser(spec, beta), limit, atol=2e-5, rtol=0)  # `preference` is worked out in float32


def test_limits_are_what_is_known_of_them() -> None:
    here = world(1.0)
    for spec in ("dpo:beta=1", "f_dpo:beta=1:divergence=reverse_kl"):
        assert_close(create(spec).limit(here), here.optimum)
    assert_close(create("ipo:beta=1").limit(here), here.tilted(here.preference))
    assert_close(create("nca:beta=1").limit(here), here.tilted(here.preference.log()), atol=1e-6, rtol=0)
    far, target = create("sppo:beta=0.001").limit(here), (2 * here.preference - 1) / 0.002  # hundreds of nats
    assert far is not None
    lost = target < -150  # where e^h is nothing, so is the price of the normalisation
    assert lost.any()
    assert_close((far - here.ref)[lost], target[lost], atol=1e-6, rtol=0)


def test_robust_dpo_finds_the_optimum_behind_flipped_labels_and_plain_and_conservative_dpo_do_not() -> None:
    beta, rate = 1.0, 0.1
    optimum = world(beta).optimum
    assert_close(minimiser(f"robust_dpo:beta=1:label_smoothing={rate}", beta, rate), optimum, atol=1e-6, rtol=0)
    for spec in ("dpo:beta=1", f"dpo:beta=1:label_smoothing={rate}"):
        assert (minimiser(spec, beta, rate) - optimum).abs().max() > 0.05


def test_a_limit_that_nobody_knows_is_none() -> None:
    smoothed = ["dpo:beta=1:label_smoothing=0.1", "robust_dpo:beta=1:label_smoothing=0.01"]
    for spec in smoothed:  # on clean labels neither tends to pi*
        assert (minimiser(spec, 1.0) - world(1.0).optimum).abs().max() > 1e-3
    others = ["ipo:reduction=mean", "nca:beta=2", "slic", "hinge", "length_dpo", "dpop", "exo"]
    for spec in [*smoothed, *others, "apo_zero", "apo_down", "discopop"]:
        assert create(spec).limit(world(1.0)) is None
