"""Rows of the published TL;DR data sets -> prompts, pairs and demonstrations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from alignbench import Completion, Demonstration, LabelledCompletion, Pair, Prompt
from alignbench.data import Row, Skipped

ENDING = "TL;DR:"
# The prompt as text, with one or two newlines between its parts, with or without the ending.
POST = re.compile(r"\s*SUBREDDIT: (?:r/)?(.*?)\s*\nTITLE: (.*?)\s*\nPOST: (.*?)\s*(?:\nTL;DR:)?\s*", re.DOTALL)
SUMMARIES = ("label", "completion", "summary")  # what data sets of posts call the summary


class _UnusableError(Exception):
    """The field of a row that cannot be used, and why."""


class Vote(NamedTuple):
    """One row of comparisons: which of two summaries an annotator prefers."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    worker: str | None
    line: int


def votes_of(rows: Iterable[Row]) -> tuple[list[Vote], list[Skipped]]:
    """Comparisons in the layout of openai/summarize_from_feedback (info: subreddit, title, post; summaries: text;
    choice, the place of the better one; worker) or as prompt/chosen/rejected; and what cannot be used."""
    votes, skipped = [], []
    for line, fields in rows:
        try:
            votes.append(_vote(fields, line))
        except _UnusableError as error:
            skipped.append(Skipped(line, *error.args))
    return votes, skipped


def pairs_of(votes: Iterable[Vote]) -> tuple[list[Pair], list[Skipped]]:
    """One pair for each two summaries of a post, preferred by most of their annotators; a tie is skipped.

    Two rows of one annotator on the same summaries count once, the first of them. Rows without an annotator stay apart.
    """
    asked: dict[tuple[Any, ...], dict[str, Vote]] = {}
    for place, vote in enumerate(votes):
        texts = frozenset((vote.chosen.text, vote.rejected.text))
        key: tuple[Any, ...] = (place,) if vote.worker is None else (vote.prompt.text, texts)
        asked.setdefault(key, {}).setdefault(vote.worker or "", vote)
    pairs, skipped = [], []
    for group in asked.values():
        first = next(iter(group.values()))
        for_first = [vote.chosen == first.chosen for vote in group.values()]
        if 2 * sum(for_first) == len(for_first):
            skipped.append(Skipped(first.line, "choice", f"its {len(for_first)} annotators are of two minds"))
            continue
        agreed = 2 * sum(for_first) > len(for_first)
        chosen, rejected = (first.chosen, first.rejected) if agreed else (first.rejected, first.chosen)
        known = tuple(each == agreed for each in for_first) if first.worker is not None else ()
        pairs.append(Pair(first.prompt, chosen, rejected, votes=known, line=first.line))
    return pairs, skipped


def shown_of(rows: Iterable[Row]) -> tuple[list[Demonstration], list[Skipped]]:
    """Posts with the summary that their authors wrote: prompt/label, prompt/completion, or subreddit, title, post and
    summary."""
    shown, skipped = [], []
    for line, fields in rows:
        try:
            prompt = _written(fields) if "prompt" in fields else _composed(fields)
            name = next((name for name in SUMMARIES if name in fields), SUMMARIES[0])
            shown.append(Demonstration(prompt, _summary(fields.get(name), name)))
        except _UnusableError as error:
            skipped.append(Skipped(line, *error.args))
    return shown, skipped


def articles_of(rows: Iterable[Row]) -> tuple[list[LabelledCompletion], list[Skipped]]:
    """News articles (article) that are to be summarised as posts are, with their highlights."""
    articles, skipped = [], []
    for line, fields in rows:
        try:
            prompt = Prompt(f"{_text(fields, 'article').strip()}\n\n{ENDING}")
            articles.append(LabelledCompletion(prompt, _summary(fields.get("highlights"), "highlights"), True, line))
        except _UnusableError as error:
            skipped.append(Skipped(line, *error.args))
    return articles, skipped


def _vote(fields: Mapping[str, Any], line: int) -> Vote:
    if "summaries" not in fields:
        chosen, rejected = (_summary(fields.get(name), name) for name in ("chosen", "rejected"))
        prompt, worker = _written(fields), None
    else:
        info, summaries, choice = fields.get("info"), fields["summaries"], fields.get("choice")
        if not isinstance(info, dict):
            raise _UnusableError("info", "missing")
        if info.get("article"):
            raise _UnusableError("info", "a news article, not a post")
        prompt, worker = _composed(info, "info."), fields.get("worker")
        if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
            raise _UnusableError("summaries", "not two summaries")
        if isinstance(choice, bool) or choice not in (0, 1):
            raise _UnusableError("choice", "neither 0 nor 1")
        texts = [_summary(summary.get("text"), f"summaries[{i}].text") for i, summary in enumerate(summaries)]
        chosen, rejected = texts[choice], texts[1 - choice]
    if chosen == rejected:
        raise _UnusableError("rejected" if worker is None else "summaries", "the two summaries are equal")
    return Vote(prompt, chosen, rejected, None if worker is None else str(worker), line)


def _written(fields: Mapping[str, Any]) -> Prompt:
    """A prompt that comes as text, in the one form that all prompts have, so that equal posts are equal prompts."""
    text = _text(fields, "prompt")
    found = POST.fullmatch(text)
    if found:
        return _form(*found.groups())
    return Prompt(f"{text.strip().removesuffix(ENDING).rstrip()}\n\n{ENDING}")


def _composed(info: Mapping[str, Any], where: str = "") -> Prompt:
    return _form(*(_text(info, name, where).strip() for name in ("subreddit", "title", "post")))


def _form(subreddit: str, title: str, post: str) -> Prompt:
    return Prompt(f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\n{ENDING}")


def _text(fields: Mapping[str, Any], name: str, where: str = "") -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _UnusableError(where + name, "empty" if isinstance(value, str) else "missing")
    return value


def _summary(value: Any, name: str) -> Completion:
    """A summary, one blank after the prompt's ending; some sets repeat that ending before it."""
    if not isinstance(value, str):
        raise _UnusableError(name, "missing")
    text = value.strip().removeprefix(ENDING).strip()
    if not text:
        raise _UnusableError(name, "empty")
    return Completion(f" {text}")
