"""log(1 - e^x) up to x = 0, and the unlikelihood that is made of it."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch

from alignbench import Completions, Labelled, create

# mypy cannot follow `alignbench.objectives`: the folder is mapped into the package when it is installed.
module: Any = importlib.import_module("alignbench.objectives._log1mexp")
log1mexp, NEAREST = module.log1mexp, module.NEAREST


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_exact_from_the_tangent_to_the_underflow(dtype: torch.dtype) -> None:
    x = torch.tensor([-2e-6, -1e-3, -0.5, -0.69, -0.7, -3.0, -17.0, -60.0, -1e4], dtype=dtype, requires_grad=True)
    value = log1mexp(x)
    exact = [math.log(-math.expm1(v)) if v > -1 else math.log1p(-math.exp(v)) for v in x.tolist()]
    assert value.tolist() == pytest.approx(exact, rel=1e-6)
    value.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([math.exp(v) / math.expm1(v) for v in x.tolist()], rel=1e-6)


def test_log1mexp_goes_on_along_its_tangent() -> None:
    x = torch.tensor([-NEAREST / 2, 0.0, 1e-7], dtype=torch.float64, requires_grad=True)
    value = log1mexp(x)
    tangent = [math.log(NEAREST) - (v + NEAREST) / NEAREST for v in x.tolist()]
    assert value.tolist() == pytest.approx(tangent, abs=1e-6)
    value.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [-1 / NEAREST] * 3


@pytest.mark.parametrize("gap", [0.0, 5.0, 12.0, 16.0, 40.0, 1e4])
def test_an_unlikely_wish_is_finite_in_the_logits_even_where_the_token_is_certain(gap: float) -> None:
    """d -log(1 - p) / d logit = p: where p rounds to 1 a step may lose digits, but no sign, and it must not explode."""
    logits = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)
    held = Completions.of(logits.log_softmax(1)[:, :1], None, torch.ones(1, 1))
    loss = create("unlikelihood").loss(Labelled.of(held, torch.tensor([False]), torch.zeros(1)))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and logits.grad is not None
    p = math.exp(gap) / (math.exp(gap) + 2) if gap < 100 else 1.0
    tolerance = 1e-3 if gap <= 5 else 0.15
    if gap <= 12:
        assert logits.grad[0, 0].item() == pytest.approx(p, rel=tolerance)
    assert 0 <= logits.grad[0, 0] <= 1.15
