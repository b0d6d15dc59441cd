"""log(1 - e^x)."""

from __future__ import annotations

import math

from torch import Tensor, relu, where

NEAREST = 1e-6  # nats; a float32 log-prob nearer to 0 than this is rounding


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x), exact to rounding for x <= -1e-6; above, where it goes to -infinity, the tangent at -1e-6.

    Of the two forms each is the accurate one on its side of -log 2 (M. Maechler, 'Accurately computing
    log(1 - exp(-|a|))', 2012). With the tangent the gradient at probability 1 is steep instead of infinite or nothing.
    """
    near = x.clamp(max=-NEAREST)
    steep = near > -math.log(2)
    # Each form sees only its own side: the gradient of the other would be 0 times infinity.
    small, large = where(steep, near, -1.0), where(steep, -1.0, near)
    return where(steep, (-small.expm1()).log(), (-large.exp()).log1p()) - relu(x + NEAREST) / NEAREST
