"""Prompts in, completions out, drawn from the very distribution that is scored."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .batch import Tokens
from .models import Policy


@torch.no_grad()
def sample(
    policy: Policy,
    prompts: Sequence[Tokens],
    seed: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 256,
) -> list[Tokens]:
    """One completion of each prompt, its end token included where it ended; temperature 0 takes the likeliest token.

    Every setting of `generate` that would change the distribution is given explicitly: transformers cuts to the 50
    likeliest tokens although its configuration prints None, and folders bring sampling defaults of their own. The
    global generator is left as it was.
    """
    from transformers import GenerationConfig

    tokenizer = policy.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else policy.end
    config = GenerationConfig(
        do_sample=temperature > 0,
        temperature=temperature if temperature > 0 else None,
        top_k=0 if temperature > 0 else None,
        top_p=1.0 if temperature > 0 else None,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(policy.ends),
        pad_token_id=pad,
        bos_token_id=tokenizer.bos_token_id,
        use_cache=True,
    )
    drawn: list[Tokens] = []
    cuda = [policy.device.index or 0] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            part = prompts[start : start + batch_size]
            width = max(len(row.prompt) for row in part)
            # Left-padded, so that every prompt ends where generation begins.
            ids = torch.tensor([[pad] * (width - len(r.prompt)) + list(r.prompt) for r in part], device=policy.device)
            lengths = torch.tensor([len(r.prompt) for r in part], device=policy.device)
            mask = (torch.arange(width, device=policy.device)[None] >= width - lengths[:, None]).long()
            output = policy.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            drawn += [_cut(row, new, policy.ends) for row, new in zip(part, output[:, width:].tolist(), strict=True)]
    return drawn


def _cut(row: Tokens, new: list[int], ends: tuple[int, ...]) -> Tokens:
    """The completion up to its first end token; whatever `generate` put after it is padding."""
    last = next((place for place, token in enumerate(new) if token in ends), None)
    completion = new if last is None else new[: last + 1]
    return Tokens(row.prompt, tuple(completion), row.prompt_id, last is not None)
