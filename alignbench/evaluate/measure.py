"""What is measured on a policy's own samples: KL to the reference, rewards, lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..batch import Tokens
from ..logprobs import LanguageModel
from ..models import RewardModel
from ..records import Completion, Prompt
from ..sampling import sample

Gold = Callable[[Sequence[Prompt], Sequence[Completion]], list[float] | None]


@dataclass(frozen=True)
class Measures:
    """One value a prompt each.

    `kl`: nats a completion, the KL to the reference over the whole vocabulary at each sampled prefix, summed over
    tokens; its mean over samples is the KL of the two sequence distributions, without bias and never negative
    (Rao-Blackwellised). `k1`: log pi(y|x) - log pi_ref(y|x), the plain estimate of the same, as a cross-check.
    `reward`, `proxy_reward`: of the gold reward and of the judge's reward model, or None.
    """

    completions: list[Completion]
    length: list[int]
    kl: list[float]
    k1: list[float]
    reward: list[float] | None
    proxy_reward: list[float] | None

    def means(self) -> dict[str, float | None]:
        """The mean of each over the prompts, and their number: a point of the curve of reward against KL."""
        n = len(self.length)
        values = {"kl": self.kl, "k1": self.k1, "reward": self.reward, "proxy_reward": self.proxy_reward}
        shown: dict[str, float | None] = {k: None if v is None else sum(v) / n for k, v in values.items()}
        return {**shown, "length": sum(self.length) / n, "n": n}


def measure(
    model: LanguageModel,
    reference: LanguageModel,
    prompts: Sequence[Prompt],
    tokens: Sequence[Tokens],
    seed: int,
    max_new_tokens: int,
    gold: Gold,
    proxy: RewardModel | None,
) -> Measures:
    """Draw one completion of each prompt at temperature 1 and measure it."""
    rows = sample(model.policy, tokens, seed, max_new_tokens)
    lengths = [len(row.completion) for row in rows]
    divergence, own, theirs = model.divergence(reference, rows)
    kl, ratio = divergence.split(lengths), (own - theirs).split(lengths)
    completions = [decode(model.policy.tokenizer, row) for row in rows]
    return Measures(
        completions,
        lengths,
        [float(part.sum()) for part in kl],
        [float(part.sum()) for part in ratio],
        gold(prompts, completions),
        proxy.score([row.prompt + row.completion for row in rows]).tolist() if proxy is not None else None,
    )


def decode(tokenizer: Any, row: Tokens) -> Completion:
    """The text of a sampled completion, special tokens left out."""
    text = tokenizer.decode(row.completion, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Completion(text, row.ended)
