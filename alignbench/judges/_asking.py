"""Many questions to one server: so many at once, repeated with patience, given up in time."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..answers import Answer, Answers
from ..judge import Usage
from ._reading import still_thinking
from ._server import Failure, Server, api_key, now

if TYPE_CHECKING:
    from .openai import OpenAI, Question


@dataclass(frozen=True)
class _Bounds:
    """How long a question is tried: times, and seconds without an answer to anybody for each of two kinds."""

    attempts: int
    busy: float
    unreachable: float


class _Stopped(Exception):  # noqa: N818
    """No more questions are asked."""


class Asking:
    """What a judge knows of its server from one comparison to the next, and how it asks.

    Until the server has answered a first question, one is asked at a time: what it does not take is found out once,
    and a server that is down is not hammered.
    """

    def __init__(self, judge: OpenAI, answers: Answers, usage: Usage, service: bool) -> None:
        self.judge, self.answers, self.usage = judge, answers, usage
        self.server = Server(judge.model, judge.url, service, judge.context.timeout)
        self.service = service
        self.thinks = False
        self.dead = False  # the last comparison ended with questions that were not asked
        self.failed_in_a_row = 0
        self.jitter = random.Random(os.getpid())  # processes that share a server should not all come back at once

    async def probe(self, question: Question) -> Failure | None:
        """Ask one question without the cache; why it has no answer."""
        self._begin(1, 1)
        async with self.server:
            try:
                await self._answered(question, _Bounds(2, self.judge.patience, 0))
            except Failure as failure:
                return failure
        return None

    async def ask(self, todo: Sequence[Question], times: Counter[str], of: int) -> dict[str, Answer]:
        """The answers to questions, by key, each stored when it came; `times` each one stands in the comparison."""
        api_key(self.service)  # not there: said before anything is asked
        self._begin(len(todo), of)
        queue, answers = deque(todo), dict[str, Answer]()

        async def work(alone: bool) -> None:
            while queue and not self.stop.is_set() and not (alone and self.server.settled):
                await self._one(queue.popleft(), times, answers)

        async with self.server:
            await work(alone=True)
            workers = [asyncio.create_task(work(alone=False)) for _ in range(max(1, self.judge.context.concurrency))]
            try:
                await asyncio.gather(*workers)
            finally:  # one that has failed (a full disk) leaves the others running
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if queue:
            self._not_asked(sum(times[question.key] for question in queue))
        return answers

    def _begin(self, todo: int, of: int) -> None:
        self.stop = asyncio.Event()
        self.why = ""
        # No request before the one; at the other somebody was answered last, or nobody had yet been asked.
        self.gate = self.heard = asyncio.get_running_loop().time()
        self.done, self.of = of - todo, of
        self.failed_in_a_row = 0
        if self.dead:
            self.server.settled = False

    async def _one(self, question: Question, times: Counter[str], answers: dict[str, Answer]) -> None:
        """One question's answer, stored, or its failure, noted."""
        judge, patience = self.judge, self.judge.patience
        bounds = _Bounds(1, 0, 0) if self.dead else _Bounds(judge.attempts, patience, patience)
        try:
            answer = await self._answered(question, bounds)
        except _Stopped:
            self._not_asked(times[question.key])
            return
        except Failure as failure:
            judge.unanswered(f"stayed unanswered: the server at {judge.url} {failure.reason}", times[question.key])
            if self._is_end(failure):
                self.dead, self.why = True, failure.reason
                self.stop.set()
        else:
            self.dead, self.failed_in_a_row = False, 0
            # Writing may have to wait for another process: requests that are under way must not wait with it.
            kept = await asyncio.to_thread(self.answers.put, question.key, judge.model, judge.url, answer)
            answers[question.key] = kept
        self.done += 1
        self._report("")

    def _is_end(self, failure: Failure) -> bool:
        """Whether a question's failure is the end of asking."""
        if failure.kind in ("unreachable", "busy"):
            return True
        # A server that has answered may deny one question alone, because of what it says.
        counts = failure.kind in ("faulty", "denied")
        self.failed_in_a_row = self.failed_in_a_row + 1 if counts else 0
        at_once = self.dead or (failure.kind == "denied" and not self.server.settled)
        # Of a server that takes every question and answers none, a few are enough: each has taken long.
        silent = asyncio.get_running_loop().time() - self.heard
        mute = self.failed_in_a_row > 1 and silent >= self.judge.patience
        return counts and (at_once or mute or self.failed_in_a_row >= self.judge.in_a_row)

    def _not_asked(self, count: int) -> None:
        self.judge.unanswered(f"stayed unasked: the server at {self.judge.url} {self.why}", count)

    async def _answered(self, question: Question, bounds: _Bounds) -> Answer:
        """The answer to one question, with all the tries it takes. Raises `Failure`, or `_Stopped`."""
        loop = asyncio.get_running_loop()
        failures, pauses, since = 0, 0, 0.0
        while True:
            while (left := self.gate - loop.time()) > 0:
                await self._sleep(left)
            try:
                answer = await self._said(question)
            except Failure as failure:
                if failure.message == "content_filter":
                    return Answer("", "content_filter", True, None, None, None, "", now())
                if self.server.adapt(failure):
                    self.usage.retries += 1
                    continue
                moment = loop.time()
                pauses += 1
                since = since or moment
                failures += failure.kind == "faulty"
                silent = moment - max(since, self.heard)
                if self._is_over(failure, failures, silent, bounds):
                    raise
                await self._pause(failure, pauses)
                self.usage.retries += 1
            else:
                self.heard = loop.time()
                return answer

    def _is_over(self, failure: Failure, failures: int, silent: float, bounds: _Bounds) -> bool:
        """Whether no other try is made after a failure."""
        if failure.kind == "faulty":
            return failures >= bounds.attempts
        if failure.kind in ("question", "denied"):
            return True
        patience = bounds.busy if failure.kind == "busy" else bounds.unreachable
        return silent >= patience or (failure.wait or 0.0) > patience

    async def _pause(self, failure: Failure, pauses: int) -> None:
        """Wait as the server asks, else twice as long as the last time; everybody waits where all are concerned."""
        backoff = min(self.judge.longest_pause, self.judge.pause * 2.0 ** min(pauses - 1, 30))
        wait = backoff if failure.wait is None else min(failure.wait, self.judge.patience)
        if failure.kind != "faulty":
            self._report(f", waiting: the server {failure.reason}")
            self.gate = max(self.gate, asyncio.get_running_loop().time() + wait)
        # A little more than asked, never less, and not everybody at the same moment.
        await self._sleep(wait * (1 + self.jitter.random() / 4))

    async def _sleep(self, seconds: float) -> None:
        """Raises `_Stopped` as soon as no more questions are asked."""
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return
        raise _Stopped

    async def _said(self, question: Question) -> Answer:
        """The server's answer, asked again with more room where a model is still thinking when its tokens are spent."""
        short, long = self.judge.max_tokens, self.judge.reasoning_tokens
        if not self.thinks:
            answer = await self._send(question, short)
            if not still_thinking(answer):
                return answer
            self.thinks = True
            self.usage.retries += 1
            try:
                return await self._send(question, long)
            except Failure as failure:
                if failure.kind != "question":  # that is: there is not so much room in the model's context
                    raise
                return answer
        return await self._send(question, long)

    async def _send(self, question: Question, max_tokens: int) -> Answer:
        answer = await self.server.send(question.messages, max_tokens)
        self.usage.prompt_tokens += answer.prompt_tokens or 0
        self.usage.completion_tokens += answer.completion_tokens or 0
        return answer

    def _report(self, more: str) -> None:
        text = f"openai:{self.judge.model}: {self.done} of {self.of} questions{more}"
        self.judge.context.report(self.done / self.of, text)
