"""A policy in memory as lm-eval's `HFLM`. Importing this module imports lm-eval, which takes seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from ..decoding import float32_logits
from ..encoding import Encoder
from ..errors import InputError
from ..logprobs import path_from_config
from ..models import Policy
from .harness import Report

_LARGEST_BATCH = 64
_NO_LIMIT = 2**20  # `Policy.context` of a model that names none


class PolicyLM(HFLM):  # type: ignore[misc]
    """`HFLM` on a policy and a copy of its tokenizer (lm-eval sets `pad_token`), to be made and used `undisturbed`.

    What differs from HFLM:

    - begin and end tokens are set as in training, each exactly once. HFLM scores a second begin token in
      `loglikelihood_rolling`, and reads on behind an end token that some tokenizers add;
    - passes are those of `Policy.computing()`, logits and log-softmax in float32, as everywhere else here;
    - generation stops at the policy's own end tokens: a policy has no generation settings of its own;
    - sequences of like length run together, as many as fit (`tokens_at_once`).

    `cut` counts the requests that were longer than the context and lost their beginning.
    """

    def __init__(self, policy: Policy, report: Report = lambda fraction, text: None) -> None:
        if Encoder(policy.tokenizer).fixed_length:
            raise InputError("--lm-eval: the model reads symbols of a closed world and no text; leave the option out.")
        self.policy, self.report = policy, report
        self.cut, self._done, self._total = 0, 0, 1
        super().__init__(
            pretrained=policy.model,
            tokenizer=deepcopy(policy.tokenizer),
            max_length=policy.context if policy.context < _NO_LIMIT else None,
            # Its own autocast, around generation, would switch ours off.
            mixed_precision_dtype=None if policy.dtype == torch.float32 else policy.dtype,
        )
        self._encoder, self._begins = Encoder(self.tokenizer), True
        self._room = tokens_at_once(policy)
        self._most = 1 if path_from_config(policy.model.config, self.max_length).alone else _LARGEST_BATCH

    # texts

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **_: Any
    ) -> list[int]:
        begins = self._begins if add_special_tokens is None else add_special_tokens
        (ids,) = self._encoder.prompt_ids([string]) if begins else self._encoder.ids([string])
        return list(ids[-left_truncate_len:] if left_truncate_len else ids)

    def tok_batch_encode(
        self,
        strings: Sequence[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        whole = [self.tok_encode(text) for text in strings]
        rows = [ids[-left_truncate_len:] if left_truncate_len else ids for ids in whole]
        self.cut += sum(len(kept) < len(ids) for kept, ids in zip(rows, whole, strict=True))
        padded = self.tokenizer.pad({"input_ids": rows}, padding_side=padding_side, return_tensors="pt")
        return padded["input_ids"], padded["attention_mask"]

    # requests

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._expect(len(requests))
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self._count(self._total)  # those that ask for one token each behind the same text shared a row
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        self._expect(len(requests))
        self.batch_size_per_gpu = self._fitting(self.max_length)
        self._begins = False  # each window brings the token that it begins with
        try:
            found: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=True)
        finally:
            self._begins = True
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        self._expect(len(requests))
        self.batch_size_per_gpu = self._fitting(self.max_length)
        found: list[str] = super().generate_until(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        parts: dict[int, list[int]] = defaultdict(list)
        for i, (_, context, continuation) in enumerate(requests):
            length = len(context) + len(continuation)
            self.cut += length > self.max_length + 1
            parts[min(length, self.max_length).bit_length()].append(i)
        found: dict[int, tuple[float, bool]] = {}
        for bits, members in sorted(parts.items(), reverse=True):  # the longest first: too little memory shows at once
            self.batch_size_per_gpu = self._fitting(1 << bits)
            answers = super()._loglikelihood_tokens([requests[i] for i in members], disable_tqdm=True)
            found.update(zip(members, answers, strict=True))
        return [found[i] for i in range(len(requests))]

    # passes

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        # Padding is on the right, where no causal model looks: there is no mask.
        with self._computing():
            logits: Tensor = self.policy.model(input_ids=inps, use_cache=False).logits
        self._count(len(inps))
        return logits.float()

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **settings: Any) -> Tensor:
        ends = list(self.policy.ends)
        with self._computing():
            ids: Tensor = super()._model_generate(context, max_length, stop, eos_token_id=ends, **settings)
        self._count(len(context))
        return ids

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.no_grad(), self.policy.computing(), float32_logits(self.policy.model, self.policy.dtype):
            yield

    def _fitting(self, length: int) -> int:
        return max(1, min(self._most, self._room // length))

    def _expect(self, requests: int) -> None:
        self._done, self._total = 0, max(1, requests)

    def _count(self, rows: int) -> None:
        self._done = min(self._total, self._done + rows)
        self.report(self._done / self._total, f"{self._done} of {self._total}")


def tokens_at_once(policy: Policy) -> int:
    """How many tokens a pass may have, padding included.

    A token costs three rows of logits in float32 (as the model gives them, copied to float32, their log-softmax) and in
    the layer at work some forty numbers for each number of its state. All of them may take 1 GB on a CPU and a quarter
    of a GPU's free memory; beyond 16,384 tokens a pass gains nothing.
    """
    bytes_each = 12 * policy.model.get_output_embeddings().weight.shape[0] + 160 * policy.hidden_size
    free = torch.cuda.mem_get_info(policy.device)[0] // 4 if policy.device.type == "cuda" else 10**9
    return max(1, min(16384, int(free // bytes_each)))
