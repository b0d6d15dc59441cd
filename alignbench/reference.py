"""Reference log-probabilities on disk: computed once, memory-mapped, shared by every objective and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .batch import Tokens
from .results import whole_folder

FILE = "logps.safetensors"


def _key(row: Tokens) -> int:
    text = ",".join(map(str, row.prompt)) + "|" + ",".join(map(str, row.completion))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def build_cache(folder: Path, rows: Sequence[Tokens], score: Callable[[Sequence[Tokens]], Tensor]) -> int:
    """Store `score(rows)` (`[sum T]` float32 nats) so that any of the rows can be looked up by its ids.

    Returns how many distinct sequences the model read for it.
    """
    distinct = list({_key(row): row for row in rows}.items())
    rows = [row for _, row in distinct]
    lengths = torch.tensor([0, *(len(row.completion) for row in rows)])
    tensors = {
        "logps": score(rows).float().cpu().contiguous(),
        "keys": torch.tensor([key for key, _ in distinct]),
        "offsets": lengths.cumsum(0),
    }
    with whole_folder(folder) as partial:
        save_file(tensors, partial / FILE)
    return len(rows)


class Reference:
    """Log-probs under the reference: from the cache where a row is in it, else from the live model.

    `live` is called only for rows that are not cached (samples of an online objective), so for offline objectives the
    reference model is never loaded. `forwards` counts the sequences that `live` has read.
    """

    def __init__(self, live: Callable[[Sequence[Tokens]], Tensor], cache: Path | None = None) -> None:
        self._live = live
        self.forwards = 0
        self._index: dict[int, tuple[int, int]] = {}
        if cache is not None:
            self._file = safe_open(cache / FILE, framework="pt")
            keys, offsets = self._file.get_tensor("keys").tolist(), self._file.get_tensor("offsets").tolist()
            self._index = {key: (offsets[i], offsets[i + 1]) for i, key in enumerate(keys)}
            self._logps = self._file.get_slice("logps")

    def logps(self, rows: Sequence[Tokens]) -> Tensor:
        """`[sum T]`, nats, no gradient."""
        found = [self._index.get(_key(row)) if self._index else None for row in rows]
        missing = [row for row, place in zip(rows, found, strict=True) if place is None]
        self.forwards += len(missing)
        if len(missing) == len(rows):
            return self._live(rows)
        fresh = iter(self._live(missing).split([len(row.completion) for row in missing]) if missing else ())
        parts = [next(fresh) if place is None else self._logps[place[0] : place[1]] for place in found]
        return torch.cat([part.cpu() for part in parts])
