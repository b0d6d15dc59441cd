"""Batches with columns of padding that none of their rows needs: in a run, the rest of a batch may be longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..batch import Completions, Labelled, Pairs, Ranked, Scorer, Tokens
from ..completions import Shared

JUNK = 7.0  # what stands behind the mask where nobody has promised a zero


class Padded(Completions):
    """Completions whose tensors are `columns` wider than their longest row."""

    def __init__(
        self, shared: Shared, start: int, stop: int, given: dict[str, Tensor] | None = None, columns: int = 3
    ) -> None:
        super().__init__(shared, start, stop, given)
        self.columns = columns

    @cached_property
    def mask(self) -> Tensor:
        return pad(super().mask, (0, self.columns))

    def select(self, rows: Sequence[int]) -> Padded:
        narrow = super().select(rows)
        wide = {name: pad(tensor, (0, self.columns)) for name, tensor in narrow._given.items()}
        return Padded(narrow._shared, 0, len(narrow), wide, self.columns)

    def with_scores(self, **given: Tensor) -> Padded:
        return Padded(self._shared, self._start, self._stop, {**self._given, **given}, self.columns)

    def _padded(self, flat: Tensor, extra: int) -> Tensor:
        narrow = super()._padded(flat, extra)
        return pad(narrow, (0, 0) * (narrow.dim() - 2) + (0, self.columns))


@dataclass(frozen=True)
class _PaddedPairs(Pairs):
    def select(self, rows: Sequence[int]) -> Pairs:
        chosen, rejected = ([side.tokens[i] for i in rows] for side in (self.chosen, self.rejected))
        assert isinstance(self.rejected, Padded)
        fresh = padded_pairs(chosen, rejected, self.chosen.scorer, self.rejected.columns)
        return replace(fresh, extra=self._extra_of(rows))


def padded_pairs(chosen: Sequence[Tokens], rejected: Sequence[Tokens], scorer: Scorer, columns: int) -> Pairs:
    """Pairs of which the chosen side is wider by one column more than the rejected one."""
    shared, middle = Shared([*chosen, *rejected], scorer), len(chosen)
    sides = Padded(shared, 0, middle, None, columns + 1), Padded(shared, middle, 2 * middle, None, columns)
    return _PaddedPairs(*sides)


def widened(batch: Any, by: int = 3) -> Any:
    """A batch of plain tensors with `by` more columns behind the mask, full of junk; None for an unknown kind, and for
    a rollout: what stands behind the mask of its advantages is for the objective's own `batches` to say."""
    if any(tensor.dim() > 1 for tensor in getattr(batch, "extra", {}).values()):
        return None  # which of the tensors that an objective notes go by tokens, only it can tell
    if isinstance(batch, Pairs):
        return replace(batch, chosen=widened(batch.chosen, by + 1), rejected=widened(batch.rejected, by))
    if isinstance(batch, Labelled | Ranked):
        return replace(batch, completions=widened(batch.completions, by))
    if not isinstance(batch, Completions):
        return None
    given: dict[str, Any] = {name: _wide(tensor, by) for name, tensor in batch._given.items() if name != "mask"}
    given = {"ref_logps": None, **given, "mask": pad(batch.mask, (0, by))}
    return Completions.of(**given)


def _wide(tensor: Tensor | None, by: int) -> Tensor | None:
    return None if tensor is None else torch.nn.functional.pad(tensor, (0, by), value=JUNK)
