"""Tokens in, log-probabilities out: packing, prefix sharing, a chunked head, and the plain path beside them."""

from __future__ import annotations

from .forward import OwnForward, plain_forward, shared_forward
from .head import Head, chunked_collision, chunked_entropy, chunked_kl, chunked_logps, head_of
from .layout import packed_tokens
from .path import Path, path_from_config, probe
from .scorer import LanguageModel

__all__ = [
    "Head", "LanguageModel", "OwnForward", "Path", "chunked_collision", "chunked_entropy", "chunked_kl",
    "chunked_logps", "head_of", "packed_tokens", "path_from_config", "plain_forward", "probe", "shared_forward",
]  # fmt: skip
