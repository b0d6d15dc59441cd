"""Benchmark `tldr`: summarisation of the DPO paper."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from alignbench import Count, Demonstration, InputError, LabelledCompletion, Prompt, Split
from alignbench.data import describe_skipped, distinct_prompts

from ._layouts import HELD_OUT, Part, find_parts, read_rows
from ._paper import PaperTask, Source
from ._tldr_rows import articles_of, pairs_of, shown_of, votes_of

COMPARISONS, POSTS = "openai/summarize_from_feedback", "CarperAI/openai_summarize_tldr"
QUESTIONS = {
    "concise": "Which summary of the text is better: it says the most important points and leaves out what is "
    "unimportant, so that it is both precise and short?",
    "simple": "Which summary of the text is better: it says the most important points of it?",
}


@dataclass(frozen=True)
class TLDR(PaperTask):
    """Summaries of Reddit posts with people's preferences, as in the DPO paper; nobody knows a true reward.

    `source` holds the comparisons: the hub id (of which the export to parquet is read, subset `comparisons`), a local
    folder with the same files or one file, or a set of prompt/chosen/rejected such as
    CarperAI/openai_summarize_comparisons. Every prompt is put into one form, "SUBREDDIT: r/... TITLE: ... POST: ...
    TL;DR:". Where several annotators saw the same two summaries, they make one pair with a vote each.

    `posts` are summaries that people wrote, for --sft (prompt and label or completion): a hub id, folder or file; left
    empty, CarperAI/openai_summarize_tldr beside the hub's comparisons, and the preferred summaries of any other source.

    `shift` names news articles (article, highlights; abisee/cnn_dailymail, or a folder) to evaluate on instead, with
    the same "TL;DR:" at their end, by policies that were trained on posts: section 6.3 of the paper. The labels are
    those of the held-out posts then, and no win rate against preferred summaries is known. Articles that do not
    fit the model's context beside `max_new_tokens` are passed over, as all such prompts are: a small context leaves the
    shortest news only, so two models of different contexts are not compared on the same.

    The win rate against `chosen` is one against the summary of the held-out comparisons that annotators preferred,
    which mostly a model has written. The paper's (figure 2) is against summaries that people wrote: another number.

    `judged_by`: judges are asked for a concise summary, in words of our own; without that ("simple"), GPT-4 prefers
    longer summaries than people do, and with it agrees with them better (section 6.4).

    Raises:
        InputError: on first use of the data, where they cannot be read.
    """

    question: ClassVar[str] = QUESTIONS["concise"]
    paper_beta: ClassVar[float] = 0.5
    location_fields: ClassVar[tuple[str, ...]] = ("source", "posts")
    evaluation_fields: ClassVar[tuple[str, ...]] = ("shift", "judged_by")

    # A summary is at most 48 tokens of GPT-2 long where OpenAI filtered them; comparisons hold a few longer ones.
    max_new_tokens: Count = 64
    source: str = COMPARISONS
    posts: str = ""
    shift: str = ""
    judged_by: Literal["concise", "simple"] = "concise"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "question", QUESTIONS[self.judged_by])

    @property
    def origin(self) -> str:
        return self.source

    def prompts(self, split: Split) -> Sequence[Prompt]:
        if split != "eval" or not self.shift:
            return super().prompts(split)
        return distinct_prompts(self._articles[0], "order")

    def notes(self) -> dict[str, object]:
        found = super().notes() | {"demonstrations": self._demonstrations_from or "the preferred summaries"}
        return found | ({"shift": self.shift, "shift_prompts": len(self._articles[0])} if self.shift else {})

    def fingerprint(self) -> str:
        """Of the pairs and the demonstrations; the articles train nothing."""
        shown = (
            [(each.prompt.text, each.completion.text) for each in self._posts[0]] if self._demonstrations_from else []
        )
        return hashlib.sha256(json.dumps([super().fingerprint(), shown]).encode()).hexdigest()

    def remarks(self) -> list[str]:
        said = super().remarks() + (self._posts[1] if self._demonstrations_from else [])
        if not self.shift:
            return said
        articles, more = self._articles
        long = f"do not fit the model's context beside {self.max_new_tokens} new tokens are passed over"
        return [*said, *more, f"{self.shift}: {len(articles)} articles, of which those that {long}."]

    def _read(self, say: Callable[[str], object]) -> Mapping[str, Sequence[Source]]:
        found = find_parts(self.source, usual="comparisons", splits=("train", *HELD_OUT), say=say)
        return {split: [_source(part) for part in parts] for split, parts in found.items()}

    @property
    def _demonstrations_from(self) -> str:
        return self.posts or (POSTS if self.source == COMPARISONS else "")

    def _shown(self) -> Sequence[Demonstration]:
        return self._posts[0] if self._demonstrations_from else super()._shown()

    @cached_property
    def _posts(self) -> tuple[list[Demonstration], list[str]]:
        """The posts of the training split that neither the evaluation nor the judge's pairs ask about, and remarks."""
        said: list[str] = []
        asked = {pair.prompt.text for split in ("eval", "judge") for pair in self._part(split)}
        source = self._demonstrations_from
        found = find_parts(source, splits=("train",), instead="posts=FOLDER", say=said.append)
        shown, skipped = shown_of(read_rows(next(iter(found.values()))))
        kept = [each for each in shown if each.prompt.text not in asked]
        if not kept:
            why = describe_skipped(skipped, len(shown) + len(skipped))
            raise InputError(
                f"{source} holds no post to learn from ({why}): give prompt and label, or leave posts out."
            )
        if skipped:
            said.append(f"{source}: {describe_skipped(skipped, len(shown) + len(skipped))}.")
        return kept, said

    @cached_property
    def _articles(self) -> tuple[list[LabelledCompletion], list[str]]:
        """The articles to evaluate on, and remarks."""
        said: list[str] = []
        found = find_parts(self.shift, usual="3.0.0", splits=HELD_OUT, instead="shift=FOLDER", say=said.append)
        rows = read_rows(next((found[name] for name in HELD_OUT if name in found), next(iter(found.values()))))
        articles, skipped = articles_of(rows)
        if not articles:
            raise InputError(
                f"{self.shift} holds no article to evaluate on ({describe_skipped(skipped, len(rows))}): give article "
                "and highlights, as abisee/cnn_dailymail does."
            )
        if skipped:
            said.append(f"{self.shift}: {describe_skipped(skipped, len(rows))}.")
        return articles, said


def _source(part: Part) -> Source:
    votes, skipped = votes_of(read_rows([part]))
    pairs, tied = pairs_of(votes)
    if not pairs:
        said = describe_skipped(skipped + tied, len(votes) + len(skipped))
        raise InputError(
            f"{part.path} holds no usable comparison: {said}; give info, summaries and choice, or prompt, chosen and "
            "rejected."
        )
    return Source(part.path, tuple(pairs), tuple(skipped + tied))
