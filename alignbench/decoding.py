"""Sequences that a causal language model continues a token at a time, and that leave when they have finished."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOM = 64  # tokens that a cache has room for before all of it is copied


@contextmanager
def float32_logits(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Within it the head's sums are float32 although the model is run in `dtype`, as they are where samples are scored.

    Autocast would round each logit to `dtype`: in bf16, an error of 0.01 nats in a log-probability. A head that is more
    than a linear layer is left alone, as it is in scoring.
    """
    layer = model.get_output_embeddings()
    if dtype == torch.float32 or type(layer) is not nn.Linear:
        yield
        return
    device = layer.weight.device.type
    kind = dtype if device == "cuda" else torch.float32  # on a CPU, products in float32 cost no more
    weight = layer.weight.detach().to(kind).T

    def product(states: Tensor) -> Tensor:
        flat = states.flatten(0, -2).to(kind)
        with torch.autocast(device, enabled=False):
            logits: Tensor = flat @ weight if kind == torch.float32 else torch.mm(flat, weight, out_dtype=torch.float32)
        if layer.bias is not None:
            logits += layer.bias
        return logits.view(*states.shape[:-1], -1)

    vars(layer)["forward"] = product
    try:
        yield
    finally:
        del vars(layer)["forward"]


class Growing:
    """Sequences that grow by a token a step, left-padded, so that all of them grow at the same end."""

    logits: Tensor  # [B, V], of the token that comes next

    def __init__(self, model: Any, prompts: list[tuple[int, ...]], steps: int, pad: int) -> None:
        """Read the prompts, equal ones once; they may grow by `steps` tokens. What `pad` is does not matter."""
        self._model = model
        self._takes = inspect.signature(model.forward).parameters
        device = next(model.parameters()).device
        distinct = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        self._width = max(len(prompt) for prompt in distinct)
        rows = [[pad] * (self._width - len(prompt)) + list(prompt) for prompt in distinct]
        self._ids = F.pad(torch.tensor(rows, device=device), (0, steps))
        lengths = torch.tensor([len(prompt) for prompt in distinct], device=device)
        positions = torch.arange(-self._width, steps, device=device) + lengths[:, None]
        self._positions = positions.clamp(min=0)
        # Where nothing is padded no mask is given, and models take the faster way without one.
        self._mask = (positions >= 0).long() if any(len(prompt) < self._width for prompt in distinct) else None
        self._cache = _usable(self._run(0, use_cache=True), room=steps > ROOM)
        if len(distinct) < len(prompts):
            repeats = torch.tensor([distinct[prompt] for prompt in prompts], device=device)
            self.select(repeats)
            self.logits = self.logits[repeats]

    def _run(self, start: int, **given: Any) -> Any:
        """Run the ids from `start` on, fill `logits`, and give the cache, if any."""
        if "position_ids" in self._takes:
            given["position_ids"] = self._positions[:, start : self._width]
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        if self._mask is not None:
            given["attention_mask"] = self._mask[:, : self._width]
        output = self._model(input_ids=self._ids[:, start : self._width], **given)
        self.logits = output.logits[:, -1]
        return getattr(output, "past_key_values", None)

    def append(self, tokens: Tensor) -> None:
        self._ids[:, self._width] = tokens
        self._width += 1
        if self._cache is None:
            self._run(0, use_cache=False)
        else:
            self._run(self._width - 1, use_cache=True, past_key_values=self._cache)

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, which may be repeated; `logits` stay those of the last step."""
        self._ids, self._positions = self._ids[rows], self._positions[rows]
        self._mask = None if self._mask is None else self._mask[rows]
        if self._cache is not None:
            self._cache.reorder_cache(rows)


def _usable(cache: Any, room: bool) -> Any:
    """The cache, with room to grow if asked, or None unless all its layers are of transformers' own common kinds.

    A kind that one model brings may hold states that it does not select: MiniMax's does, and is wrong under left
    padding, too. The whole sequences are run at each step instead, which is slow and right.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class Roomy(DynamicLayer):
        """Writes one token a step, where `DynamicLayer` copies all of them."""

        keys: Any
        values: Any

        def __init__(self, keys: Tensor, values: Tensor) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.lazy_initialization(keys, values)
            self._hold(keys, values)

        def _hold(self, keys: Tensor, values: Tensor) -> None:
            self._room = [F.pad(each, (0, 0, 0, ROOM)) for each in (keys, values)]
            self.keys, self.values = keys, values

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
            if end > self._room[0].shape[2]:
                self._hold(self.keys, self.values)
            for room, new in zip(self._room, (key_states, value_states), strict=True):
                room[:, :, start:end] = new
            self.keys, self.values = (room[:, :, :end] for room in self._room)
            return self.keys, self.values

        def reorder_cache(self, beam_idx: Tensor) -> None:
            self._hold(self.keys.index_select(0, beam_idx), self.values.index_select(0, beam_idx))

    common = DynamicCache.__module__
    if type(cache) is not DynamicCache or any(type(layer).__module__ != common for layer in cache.layers):
        return None
    for place, layer in enumerate(cache.layers):
        if room and type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
            cache.layers[place] = Roomy(layer.keys, layer.values)
    return cache
