"""Records that repeat, contradict or are empty: exact comparisons of texts, over all records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations

from ..formats import Skipped
from ..records import LabelledCompletion
from .findings import Finding, Level, Where, joined, of, plural, sentence
from .view import View

Groups = list[list[int]]
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


def repeated(view: View, check: str, groups: Groups, said: str, advice: str, bad: float) -> Finding:
    """A finding on groups of records, with the first group as its example; it counts all but one of each group."""
    count = sum(len(group) - 1 for group in groups)
    if not groups:
        return Finding(check, "fine", sentence(said.format("no " + view.things.removesuffix("s"), "s")))
    clause = said.format(of(count, view.n, view.things), "s" if count == 1 else "")
    example = f"{view.named(groups[0][:2])}, for instance"
    lines = view.lines(place for group in groups for place in group)
    return Finding(check, level_of(count, view.n, bad), sentence(clause, example), advice, lines, count)


def duplicates(view: View) -> tuple[Finding, Groups]:
    """Records with the same prompt, the same completions and the same label as an earlier one."""
    keys: dict[int, Hashable] = {}
    for place, record in enumerate(view.records):
        label = record.desirable if isinstance(record, LabelledCompletion) else None
        keys[place] = (record.prompt, *(y.text for y in record.completions), label)
    groups = grouped(keys)
    advice = "Keep one of each: a repeated record weighs twice, and intervals take it for two observations."
    said = "{0} repeat{1} another record word for word"
    return repeated(view, "duplicates", groups, said, advice, BAD_DUPLICATES), groups


def contradictions(view: View) -> tuple[Finding, Groups]:
    """The same two completions of one prompt in either order; of labels, one completion with either label.

    A completion that is chosen in one pair and rejected in another of the same prompt contradicts nothing, but becomes
    both desirable and undesirable for an objective that reads the pairs as labels: these are told beside it.
    """
    groups = _opposed_labels(view) if view.kind == "labels" else _opposed_orders(view)
    places = sorted({place for group in groups for place in group})
    n = f"{plural(len(groups), 'time')}, in {of(len(places), view.n, view.things)},"
    what = "a completion has both labels" if view.kind == "labels" else "two completions of a prompt have both orders"
    both = 0 if view.kind == "labels" else _both_labels(view)
    as_labels = f"read as labels, {plural(both, 'completion')} would be desirable and undesirable" if both else ""
    if not groups:
        none = "no completion has both labels" if view.kind == "labels" else "no two completions have both orders"
        return Finding("contradictions", "fine", sentence(none, as_labels)), groups
    example = f"{view.named(groups[0][:2])}, for instance"
    said = sentence(f"{n} {what}", example, as_labels)
    advice = (
        "Decide for one or leave both out, unless annotators truly disagree: then an objective that expects flipped "
        "labels (robust_dpo, ipo) suits them better."
    )
    level = level_of(len(places), view.n, BAD_CONTRADICTIONS)
    return Finding("contradictions", level, said, advice, view.lines(places), len(places)), groups


def _opposed_labels(view: View) -> Groups:
    keys = {i: (record.prompt, record.completions[0].text) for i, record in enumerate(view.records)}
    labels = [isinstance(record, LabelledCompletion) and record.desirable for record in view.records]
    return [group for group in grouped(keys) if len({labels[place] for place in group}) == 2]


def _opposed_orders(view: View) -> Groups:
    """Each two completions that some records put in one order and some in the other, with those records."""
    numbers = view.prompts.tolist()
    orders: dict[tuple[int, str, str], dict[bool, list[int]]] = {}
    for place, better, worse in _orders(view):
        key = (numbers[place], *sorted((better, worse)))
        orders.setdefault(key, {True: [], False: []})[better < worse].append(place)
    return [sorted({*both[True], *both[False]}) for both in orders.values() if both[True] and both[False]]


def _orders(view: View) -> Iterator[tuple[int, str, str]]:
    """Each order that a record states: its place, the better text, the worse one."""
    for place, record in enumerate(view.records):
        for better, worse in combinations(record.completions, 2):
            if better.text != worse.text:
                yield place, better.text, worse.text


def _both_labels(view: View) -> int:
    """How many completions of a prompt are on either side, in different records."""
    numbers = view.prompts
    sides = view.sides({i: [y.text for y in record.completions] for i, record in enumerate(view.records)})
    first, second = (
        set(zip(numbers[at].tolist(), texts, strict=True))
        for at, texts in ((sides.first_at, sides.first), (sides.second_at, sides.second))
    )
    return len(first & second)


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


def left_out(skipped: Sequence[Skipped], n: int) -> Finding:
    """What the reader skipped, by reason; `n` records were read."""
    if not skipped:
        return Finding("skipped", "fine", "Every record of the source was read.")
    reasons: dict[str, int] = defaultdict(int)
    for each in skipped:
        reasons[f"{each.field}: {each.reason}"] += 1
    common = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    listed = [f"{reasons[reason]:,} ({reason})" for reason in common[:3]]
    rest = len(skipped) - sum(reasons[reason] for reason in common[:3])
    what = "is" if len(skipped) == 1 else "are"
    said = sentence(
        f"{of(len(skipped), n + len(skipped), 'records')} {what} left out: "
        + joined([*listed, *([f"{rest:,} for other reasons"] if rest else [])])
    )
    where: Where = "line"
    lines = tuple(sorted({each.line for each in skipped if each.line is not None}))
    advice = "Mend them in the source, or leave them out on purpose."
    level = level_of(len(skipped), n + len(skipped), BAD_SKIPPED)
    return Finding("skipped", level, said, advice, lines, len(skipped), where)
