"""Which path a model can take, decided from its configuration and then probed; and passes split to fit the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..batch import Forward, Tokens
from ..models import Policy
from .forward import FullForward, PlainForward, SharedForward, packed_tokens
from .head import chunked_kl

PROBE_TOLERANCE = 1e-4  # nats; rounding of a float32 model stays two orders below it


@dataclass(frozen=True)
class Path:
    """How sequences are scored: `shared` (prompts once, packed) or plainly one by one; `why` where it is plain."""

    shared: bool
    why: str = ""

    def __str__(self) -> str:
        return "shared" if self.shared else f"plain ({self.why})"


def path_from_config(config: object, longest: int) -> Path:
    """The path that the configuration allows for sequences of up to `longest` tokens.

    Under an explicit mask a sliding window is not applied, ALiBi counts distance along the row instead of by position,
    and dynamic or long rotary embeddings depend on the longest sequence in the batch.
    """

    def get(name: str) -> Any:
        return getattr(config, name, None)

    if get("alibi") or get("position_embedding_type") == "alibi" or get("model_type") in ("bloom", "mpt"):
        return Path(False, "ALiBi positions")
    window = get("sliding_window") if get("use_sliding_window") in (None, True) else None
    if window and longest > int(window):
        return Path(False, f"sequences of {longest} tokens pass the sliding window of {window}")
    rope = get("rope_scaling") or get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
    original = (rope.get("original_max_position_embeddings") if isinstance(rope, dict) else None) or get(
        "original_max_position_embeddings"
    )
    if kind in ("dynamic", "longrope") and longest > int(original or get("max_position_embeddings") or 0):
        return Path(False, f"{kind} rotary positions beyond their original length")
    # The probe would see this too, but only once the logits are large enough for it to matter.
    if get("final_logit_softcapping") or get("logit_scale") not in (None, 1) or get("logits_scaling") not in (None, 1):
        return Path(False, "the model changes its logits after the head")
    return Path(True)


@torch.no_grad()
def probe(policy: Policy, rows: Sequence[Tokens], count: int = 4) -> Path:
    """Hold the shared path against the plain one on a few rows and on the longest; the plain one is right.

    Each probed row is scored together with a second completion of its prompt (its own, without the last token), so
    that two completions share a prompt even where the data have only one.
    """
    longest = max(rows, key=lambda row: len(row.prompt) + len(row.completion))
    path = path_from_config(policy.model.config, len(longest.prompt) + len(longest.completion))
    if not path.shared:
        return path
    chosen = [*rows[:count], longest]
    chosen += [Tokens(r.prompt, r.completion[:-1]) for r in chosen if len(r.completion) > 1]
    plain = torch.cat([PlainForward(policy, [row]).logps for row in chosen])
    try:
        shared = SharedForward(policy, chosen).logps
    except Exception as error:  # noqa: BLE001  a model that cannot take a 4-D mask or positions fails in its own way
        return Path(False, f"the model refused the shared pass: {type(error).__name__}")
    worst = float((plain - shared).abs().max())
    if not worst <= PROBE_TOLERANCE:
        return Path(False, f"the shared pass differs by {worst:.2g} nats")
    return path


class LanguageModel:
    """Scores completions under one causal language model; what the engine and the evaluation both call."""

    def __init__(self, policy: Policy, path: Path, max_tokens: int = 8192) -> None:
        self.policy = policy
        self.path = path
        self.max_tokens = max_tokens

    @property
    def device(self) -> torch.device:
        return self.policy.device

    def forward(self, rows: Sequence[Tokens]) -> Forward:
        """One pass with gradient; without gradient, as many as keep each under `max_tokens`."""
        if torch.is_grad_enabled():
            return self._pass(rows)
        parts = [self._pass(part) for part in self.packs(rows)]
        return parts[0] if len(parts) == 1 else _Joined(parts)

    def kl(self, reference: LanguageModel, rows: Sequence[Tokens]) -> Tensor:
        """KL(self || reference) over the whole vocabulary before each completion token, `[sum T]`, nats."""
        with torch.no_grad():
            return torch.cat([chunked_kl(self._pass(part), reference._pass(part)) for part in self.packs(rows)])

    def packs(self, rows: Sequence[Tokens]) -> list[Sequence[Tokens]]:
        """Consecutive parts of `rows`, each of at most `max_tokens` tokens (or a single row)."""
        parts: list[Sequence[Tokens]] = []
        start = total = 0
        for stop, row in enumerate(rows):
            size = len(row.prompt) + len(row.completion)
            if stop > start and total + size > self.max_tokens:
                parts.append(rows[start:stop])
                start, total = stop, 0
            total += size
        return [*parts, rows[start:]]

    def tokens(self, rows: Sequence[Tokens]) -> int:
        """Tokens that a pass over `rows` really reads."""
        return packed_tokens(rows) if self.path.shared else sum(len(r.prompt) + len(r.completion) for r in rows)

    def _pass(self, rows: Sequence[Tokens]) -> FullForward:
        return SharedForward(self.policy, rows) if self.path.shared else PlainForward(self.policy, rows)


class _Joined:
    """Several passes without gradient, read as one."""

    def __init__(self, parts: Sequence[FullForward]) -> None:
        self._parts = parts

    @cached_property
    def logps(self) -> Tensor:
        return torch.cat([part.logps for part in self._parts])

    @cached_property
    def states(self) -> Tensor:
        return torch.cat([part.states for part in self._parts])

    @cached_property
    def entropy(self) -> Tensor:
        return torch.cat([part.entropy for part in self._parts])
