"""A causal language model as a judge: it is asked the question and its answer tokens' probabilities are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..errors import InputError
from ..judge import ANSWERS, Judge, JudgeContext, comparison_prompt
from ..models import Policy, load_policy
from ..records import Comparison, Outcome, Verdict


@dataclass(frozen=True)
class LM(Judge):
    """Asks a causal language model which of two completions is better, in both orders.

    The answer is the likelier of the tokens A and B after the question (with and without a space before them, added
    up); an answer is unparsed where neither is among what the model would plausibly say (together under 1 %).
    """

    summary: ClassVar[str] = "a causal language model asked the question in both orders: the run's own, or lm:PATH"
    needs: ClassVar[frozenset[str]] = frozenset({"lm"})
    asks: ClassVar[bool] = True

    policy: Policy
    plausible: float = 0.01

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> LM:
        if not argument and "lm" not in context.models:
            raise InputError("judge lm: this benchmark trains no judge of its own; name a model, lm:PATH.")
        policy = load_policy(argument or context.models["lm"], context.device)
        _answer_ids(policy.tokenizer)
        return cls(policy)

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        texts = [comparison_prompt(question, i.prompt.text, i.first.text, i.second.text) for i in items]
        swapped = [comparison_prompt(question, i.prompt.text, i.second.text, i.first.text) for i in items]
        forward, backward = self._log_odds(texts), self._log_odds(swapped)
        return [
            Verdict(_outcome(a, "first", "second"), _outcome(b, "second", "first"), _margin(a, b))
            for a, b in zip(forward, backward, strict=True)
        ]

    @torch.no_grad()
    def _log_odds(self, texts: Sequence[str], max_tokens: int = 16384) -> list[float | None]:
        """log P(A) - log P(B) after each text, None where neither is plausible."""
        rows = [_encode(text, self.policy) for text in texts]
        sides = _answer_ids(self.policy.tokenizer)
        odds: list[float | None] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        while order:
            width = len(rows[order[-1]])
            size = max(1, min(len(order), max_tokens // width))
            part, order = order[-size:], order[:-size]
            ids = torch.tensor([rows[i] + [self.policy.end] * (width - len(rows[i])) for i in part])
            lengths = torch.tensor([len(rows[i]) for i in part])
            mask = (torch.arange(width)[None] < lengths[:, None]).long()
            trunk = getattr(self.policy.model, self.policy.model.base_model_prefix)
            device = self.policy.device
            states = trunk(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
            last = states[torch.arange(len(part)), lengths - 1]
            logps = self.policy.model.get_output_embeddings()(last).float().log_softmax(-1)
            a, b = (logps[:, side].logsumexp(-1) for side in sides)
            for i, first, second in zip(part, a.tolist(), b.tolist(), strict=True):
                enough = torch.tensor([first, second]).exp().sum() >= self.plausible
                odds[i] = first - second if enough else None
        return odds


def _answer_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The token ids that mean A, and those that mean B."""
    sides: list[list[int]] = []
    for answer in ANSWERS:
        encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (answer, f" {answer}")]
        ids = sorted({ids[-1] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id})
        if not ids:
            raise InputError(f"judge lm: {answer!r} is not one token of the model's tokenizer; use another model.")
        sides.append(ids)
    return sides[0], sides[1]


def _encode(text: str, policy: Policy) -> list[int]:
    """The question as the model wants to be asked: through its chat template where it has one."""
    tokenizer = policy.tokenizer
    if getattr(tokenizer, "chat_template", None):
        message = [{"role": "user", "content": text}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(text)["input_ids"]
    if len(ids) > policy.context:
        ids = ids[-policy.context :]
    return [int(i) for i in ids]


def _outcome(log_odds: float | None, a: Outcome, b: Outcome) -> Outcome:
    if log_odds is None:
        return "unparsed"
    return "tie" if log_odds == 0 else a if log_odds > 0 else b


def _margin(forward: float | None, backward: float | None) -> float | None:
    return None if forward is None or backward is None else (forward - backward) / 2
