"""Completions under the prompts of others: how far a policy has drifted, as unpaired objectives estimate it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .batch import Tokens
from .errors import InputError
from .tokens import Dataset


def mismatched_partners(items: Sequence[Tokens]) -> list[int]:
    """For each item the index of an item of a *different* prompt, with whose completion its prompt is scored.

    That sample shows how far a policy has drifted from its reference (arXiv:2402.01306, section 4.1). It is fixed by
    the items alone: with items sorted by prompt, the partner stands as many places further on as the most frequent
    prompt has items, so that every completion is used once; where one prompt has more than half of all items, its
    items take turns with the others.

    Raises:
        InputError: all items have the same prompt.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[item.prompt_id].append(index)
    if len(groups) < 2:
        raise InputError("completions of other prompts are needed and the data hold one prompt only: give two or more.")
    ordered = [index for _, group in sorted(groups.items()) for index in group]
    largest = max(groups.values(), key=len)
    partners = [0] * len(items)
    if 2 * len(largest) <= len(items):
        for place, index in enumerate(ordered):
            partners[index] = ordered[(place + len(largest)) % len(ordered)]
        return partners
    members = set(largest)
    others = [index for index in ordered if index not in members]
    for group, across in ((largest, others), (others, largest)):
        for place, index in enumerate(group):
            partners[index] = across[place % len(across)]
    return partners


def mismatched_rows(dataset: Dataset) -> tuple[Tokens, ...]:
    """`as_labelled()` with each completion exchanged for its partner's, cut on the right where it does not fit."""
    items = [row for row, _ in dataset.as_labelled()]
    rows = []
    for item, partner in zip(items, mismatched_partners(items), strict=True):
        other = items[partner]
        # The prompt stays as it is, so that a model that reads it for its own completion has read it for this one.
        kept = other.completion[: dataset.max_length - len(item.prompt)]
        ended = other.ended and len(kept) == len(other.completion)
        rows.append(Tokens(item.prompt, kept, item.prompt_id, ended))
    return tuple(rows)
