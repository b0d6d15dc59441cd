"""What a loss detaches, held constant: the gradient of such a loss is the derivative with those parts fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Constants(TorchFunctionMode):
    """Entered once, it keeps the numbers of every tensor that is detached or computed without gradient; `replayed`
    gives the same numbers again, in the same order, whatever the inputs have become."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Tensor] = []
        self._place: int | None = None
        self._given: list[Tensor] = []

    @contextmanager
    def replayed(self) -> Iterator[None]:
        self._place = 0
        try:
            with self:
                yield
        finally:
            self._place = None
            self._given.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        cut = func in (Tensor.detach, torch.detach) or not torch.is_grad_enabled()
        if cut and isinstance(result, tuple):  # of `max`, `split` and the like
            return type(result)([self._constant(part) for part in result])
        return self._constant(result) if cut else result

    def _constant(self, result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        if self._place is None:
            self._kept.append(result.detach().clone())  # a copy: arithmetic in place may change the tensor later
            return result
        self._place += 1
        known = self._kept[self._place - 1 : self._place]
        if not known:
            return result
        if any(result.untyped_storage().data_ptr() == made.untyped_storage().data_ptr() for made in self._given):
            # A view of a constant, or a constant changed in place: it must go on sharing its memory.
            if not torch.equal(result, known[0]):
                result.copy_(known[0])
            return result
        self._given.append(known[0].clone())
        return self._given[-1]
