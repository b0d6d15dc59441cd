"""Where the tokens of a pass lie: every prompt once, its completions after it, in tiles that attention stays inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..attention import Tile, Tiles
from ..batch import Tokens

ALONE = 128  # tokens; a longer prompt group has a tile of its own, shorter ones lie side by side in rows
WIDER = (1.0, 1.5, 2.0)  # widths tried for those rows, in units of the longest group among them


class Group(NamedTuple):
    """A prompt and the rows that share it."""

    prompt: tuple[int, ...]
    rows: tuple[int, ...]
    size: int  # tokens: the prompt once, and every completion


@dataclass(frozen=True)
class Layout:
    """The flat sequence of a pass.

    Each completion follows its prompt, attends to it and to itself, and its positions restart behind it, so that it
    sees exactly what it would see alone:

        tokens     p0 p1 p2 | a0 a1 a2 | b0 b1
        position    0  1  2 |  3  4  5 |  3  4
    """

    ids: Tensor  # [L]
    positions: Tensor  # [L]
    tiles: Tiles
    states: Tensor  # [sum (T + 1)]: the position whose state precedes each token of each row, and follows its last one


def group_by_prompt(rows: Sequence[Tokens]) -> list[Group]:
    """The prompt groups, in the order of first appearance."""
    members: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        members.setdefault(row.prompt, []).append(index)
    return [
        Group(prompt, tuple(found), len(prompt) + sum(len(rows[i].completion) for i in found))
        for prompt, found in members.items()
    ]


def packed_tokens(rows: Sequence[Tokens]) -> int:
    """Tokens that a model must read for these rows when each prompt is read once."""
    return sum(group.size for group in group_by_prompt(rows))


def lay_out(rows: Sequence[Tokens], filler: int, device: torch.device, one_tile: bool = False) -> Layout:
    """Lay rows out: long groups alone and without padding, short ones packed into rows of equal width.

    With `one_tile` all groups go into rows as wide as the longest group, which is what a model that only takes a
    mask can read.
    """
    groups = group_by_prompt(rows)
    short = groups if one_tile else [group for group in groups if group.size <= ALONE]
    bins = [[[group]] for group in groups if not one_tile and group.size > ALONE]
    if short:
        bins.append(_rows(short, one_tile))
    ids: list[int] = []
    positions: list[int] = []
    before: list[tuple[int, int]] = [(0, 0)] * len(rows)  # of each row: last position of its prompt, its own first one
    tiles = []
    for tile in bins:
        width = max(sum(group.size for group in row) for row in tile)
        owner: list[int] = []  # of each position: its group; padding has one of its own each, below 0
        segment: list[int] = []  # 0 in the prompt, 1, 2, ... in the completions
        start = len(ids)
        for row in tile:
            for group in row:
                _append(rows, group, ids, positions, segment, before)
                owner += [group.rows[0]] * group.size
            padding = (start - len(ids)) % width
            ids += [filler] * padding
            positions += [0] * padding
            segment += [0] * padding
            owner += range(-1, -1 - padding, -1)
        shape = (len(tile), width)
        tiles.append(
            Tile(torch.tensor(owner, device=device).view(shape), torch.tensor(segment, device=device).view(shape))
        )
    states = [
        p
        for (last, first), row in zip(before, rows, strict=True)
        for p in (last, *range(first, first + len(row.completion)))
    ]
    made = [torch.tensor(values, device=device) for values in (ids, positions, states)]
    return Layout(made[0], made[1], Tiles(tuple(tiles)), made[2])


def _append(
    rows: Sequence[Tokens],
    group: Group,
    ids: list[int],
    positions: list[int],
    segment: list[int],
    before: list[tuple[int, int]],
) -> None:
    """Write one group at the end of the sequence."""
    size = len(group.prompt)
    last = len(ids) + size - 1
    ids += group.prompt
    positions += range(size)
    segment += [0] * size
    for number, index in enumerate(group.rows, start=1):
        completion = rows[index].completion
        before[index] = (last, len(ids))
        ids += completion
        positions += range(size, size + len(completion))
        segment += [number] * len(completion)


def _rows(groups: Sequence[Group], narrow: bool) -> list[list[Group]]:
    """First-fit-decreasing packing into rows of one width: of those tried, the one that computes least.

    A wider row leaves less padding, and attention over more tokens of others; beside the layers' products an attended
    token counts little, about 1 part in 256.
    """
    longest = max(group.size for group in groups)
    packings = [_first_fit(groups, round(longest * times)) for times in (WIDER[:1] if narrow else WIDER)]

    def cost(packing: list[list[Group]]) -> float:
        width = max(sum(group.size for group in row) for row in packing)
        return len(packing) * width * (256.0 + width)

    return min(packings, key=cost)


def _first_fit(groups: Sequence[Group], width: int) -> list[list[Group]]:
    bins: list[list[Group]] = []
    room: list[int] = []
    for group in sorted(groups, key=lambda group: -group.size):
        place = next((b for b, left in enumerate(room) if left >= group.size), None)
        if place is None:
            bins.append([])
            room.append(width)
            place = len(bins) - 1
        bins[place].append(group)
        room[place] -= group.size
    return bins
