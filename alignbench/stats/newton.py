"""Newton's method for many small fits at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .estimates import Floats


def newton(step: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Where the Newton steps `step(x) [R, K]` from `start [R, K]` come to rest, all R fits in one go; x is in logits.

    Raises ArithmeticError after 100 steps, which a strictly concave likelihood does not take.
    """
    found = start.copy()
    for _ in range(100):
        move = step(found)
        largest = np.abs(move).max(axis=1, keepdims=True)
        # Far from the solution a full step can overshoot into the flat parts of the curve; two logits cannot.
        found += move * np.minimum(1, 2 / np.maximum(largest, 2))
        if largest.max() < 1e-6:  # the error left is of the order of its square
            return found
    raise ArithmeticError("the fit did not converge in 100 steps")
