"""Pairs of a model's own samples: the best and the worst of n, by a judge or a reward model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..results import Json, digest
from .comparing import Scored, different
from .drawing import Drawing, Drawn, Sampling, Tally, Watcher
from .judging import Judging
from .made import Made, pair
from .scoring import Scoring
from .sources import Items
from .storing import check_out

HOW = "on-policy"


def on_policy(
    items: Items, sampling: Sampling, judging: Judging, work: Path, watcher: Watcher, out: Path | None = None
) -> Made:
    """Sample every prompt `sampling.n` times, score the samples, and pair the best with the worst.

    Of samples with the same score the one drawn first counts. A prompt has no pair where its samples are all alike or
    empty, where the best is no better than the worst, or where the judge has left one of its questions unanswered.
    Samples, scores and answers are kept in the folder `work`, so that what is there is not made again.

    Raises:
        InputError: the model or the judge cannot be used, or `out` holds something else or cannot be written; nothing
            is sampled before everything is checked that can be.
    """
    drawing = Drawing(items.items, sampling, work)
    scoring = Scoring(drawing, judging, watcher)
    described = {**sampling.described, **judging.described}
    # Not what model and judge are called: the same folder by another path is the same command.
    key = digest(HOW, judging.key, judging.questions, drawing.keys)
    if out is not None:
        check_out(out, key)
    if drawing.missing:
        scoring.check()
        scoring.say_most()
        drawing.fill(watcher)
    return _made(items, drawing, scoring, scoring.fill(), {"key": key, **described})


def _made(items: Items, drawing: Drawing, scoring: Scoring, scores: list[list[Scored]], how: Json) -> Made:
    records, dropped, tally = list[Json](), Counter[str](), Tally(drawing.sampling.max_new_tokens)
    for block, scored in enumerate(scores):
        for drawn, found in zip(drawing.read(block), scored, strict=True):
            tally.add(drawn)
            reason = _reason(drawn, found)
            dropped[reason] += bool(reason)
            records += [] if reason else [_record(drawn, found, how)]
    told = [each for block in scores for each in block]
    return Made(
        tuple(records),
        items,
        +dropped,
        samples=tally.samples,
        alike=tally.alike,
        notes=tally.notes(),
        scored="reward" if scoring.judging.scores else "score",
        usage=scoring.usage,
        comparisons=sum(each.comparisons for each in told),
        contradictions=sum(each.contradictions for each in told),
        refused=sum(each.refused for each in told),
        unparsed=sum(each.unparsed for each in told),
        unanswered=sum(each.unanswered for each in told),
        problems=tuple(scoring.problems),
    )


def _reason(drawn: Drawn, scored: Scored) -> str:
    """Why a prompt has no pair, nothing where it has one."""
    if drawn.problem or len(different(drawn)) < 2:
        return drawn.problem or "samples all alike or empty"
    if scored.unanswered:
        return "judge has not answered"
    known = [score for score in scored.scores if score is not None]
    return "best and worst tied" if max(known) == min(known) else ""


def _record(drawn: Drawn, scored: Scored, how: Json) -> Json:
    known = {place: score for place, score in enumerate(scored.scores) if score is not None}
    # Of equals both take the first that was drawn.
    best, worst = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    chosen, rejected = drawn.samples[best], drawn.samples[worst]
    said = {
        "how": HOW,
        "score_chosen": scored.scores[best],
        "score_rejected": scored.scores[worst],
        "scores": list(scored.scores),
        "ended": {"chosen": chosen.ended, "rejected": rejected.ended},
        "line": drawn.item.line,
    }
    return pair(drawn.item.prompt, chosen, rejected, {**said, **how})
