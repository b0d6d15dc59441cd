"""What an OpenAI-compatible server has sent, read with suspicion: any part may be missing or of another type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..answers import Answer
from ..questions import bare, parse, spoken

FLOOR = math.log(1e-9)  # a log-prob below it says "never" (OpenAI writes -9999)


class Unreadable(Exception):  # noqa: N818
    """A body that holds no answer: an error that a server has sent as a success has its status, else it is 0."""

    def __init__(self, what: str, status: int = 0, body: object = None) -> None:
        super().__init__(what)
        self.status, self.body = status, body


def read(body: Any, time: str) -> Answer:
    """The answer in the body of a chat completion. Raises `Unreadable`."""
    if not isinstance(body, dict):
        raise Unreadable("answered with JSON that is no chat completion")
    error = body.get("error")
    if isinstance(error, dict) and not body.get("choices"):
        code = error.get("code")
        raise Unreadable("", code if isinstance(code, int) and 300 <= code < 600 else 500, body)
    choice = _first(body.get("choices"))
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Unreadable("answered with JSON that is no chat completion")
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    finish = choice.get("finish_reason")
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    assert isinstance(usage, dict)
    return Answer(
        text=text or refusal,
        finish=finish if isinstance(finish, str) else "",
        refused=finish == "content_filter" or bool(refusal and not text),
        log_odds=log_odds(text, choice.get("logprobs")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        served=body["model"] if isinstance(body.get("model"), str) else "",
        time=time,
    )


def still_thinking(answer: Answer) -> bool:
    """Whether a reasoning model ran out of tokens before it said anything."""
    return answer.finish == "length" and not spoken(answer.text)


def log_odds(text: str, logprobs: Any) -> float | None:
    """log P(A) - log P(B) at the token that is the verdict, or None.

    Only where the answer is a verdict and nothing else. The probabilities of a letter with and without a space, or in
    brackets, are added up. A letter that is not among the likeliest tokens has at most the probability of the least of
    those, and at most what all of them leave over: that bound is taken, so that the odds are never overstated.
    """
    side = parse(text) if bare(text) else "unparsed"
    if side not in ("A", "B") or not isinstance(logprobs, dict) or not isinstance(logprobs.get("content"), list):
        return None
    tokens = [token for token in logprobs["content"] if isinstance(token, dict)]
    words = [str(token.get("token", "")) for token in tokens]
    whole = [i for i, word in enumerate(words) if _letter(word) == side]  # the last: "A" of "Answer: A" may come before
    if not whole:
        return None
    top = tokens[whole[-1]].get("top_logprobs")
    pairs = [(str(t.get("token", "")), _logp(t.get("logprob"))) for t in top or [] if isinstance(t, dict)]
    given = [(_letter(word), logp) for word, logp in pairs if logp is not None]
    sides = {letter: [logp for other, logp in given if other == letter] for letter in "AB"}
    if not any(sides.values()):
        return None
    left = max(math.exp(FLOOR), 1 - sum(math.exp(logp) for _, logp in given))
    bound = min(math.log(left), *(logp for _, logp in given))
    a, b = (_log_sum(sides[letter]) if sides[letter] else max(FLOOR, bound) for letter in "AB")
    return a - b


def _first(choices: Any) -> dict[str, Any]:
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Unreadable("answered with JSON that is no chat completion")
    return choices[0]


def _text(content: Any) -> str:
    """A message's text; some servers send it in parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _count(value: Any) -> int | None:
    # SQLite holds 64 bits, and nobody is charged for more.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**60 else None


def _letter(token: str) -> str:
    """The letter that a token is, whatever stands around it."""
    bare_token = token.strip(" \t\n\r*_`\"'()[]{}.,:;!Ġ▁")
    return bare_token if bare_token in ("A", "B") else ""


def _logp(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    return float(min(0, max(FLOOR, value))) if number else None


def _log_sum(logps: Sequence[float]) -> float:
    highest = max(logps)
    return highest + math.log(sum(math.exp(logp - highest) for logp in logps))
