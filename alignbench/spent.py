"""What a training has used: seconds by phase, sequences and tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

from .results import Json

Phase = Literal["train", "sample", "score", "evaluate"]
PHASES: tuple[Phase, ...] = ("train", "sample", "score", "evaluate")


@dataclass
class Spent:
    """What has been used so far; the loop adds the tokens it trains on.

    `tokens`: what a budget of tokens counts: drawn in rollouts, and read in any pass, with gradient or without, of the
    policy or of a reference that is not cached. `sampled_tokens`: those of them that were drawn. `policy_forwards`,
    `reference_forwards`: sequences that passes of the two models read, a sequence as often as it was read; sampling and
    look-ups in the reference's cache are no passes. `tokens_trained`: tokens read with gradient; `tokens_saved`: what
    passes of each sequence by itself would have read beyond those.

    The clock runs in one phase at a time: every second since `started` belongs to one phase, so that the phases add up
    to the time that has passed.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    completions: int = 0
    tokens: int = 0
    sampled_tokens: int = 0
    policy_forwards: int = 0
    reference_forwards: int = 0
    tokens_trained: int = 0
    tokens_saved: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self._phases: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self._phase: Phase = "train"  # everything in the loop that is not one of the others
        self._since = self.started

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count the time of the block to this phase and not to the one around it."""
        around = self._phase
        if name == around:
            yield
            return
        self._charge()
        self._phase = name
        try:
            yield
        finally:
            self._charge()
            self._phase = around

    @property
    def phases(self) -> dict[Phase, float]:
        """Seconds of each phase up to now."""
        self._charge()
        return dict(self._phases)

    @property
    def evaluating(self) -> float:
        """Seconds of the evaluations that are over: no part of a budget of seconds."""
        return self._phases["evaluate"]

    def cost(self) -> Json:
        """What results hold of it; `seconds` are those of all phases but the evaluation."""
        phases = self.phases
        names = ("completions", "tokens", "sampled_tokens", "policy_forwards", "reference_forwards")
        counts = {name: getattr(self, name) for name in (*names, "tokens_trained", "tokens_saved")}
        return {"seconds": sum(phases.values()) - phases["evaluate"], "phases": phases, **counts}

    def _charge(self) -> None:
        if self.device.type == "cuda":  # passes are queued there: what was asked for in a phase is done in it
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self._phases[self._phase] += now - self._since
        self._since = now
