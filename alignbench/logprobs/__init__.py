"""Tokens in, log-probabilities out: packing, prefix sharing, a chunked head, and the plain path beside them."""

from __future__ import annotations

from .forward import PlainForward, SharedForward, packed_tokens
from .head import chunked_entropy, chunked_kl, chunked_logps
from .scorer import LanguageModel, Path, path_from_config, probe

__all__ = [
    "LanguageModel", "Path", "PlainForward", "SharedForward", "chunked_entropy", "chunked_kl", "chunked_logps",
    "packed_tokens", "path_from_config", "probe",
]  # fmt: skip
