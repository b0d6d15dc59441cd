"""Records that repeat, contradict or are empty: exact comparisons of texts, over all records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations

import numpy as np

from ..formats import Skipped
from ..records import LabelledCompletion
from .bags import normalised
from .findings import Finding, Level, joined, of, plural, quoted, sentence, times, unknown
from .view import View

Groups = list[list[int]]
CANNED_PROMPTS, CANNED, ONE_SIDED = 10, 0.05, 4
"""Prompts, their share of all, and how often as many as on the other side, from which one side's text is told."""
BAD_DUPLICATES, BAD_CONTRADICTIONS, BAD_EMPTY, BAD_SKIPPED = 0.05, 0.01, 0.01, 0.05


def level_of(count: int, n: int, bad: float) -> Level:
    """ "look" from the first one on, "bad" from a share `bad` of all."""
    return "fine" if count == 0 else "bad" if count >= bad * n else "look"


def grouped(keys: Mapping[int, Hashable]) -> Groups:
    """The places that share a key, where two or more do, in order."""
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in keys.items():
        found[key].append(place)
    return [places for places in found.values() if len(places) > 1]


def duplicates(view: View) -> tuple[Finding, Groups]:
    """Records that repeat an earlier one, and one text that is a side of many prompts.

    Repeated are the prompt, the completions and the label, word for word. Told beside it, "look" at least, is the text
    that stands on one side under the most prompts: 10 prompts and 5 % of all at least, and four times as many as on the
    other side, so that the answers "yes" and "no" of a balanced task are none.
    """
    keys: dict[int, Hashable] = {}
    for place, record in enumerate(view.records):
        label = record.desirable if isinstance(record, LabelledCompletion) else None
        keys[place] = (record.prompt, *(y.text for y in record.completions), label)
    groups = grouped(keys)
    count = sum(len(group) - 1 for group in groups)
    said, advice = [f"no {view.things.removesuffix('s')} repeats another record word for word"], []
    if groups:
        what = "repeats" if count == 1 else "repeat"
        said = [f"{of(count, view.n, view.things)} {what} another record word for word", _example(view, groups)]
        advice = ["keep one of each repeated record, which weighs twice and which intervals take for two observations"]
    canned, places = _canned(view)
    if canned:
        said.append(canned)
        advice.append("see whether that text answers its prompts: what stands under many is learnt for any other")
    level = level_of(count, view.n, BAD_DUPLICATES)
    if level == "fine" and not canned:
        return Finding("duplicates", level, sentence(*said)), groups
    lines = view.lines([*places, *(place for group in groups for place in group)])
    level = "look" if level == "fine" else level
    count = len({*places, *(place for group in groups for place in group[1:])})
    return Finding("duplicates", level, sentence(*said), sentence(*advice), lines, count), groups


def _example(view: View, groups: Groups) -> str:
    return f"{view.named(groups[0][:2])}, for instance"


def _canned(view: View) -> tuple[str, list[int]]:
    """The text that one side has under the most prompts, as a clause, and its records; nothing where it has few."""
    numbers, texts = view.prompts, {i: [y.text for y in record.completions] for i, record in enumerate(view.records)}
    both = view.sides(texts)
    sides = [(both.first, both.first_at), (both.second, both.second_at)]
    counts = [Counter(text for text, _ in set(zip(side, numbers[at].tolist(), strict=True))) for side, at in sides]
    total = int(numbers.max()) + 1
    held = [
        (prompts, side, text)
        for side in (0, 1)
        for text, prompts in counts[side].items()
        if prompts >= max(CANNED_PROMPTS, CANNED * total, ONE_SIDED * counts[1 - side][text]) and text.strip()
    ]
    if not held:
        return "", []
    prompts, side, text = max(held, key=lambda each: each[0])
    places = sorted({place for own, place in zip(sides[side][0], sides[side][1].tolist(), strict=True) if own == text})
    under = f"{view.names[side]} under {of(prompts, total, 'prompts')} and {view.names[1 - side]} under "
    said = f"one text, {quoted(text)}, is {under}{counts[1 - side][text]:,}"
    return f"{said}, {view.named(places[:2])} for instance", places


def contradictions(view: View) -> tuple[Finding, Groups]:
    """The same two completions of one prompt in either order; of labels, one completion with either label.

    Prompts are the same word for word, completions where they agree but for case, spaces and punctuation; what is
    opposed only where case and punctuation do not count is "look", because it may be what is to be taught. One that is
    chosen in one pair and rejected in another of the same prompt contradicts nothing, but becomes both desirable and
    undesirable for an objective that reads the pairs as labels: these are told beside it, and are "look". The lines are
    those of opposed orders, where there are any.
    """
    opposed = _opposed_labels if view.kind == "labels" else _opposed_orders
    same = _names(view, lambda text: normalised(text) or text)
    groups, exact = opposed(view, same), opposed(view, _names(view, lambda text: " ".join(text.split())))
    places = sorted({place for group in groups for place in group})
    both = {} if view.kind == "labels" else _both_labels(view, same)
    told = f"read as labels, {plural(len(both), 'completion')} would be desirable and undesirable" if both else ""
    what, none = "two completions of a prompt have both orders", "no two completions have both orders"
    if view.kind == "labels":
        what, none = "a completion has both labels", "no completion has both labels"
    clauses, advice = [none], list[str]()
    level = level_of(len({place for group in exact for place in group}), view.n, BAD_CONTRADICTIONS)
    if groups:
        level = "look" if level == "fine" else level
        clauses = [f"{times(len(groups))}, in {of(len(places), view.n, view.things)}, {what}", _example(view, groups)]
        loose = len(groups) - len(exact)
        clauses += [f"{times(loose)} only if case and punctuation do not count"] if loose > 0 else []
        advice.append(
            "decide for one or leave both out, unless annotators truly disagree: then an objective that expects "
            "flipped labels (robust_dpo, ipo) suits them better"
        )
    if both:
        advice.append("for kto, which reads pairs as labels, leave out such completions or keep one label of each")
        level = "look" if level == "fine" else level
        clauses.append(told if groups else f"{told}, {view.named(next(iter(both.values()))[:2])} for instance")
    lines = view.lines(places or (place for each in both.values() for place in each))
    count = len(places) or len(both)
    if level == "fine":
        return Finding("contradictions", level, sentence(*clauses)), groups
    return Finding("contradictions", level, sentence(*clauses), sentence(*advice), lines, count), groups


def _names(view: View, alike: Callable[[str], str]) -> dict[int, list[str]]:
    """The completions of records whose prompt stands in several, which alone can contradict one another, as `alike`
    gives them."""
    numbers = view.prompts
    often = np.flatnonzero(np.bincount(numbers)[numbers] > 1).tolist()
    return {i: [alike(y.text) for y in view.records[i].completions] for i in often}


def _opposed_labels(view: View, same: Mapping[int, list[str]]) -> Groups:
    keys = {i: (int(view.prompts[i]), names[0]) for i, names in same.items()}
    labels = [isinstance(record, LabelledCompletion) and record.desirable for record in view.records]
    return [group for group in grouped(keys) if len({labels[place] for place in group}) == 2]


def _opposed_orders(view: View, same: Mapping[int, list[str]]) -> Groups:
    """Each two completions that some records put in one order and some in the other, with those records."""
    numbers = view.prompts.tolist()
    orders: dict[tuple[int, str, str], dict[bool, list[int]]] = {}
    for place, names in same.items():
        for better, worse in combinations(names, 2):
            if better != worse:
                key = (numbers[place], *sorted((better, worse)))
                orders.setdefault(key, {True: [], False: []})[better < worse].append(place)
    return [sorted({*both[True], *both[False]}) for both in orders.values() if both[True] and both[False]]


def _both_labels(view: View, same: Mapping[int, list[str]]) -> dict[tuple[int, str], list[int]]:
    """The completions of a prompt that are on either side, in different records, with those records."""
    numbers, sides = view.prompts, view.sides(same)
    held: list[dict[tuple[int, str], list[int]]] = [defaultdict(list), defaultdict(list)]
    for found, at, names in ((held[0], sides.first_at, sides.first), (held[1], sides.second_at, sides.second)):
        for place, name in zip(at.tolist(), names, strict=True):
            found[int(numbers[place]), name].append(place)
    every = {key: sorted({*places, *held[1][key]}) for key, places in held[0].items() if key in held[1]}
    return {key: places for key, places in every.items() if len(places) > 1}


def empty_or_equal(view: View) -> Finding:
    """Records with an empty completion, or two of whose completions are the same text."""
    empty, equal = [], []
    for place, record in enumerate(view.records):
        texts = [y.text for y in record.completions]
        if not all(text.strip() for text in texts):
            empty.append(place)
        elif len(set(texts)) < len(texts):
            equal.append(place)
    bad = sorted((*empty, *equal))
    clauses = [
        f"{of(len(places), view.n, view.things)} {'has' if len(places) == 1 else 'have'} {what}"
        for places, what in ((empty, "an empty completion"), (equal, "equal completions"))
        if places
    ]
    if not bad:
        return Finding("empty_or_equal", "fine", "No completion that was read is empty, and none equals its rival.")
    advice = "Leave them out: an empty text teaches to say nothing, and equal ones have a gradient of noise alone."
    level = level_of(len(bad), view.n, BAD_EMPTY)
    return Finding("empty_or_equal", level, sentence(joined(clauses)), advice, view.lines(bad), len(bad))


def left_out(skipped: Sequence[Skipped] | None, n: int) -> Finding:
    """What the reader skipped, by reason; `n` records were read. None is not known."""
    if skipped is None:
        return unknown("skipped", "Which records of the source were left out is not known here.")
    if not skipped:
        return Finding("skipped", "fine", "Every record of the source was read.")
    reasons = Counter(f"{each.field}: {each.reason}" for each in skipped)
    common = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    listed = [f"{reasons[reason]:,} ({reason})" for reason in common[:3]]
    rest = len(skipped) - sum(reasons[reason] for reason in common[:3])
    what = "is" if len(skipped) == 1 else "are"
    said = sentence(
        f"{of(len(skipped), n + len(skipped), 'records')} {what} left out: "
        + joined([*listed, *([f"{rest:,} for other reasons"] if rest else [])])
    )
    lines = tuple(sorted({each.line for each in skipped if each.line is not None}))
    advice = "Mend them in the source, or leave them out on purpose."
    level = level_of(len(skipped), n + len(skipped), BAD_SKIPPED)
    return Finding("skipped", level, said, advice, lines, len(skipped))
