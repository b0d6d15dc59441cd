"""A causal language model as a judge: it is asked the question and its answer tokens' probabilities are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch

from ..encoding import Encoder
from ..errors import InputError
from ..judge import ANSWERS, Judge, JudgeContext, comparison_prompt
from ..models import Policy, load_policy
from ..questions import VERSION, messages
from ..records import Comparison, Outcome, Prompt, Verdict

LOGITS = 2**27  # elements: 512 MiB in float32
PLACE = "THE-QUESTION-STANDS-HERE"


@dataclass(frozen=True)
class LM(Judge):
    """Asks a causal language model which of two completions is better, in both orders.

    The answer is the likelier of the tokens A and B after the question (with and without a space before them, added
    up); an answer is unparsed where neither is among what the model would plausibly say (together under 1 %). A prompt
    that is too long for the model loses its beginning, the same in both orders; two completions that are too long by
    themselves are unparsed.

    The run's own model reads `comparison_prompt`, which it was trained on. A model that the user names reads
    instructions: it is asked the `fenced` question of `questions.messages`, in its chat template where it has one.
    """

    summary: ClassVar[str] = "a causal language model asked the question in both orders: the run's own, or lm:PATH"
    needs: ClassVar[frozenset[str]] = frozenset({"lm"})
    asks: ClassVar[bool] = True

    policy: Policy
    plausible: float = 0.01
    fenced: bool = False

    @classmethod
    def identity(cls, argument: str, url: str) -> list[object]:
        """The version of the fenced question, which a model of the user's is asked."""
        return [VERSION] if argument else []

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> LM:
        if not argument and "lm" not in context.models:
            raise InputError("judge lm: this benchmark trains no judge of its own; name a model, lm:PATH.")
        judge = cls(load_policy(argument or context.models["lm"], context.device), fenced=bool(argument))
        if judge._encoder.fixed_length:
            raise InputError("judge lm: the model reads symbols of a closed world and no questions; use another model.")
        _ = judge._answers, judge._form  # what is wrong with the model shows now, not after the training
        return judge

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        asked = [self._asked(question, item) for item in items]
        odds = iter(self._log_odds([row for rows in asked for row in rows]))
        both = [(next(odds), next(odds)) if rows else (None, None) for rows in asked]
        return [Verdict(_outcome(a, "first", "second"), _outcome(b, "second", "first"), _margin(a, b)) for a, b in both]

    def _asked(self, question: str, item: Comparison) -> list[list[int]]:
        """The ids of the question in both orders; nothing where the completions alone are too long."""
        prompt, first, second = item.prompt.text, item.first.text, item.second.text
        while True:
            orders = ((first, second), (second, first))
            rows = [self._ids(*self._texts(question, prompt, a, b)) for a, b in orders]
            longest = max(map(len, rows))
            if longest <= self.policy.context:
                return rows
            if not prompt:
                return []
            prompt = prompt[1 + len(prompt) * (longest - self.policy.context) // longest :]

    @torch.no_grad()
    def _log_odds(self, rows: Sequence[Sequence[int]], max_tokens: int = 16384) -> list[float | None]:
        """log P(A) - log P(B) after each row, None where neither is plausible."""
        odds: list[float | None] = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        most = math.isqrt(LOGITS // self.policy.model.get_output_embeddings().weight.shape[0])
        while order:
            size = max(1, min(len(order), most, max_tokens // len(rows[order[-1]])))
            part, order = order[-size:], order[:-size]
            logps = self._after([rows[i] for i in part]).log_softmax(-1)
            a, b = (logps[:, side].logsumexp(-1).tolist() for side in self._answers)
            for i, first, second in zip(part, a, b, strict=True):
                enough = torch.tensor([first, second]).exp().sum() >= self.plausible
                odds[i] = first - second if enough else None
        return odds

    def _after(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The logits after each row, `[B, V]` float32, through the model's own head: some scale or cap theirs.

        They are made at every place where some row ends, `[B, B, V]` at most.
        """
        device, width = self.policy.device, max(map(len, rows))
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.tensor([[*row, *[self.policy.end] * (width - len(row))] for row in rows])
        mask = (torch.arange(width)[None] < lengths[:, None]).long()
        ends = (lengths - 1).unique()
        logits = self.policy.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, logits_to_keep=ends.to(device)
        ).logits.float()
        return logits[torch.arange(len(rows)), torch.searchsorted(ends, lengths - 1)]  # type: ignore[no-any-return]

    def _texts(self, question: str, prompt: str, a: str, b: str) -> list[str]:
        """What the model is told, a text for each message of `_form`."""
        if not self.fenced:
            return [comparison_prompt(question, prompt, a, b)]
        contents = [message["content"] for message in messages(question, prompt, a, b, ties=False)]
        return contents if len(self._form) > len(contents) else ["\n\n".join(contents)]

    def _ids(self, *texts: str) -> list[int]:
        """The ids of texts as the model wants to be asked: begun as usual, in its chat template where it has one.

        A text is only text: an end token that is written out in a completion ends nothing.
        """
        encoder, (before, *after) = self._encoder, self._form
        if any(self._form) and not any(token in text for token in self._special for text in texts):
            whole = before + "".join(text + then for text, then in zip(texts, after, strict=True))
            return list(encoder.prompt_ids([whole])[0])
        ids: list[int | None] = [*encoder.prompt_ids([before])[0]]
        for text, then in zip(texts, after, strict=True):
            ids += [*self._plain(text), *encoder.ids([then])[0]]
        return [i for i in ids if i is not None]

    def _plain(self, text: str) -> list[int | None]:
        encoded = self.policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        # What is left is a word that a tokenizer of words knows by no other id.
        unknown = self.policy.tokenizer.unk_token_id
        return [unknown if i in self._special.values() else int(i) for i in encoded["input_ids"]]

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.policy.tokenizer)

    @cached_property
    def _special(self) -> dict[str, int]:
        """Tokens that mean something, by how they are written."""
        added = self.policy.tokenizer.added_tokens_decoder
        return {token.content: number for number, token in added.items() if token.special}

    @cached_property
    def _answers(self) -> tuple[list[int], list[int]]:
        """The token ids that mean A, and those that mean B."""
        return _answer_ids(self.policy.tokenizer)

    @cached_property
    def _form(self) -> list[str]:
        """What is written before, between and after the texts of the messages: a system's and a user's, or only a
        user's where the chat template knows no other. Without a template there is one text and hardly a form."""
        if not self.policy.tokenizer.chat_template:
            return ["", "\nAnswer :" if self.fenced else ""]
        from jinja2.exceptions import TemplateError

        both, reason = ("system", "user"), ""
        for roles in (both, both[1:]) if self.fenced else (both[1:],):
            try:
                rendered = self._encoder.render_prompt(Prompt(PLACE, tuple((role, PLACE) for role in roles)))
            except TemplateError as error:
                reason = f"refuses a question ({error})"
                continue
            parts = rendered.split(PLACE, maxsplit=len(roles))
            if len(parts) > len(roles):
                return parts
            reason = "leaves the user's message out"
        raise InputError(f"judge lm: the model's chat template {reason}; use another model.")


def _answer_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    sides: list[list[int]] = []
    for answer in ANSWERS:
        encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (answer, f" {answer}")]
        ids = sorted({ids[-1] for ids in encoded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id})
        if not ids:
            raise InputError(f"judge lm: {answer!r} is not one token of the model's tokenizer; use another model.")
        sides.append(ids)
    return sides[0], sides[1]


def _outcome(log_odds: float | None, a: Outcome, b: Outcome) -> Outcome:
    if log_odds is None:
        return "unparsed"
    return "tie" if log_odds == 0 else a if log_odds > 0 else b


def _margin(forward: float | None, backward: float | None) -> float | None:
    return None if forward is None or backward is None else (forward - backward) / 2
