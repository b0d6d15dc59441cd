"""A chat model behind an OpenAI-compatible server as a judge."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from ..answers import Answer, Answers, key_of
from ..errors import InputError
from ..judge import Judge, JudgeContext, Usage
from ..questions import VERSION, messages, parse
from ..records import Comparison, Completion, Message, Outcome, Prompt, Verdict
from ..results import digest

if TYPE_CHECKING:
    from ._asking import Asking

T = TypeVar("T")
SERVICE = "https://api.openai.com/v1"
# What is asked for; what the server does not take is left out, and its answers count the same.
SETTINGS = {"temperature": 0, "seed": 0, "top_logprobs": 20}


@dataclass(frozen=True)
class Question:
    """One order of a comparison as it is asked: `material` is the prompt, what is shown as A, and what as B."""

    key: str
    messages: tuple[Message, ...]
    material: tuple[str, str, str]


@dataclass
class OpenAI(Judge):
    """Asks a chat model which of two completions is better, in both orders, at temperature 0.

    The answer is read from the probabilities of the letters where the server gives them (see `log_odds`), else from the
    text (`questions.parse`). Every answer is kept as soon as it comes, and no question is asked twice: of several equal
    ones within a comparison, one is asked.

    A request that fails is repeated with growing pauses, or after the time that the server asks for: `attempts` times
    where the server failed; for as long as nobody has been answered for `patience` seconds where it cannot be reached
    or is too busy, so that it may be restarted. When that is over, or after `in_a_row` questions in a row that failed
    (two, if they have taken longer than the patience), no more are asked: they stay unanswered, and the next comparison
    begins with a single try.

    The key is read from OPENAI_API_KEY when it is sent, and kept nowhere.
    """

    summary: ClassVar[str] = "a model behind an OpenAI-compatible server, openai:MODEL, asked in both orders"
    asks: ClassVar[bool] = True
    remote: ClassVar[bool] = True

    model: str
    context: JudgeContext
    url: str
    attempts: int = 5
    patience: float = 120.0  # seconds
    pause: float = 0.5  # seconds before the second try; twice as long before each further one
    longest_pause: float = 30.0
    in_a_row: int = 10
    max_tokens: int = 256  # of an answer; a word would do, but some explain themselves
    reasoning_tokens: int = 8192  # of an answer, once the model has spent `max_tokens` on thinking

    _usage: Usage = field(default_factory=Usage, init=False, repr=False)
    _unanswered: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    _asking: Asking | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._answers = Answers(self.context.answers)

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> OpenAI:
        if not argument:
            raise InputError("judge openai: which model? Name it, as in openai:gpt-4o.")
        return cls(argument, context, address(context.url))

    @classmethod
    def identity(cls, argument: str, url: str) -> list[object]:
        """What its verdicts depend on besides its code and the benchmark's question. Raises `InputError`."""
        return [argument, address(url), SETTINGS, VERSION]

    def check(self) -> None:
        self._answers.check()
        asked = "Which number is larger?", Comparison(Prompt("Say a number."), Completion("2"), Completion("1"))
        failure = run(self._asker().probe(self._questions(*asked)[0]))
        if failure is not None:
            advice = {
                "unreachable": "start it, or check --judge-url",
                "busy": "wait, or use another model",
                "faulty": "check --judge-url (does it end in /v1?) and the server's log",
            }.get(failure.kind, "check OPENAI_API_KEY, the model's name and --judge-url")
            raise InputError(f"judge openai:{self.model}: the server at {self.url} {failure.reason}; {advice}.")

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        self._unanswered.clear()
        asked = [self._questions(question, item) for item in items]
        times = Counter(one.key for both in asked for one in both)
        unique = {one.key: one for both in asked for one in both}
        answers = self._answers.get(list(unique))
        todo = [one for key, one in unique.items() if key not in answers]
        self._usage.questions += 2 * len(items)
        self._usage.cached += 2 * len(items) - len(todo)
        if todo:
            answers |= run(self._asker().ask(todo, times, len(unique)))
        return [self._verdict(both, answers) for both in asked]

    def usage(self) -> Usage:
        if self.context.price is not None:
            read, written = self.context.price
            self._usage.cost = (read * self._usage.prompt_tokens + written * self._usage.completion_tokens) / 1e6
        return self._usage

    def problems(self) -> list[str]:
        return [
            f"judge openai:{self.model}: {count} question{'s' * (count > 1)} {reason}."
            for reason, count in self._unanswered.most_common()
        ]

    def unanswered(self, reason: str, count: int) -> None:
        """Note why questions stayed unanswered; reasons that differ in their figures alone are one."""

        def form(text: str) -> str:
            return re.sub(r"(?<![(\d])\d+", "N", text)

        known = [other for other in self._unanswered if form(other) == form(reason)]
        self._unanswered[known[0] if known else reason] += count

    def _asker(self) -> Asking:
        if self._asking is None:
            try:
                from ._asking import Asking
            except ModuleNotFoundError as error:
                raise InputError(f"judge openai needs the package {error.name}: pip install openai.") from None
            self._asking = Asking(self, self._answers, self._usage, self.url == SERVICE)
        return self._asking

    def _questions(self, question: str, item: Comparison) -> tuple[Question, Question]:
        """The two orders of a comparison."""
        prompt, first, second = item.prompt.text, item.first.text, item.second.text
        return self._question(question, prompt, first, second), self._question(question, prompt, second, first)

    def _question(self, question: str, prompt: str, a: str, b: str) -> Question:
        asked = messages(question, prompt, a, b)
        settings = {**SETTINGS, "max_tokens": self.max_tokens, "reasoning_tokens": self.reasoning_tokens}
        return Question(
            key_of(self.model, self.url, asked, settings, (digest(a), digest(b))), tuple(asked), (prompt, a, b)
        )

    def _verdict(self, both: tuple[Question, Question], answers: dict[str, Answer]) -> Verdict:
        forward, swapped = (answers.get(one.key) for one in both)
        odds = [answer.log_odds if answer else None for answer in (forward, swapped)]
        return Verdict(
            _outcome(both[0], forward, "first", "second"),
            _outcome(both[1], swapped, "second", "first"),
            None if odds[0] is None or odds[1] is None else (odds[0] - odds[1]) / 2,
        )


def _outcome(question: Question, answer: Answer | None, a: Outcome, b: Outcome) -> Outcome:
    if answer is None:
        return "unanswered"
    if answer.refused:
        return "refused"
    if answer.log_odds is not None:
        return "tie" if answer.log_odds == 0 else a if answer.log_odds > 0 else b
    choice = parse(answer.text, question.material, cut=answer.finish == "length")
    return a if choice == "A" else b if choice == "B" else choice


def address(url: str) -> str:
    """Where the server is, in one form: the URL given, else the environment's OPENAI_BASE_URL, else the service's own.

    Raises:
        InputError: it is no web address, or holds what may be secret.
    """
    url = url.strip() or os.environ.get("OPENAI_BASE_URL", "").strip() or SERVICE
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[\w.:%-]+", host):
        raise InputError("--judge-url is no web address: write it as http://127.0.0.1:8000/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError("--judge-url holds a user name, query or fragment: put the key into OPENAI_API_KEY instead.")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, in an event loop of its own; in a thread of its own where a loop is running already,
    as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
