"""Which way a model can be scored, decided from its configuration and then probed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batch import Tokens
from ..models import Policy
from .forward import FullForward, OwnForward, plain_forward, shared_forward
from .head import Head, head_of

PROBE_TOLERANCE = 1e-4  # nats; rounding of a float32 model stays two orders below it


@dataclass(frozen=True)
class Path:
    """How sequences are scored.

    `shared`: prompts once, packed; else each sequence by itself, and `why`. `tiles`: attention tile by tile; else rows
    under a mask, for models whose attention cannot be exchanged. `chunked`: our head in chunks; else the model's own,
    with all its logits. `alone`: plainly and not even in one batch with others.
    """

    shared: bool
    why: str = ""
    tiles: bool = True
    chunked: bool = True
    alone: bool = False

    def __str__(self) -> str:
        how = "shared" if self.shared else f"plain ({self.why})"
        how += ", rows under a mask" if self.shared and not self.tiles else ""
        return how + ("" if self.chunked else ", the model's own head")

    def score(self, policy: Policy, rows: Sequence[Tokens], head: Head | None) -> FullForward:
        """One pass over `rows` this way."""
        if not self.chunked or head is None:
            return OwnForward(policy, rows)
        if self.shared:
            return shared_forward(policy, rows, head, self.tiles)
        return plain_forward(policy, rows, head, self.alone)


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
        return Path(False, f"{kind} rotary positions beyond their original length", alone=True)
    return Path(True)


@torch.no_grad()
def probe(policy: Policy, rows: Sequence[Tokens], count: int = 4) -> Path:
    """Hold each path, fastest first, against the model's own plain pass on a few rows and on the longest.

    Each probed row is scored together with a second completion of its prompt (its own, without the last token), so
    that two completions share a prompt even where the data have only one. In float32 whatever the passes of the run
    compute in: the question is whether two ways of writing a model are the same one.
    """
    policy = Policy(policy.model, policy.tokenizer, adapter=policy.adapter)
    longest = max(rows, key=lambda row: len(row.prompt) + len(row.completion))
    chosen = [*rows[:count], longest]
    chosen += [Tokens(r.prompt, r.completion[:-1]) for r in chosen if len(r.completion) > 1]
    truth = torch.cat([_alone(policy, row) for row in chosen])
    head = head_of(policy.model)
    allowed = path_from_config(policy.model.config, len(longest.prompt) + len(longest.completion))
    why = "" if head is not None else "its head is more than a linear layer"
    if head is not None and allowed.shared:
        tried = (Path(True), Path(True, tiles=False))
        found = [_difference(policy, chosen, path, head, truth) for path in tried]
        right = next((path for path, said in zip(tried, found, strict=True) if not said), None)
        if right is not None:
            return right
        why = found[1]
    why = why or allowed.why
    plain = Path(False, why, alone=allowed.alone)
    if head is not None and not _difference(policy, chosen, plain, head, truth):
        return plain
    return Path(False, why, chunked=False)


def _alone(policy: Policy, row: Tokens) -> Tensor:
    """The model's own log-probs of one row, whatever it has read before."""
    policy.model(input_ids=torch.tensor([[policy.end]], device=policy.device), use_cache=False)
    return OwnForward(policy, [row]).logps


def _difference(policy: Policy, rows: Sequence[Tokens], path: Path, head: Head, truth: Tensor) -> str:
    """Why this path is not the plain one, or nothing."""
    try:
        worst = float((path.score(policy, rows, head).logps - truth).abs().max())
    except Exception as error:  # noqa: BLE001  a model that cannot take a mask or positions fails in its own way
        return f"the model refused the shared pass: {type(error).__name__}"
    return "" if worst <= PROBE_TOLERANCE else f"the shared pass differs by {worst:.2g} nats"
