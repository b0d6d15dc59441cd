"""Samples of one prompt, put into an order: by a reward model, or by a judge who compares two at a time."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path

from ..errors import InputError
from ..judge import Judge, JudgeContext, Usage, checked
from ..judges.reward import Reward
from ..plugins.code import blamed
from ..records import Comparison
from ..results import digest, read_json, write_json
from .comparing import Scored, different, mean_scores, ring, rivals
from .drawing import Drawing, Drawn, Watcher
from .judging import Judging
from .storing import stored, whole

ANSWERS = "answers.sqlite"


class Scoring:
    """Scores of the samples of a `Drawing`, block by block, each kept in a file as soon as it is there.

    Equal texts are judged once. A judge who compares is asked about every two of a prompt's k different samples, in
    both orders, k (k - 1) questions. Where that is more than `Judging.questions`, each is compared with the 2 r samples
    next to it in a ring, the r that go before and the r that come after: all take part in equally many comparisons,
    2 r k questions, with the largest r for all prompts that keeps within the limit.
    """

    def __init__(self, drawing: Drawing, judging: Judging, watcher: Watcher) -> None:
        self.drawing, self.judging, self.watcher = drawing, judging, watcher
        self.usage: Usage | None = None
        self.problems: list[str] = []
        self._done = 0.0  # of the blocks, before the one that is being judged

    def check(self) -> None:
        """Open the judge, before anything is sampled, to see that it can be asked. Raises `InputError`."""
        self._opened()
        if not self.judging.cls.remote:
            gc.collect()  # a judge with a model of its own is loaded again when the policy has left the memory

    def say_most(self) -> None:
        """Say how many questions there are at most: how many of the samples are alike is not known before."""
        if not self.judging.asks:
            return
        n, limit = self.drawing.sampling.n, self.judging.questions
        most = sum(map(len, self.drawing.blocks)) * n * (n - 1)
        bound = f", and --judge-questions keeps it to {limit}" if limit and limit < most else ""
        self.watcher.say(f"{self.judging.label} will be asked up to {most} questions, {n * (n - 1)} a prompt{bound}.")

    @cached_property
    def sizes(self) -> list[int]:
        """How many different samples each prompt has, of those with two at least."""
        drawn = (prompt for block in range(len(self.drawing.blocks)) for prompt in self.drawing.read(block))
        return [len(found) for found in map(different, drawn) if len(found) > 1]

    @cached_property
    def reach(self) -> int:
        """How far around the ring comparisons go, 0: every two are compared. Raises `InputError` where the limit is
        too small for any comparison."""
        most, limit = self.asked(0), self.judging.questions
        if not limit or most <= limit or self.judging.scores:
            return 0
        reach = 0
        while self.asked(reach + 1) <= limit:  # it ends: from some reach on these are all, which are over the limit
            reach += 1
        if not reach:
            raise InputError(
                f"--judge-questions {limit}: {len(self.sizes)} prompts need {self.asked(1)} questions at least, {most} "
                "for all comparisons; give as many, or a smaller --n or --limit."
            )
        return reach

    def asked(self, reach: int) -> int:
        """How many questions all comparisons within `reach` are, 0: all there are. Each of k samples has
        min(2 r, k - 1) rivals, and each comparison of two samples is two questions."""
        times = Counter(self.sizes).items()
        return sum(count * k * (min(2 * reach, k - 1) if reach else k - 1) for k, count in times)

    @property
    def missing(self) -> list[int]:
        """The blocks that have not been judged to the end."""
        return [i for i in range(len(self.drawing.blocks)) if not self._file(i).exists()]

    def fill(self) -> list[list[Scored]]:
        """Judge what is missing; the scores of all blocks.

        A block with unanswered questions is not kept: the next call asks it again, a server only what it has not
        answered. When a whole block goes unanswered the judge is not asked any more.
        """
        todo, found, count = set(self.missing), list[list[Scored]](), len(self.drawing.blocks)
        if todo and self.judging.asks:
            self._say_questions(len(todo))
        judge = None
        for block in range(count):
            if block not in todo:
                found.append(self._read(block))
                continue
            self._done = block / count
            self.watcher.show(self.judging.label, self._done, f"block {block + 1} of {count}")
            drawn = self.drawing.read(block)
            judge = judge or self._opened()
            with self._blame():
                scored = self._by_reward(judge, drawn) if isinstance(judge, Reward) else self._by_pairs(judge, drawn)
            found.append(scored)
            unanswered = sum(each.unanswered for each in scored)
            if not unanswered:
                with stored(f"--work {self.drawing.folder}"):
                    write_json(self._file(block), {"prompts": scored})
                continue
            self.problems = judge.problems() or ["it did not say why"]
            if unanswered == 2 * sum(1 for each in drawn for _ in self._pairs(each)):
                found += [self._unasked(i) for i in range(block + 1, count)]
                break
        self.usage = judge.usage() if judge is not None else None
        return found

    def _say_questions(self, todo: int) -> None:
        asked = self.asked(self.reach)
        less = f", each sample against {2 * self.reach} others" if self.reach else ""
        known = "" if todo == len(self.drawing.blocks) else f"; {todo} of {len(self.drawing.blocks)} blocks are left"
        self.watcher.say(f"{self.judging.label}: {asked} questions on {len(self.sizes)} prompts{less}{known}.")

    def _unasked(self, block: int) -> list[Scored]:
        """The scores of a block if there are any, though nothing is asked now."""
        if self._file(block).exists():
            return self._read(block)
        drawn = self.drawing.read(block)
        return [Scored((None,) * len(each.samples), unanswered=2 * len(list(self._pairs(each)))) for each in drawn]

    def _read(self, block: int) -> list[Scored]:
        with whole(self._file(block)) as file:
            return [Scored(**{**line, "scores": tuple(line["scores"])}) for line in read_json(file)["prompts"]]

    def _file(self, block: int) -> Path:
        key = digest(self.drawing.keys[block], self.judging.key, self.reach)
        return self.drawing.folder / "scores" / f"{key}.json"

    def _opened(self) -> Judge:
        judging = self.judging
        context = JudgeContext(
            gold=lambda prompts, completions: None,
            models={},
            device=judging.device,
            url=judging.url,
            answers=self.drawing.folder / ANSWERS,
            timeout=judging.timeout,
            concurrency=judging.concurrency,
            price=judging.price,
            report=self._heard,
        )
        with self._blame():
            judge: Judge = judging.cls.open(judging.argument, context)
            judge.check()
        return judge

    def _heard(self, fraction: float, text: str) -> None:
        self.watcher.show(self.judging.label, self._done + fraction / len(self.drawing.blocks), text)

    def _blame(self) -> AbstractContextManager[None]:
        """Whatever the code of a user's own judge raises is one sentence; a fault of ours is not."""
        file = self.judging.name.partition("::")[0]
        own = file.endswith(".py")
        return blamed(f"judge {self.judging.label} failed", str(Path(file).absolute())) if own else nullcontext()

    def _by_reward(self, judge: Reward, drawn: Sequence[Drawn]) -> list[Scored]:
        asked = [(each.item.prompt, each.samples[i]) for each in drawn for i in rivals(each)]
        rewards = iter(judge.score([prompt for prompt, _ in asked], [text for _, text in asked]) if asked else [])
        found = []
        for each in drawn:
            known = {each.samples[i].text.strip(): next(rewards) for i in rivals(each)}
            if not all(map(math.isfinite, known.values())):
                raise InputError(f"judge {self.judging.label} gives a reward that is not finite: use another model.")
            found.append(Scored(tuple(known.get(text.text.strip()) for text in each.samples)))
        return found

    def _by_pairs(self, judge: Judge, drawn: Sequence[Drawn]) -> list[Scored]:
        pairs = [list(self._pairs(each)) for each in drawn]
        items = [
            Comparison(each.item.prompt, each.samples[i], each.samples[j])
            for each, both in zip(drawn, pairs, strict=True)
            for i, j in both
        ]
        verdicts = iter(checked(judge.compare(self.judging.question, items), len(items), judge) if items else [])
        return [
            mean_scores(each, {pair: next(verdicts) for pair in both}) for each, both in zip(drawn, pairs, strict=True)
        ]

    def _pairs(self, drawn: Drawn) -> Iterator[tuple[int, int]]:
        """The places of the samples that are compared."""
        found = rivals(drawn)
        yield from ((found[i], found[j]) for i, j in ring(len(found), self.reach))
