"""What a loss detaches, held constant: the gradient of such a loss is the derivative with those parts fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Constants(TorchFunctionMode):
    """Entered once, it keeps every tensor that is detached or computed without gradient; `replayed` gives the same
    tensors again, in the same order, whatever the inputs have become."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Tensor] = []
        self._place: int | None = None

    @contextmanager
    def replayed(self) -> Iterator[None]:
        self._place = 0
        try:
            with self:
                yield
        finally:
            self._place = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        cut = func in (Tensor.detach, torch.detach) or not torch.is_grad_enabled()
        if not (cut and isinstance(result, Tensor)):
            return result
        if self._place is None:
            self._kept.append(result)
            return result
        self._place += 1
        known = self._kept[self._place - 1 : self._place]
        return known[0] if known else result
