"""Nearly equal texts: the two completions of a pair, and prompts of different records."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..records import Prompt
from ..results import derive
from .bags import normalised
from .findings import Finding, Level, of, plural, sentence
from .repeats import Groups
from .view import View

SIMILAR = 0.9
"""Of two completions: 1 - (edit distance in words) / (words of the longer one) is above this."""
ALIKE, BANDS, ROWS, SHINGLE = 0.8, 16, 6, 3
"""Of two prompts: the share of their shingles (of 3 words) that both have; minhashes in 16 bands of 6 rows find two at
.8 with probability .992, at .5 with .22, and what they find is then compared."""
CELLS = 10_000_000
"""Cells of edit distances that are worked out at most (about five seconds)."""
BAD = 0.05

FRAME, FEW = 0.25, 3
"""A shingle of more than this share of the prompts, and of more than so many, belongs to a frame."""

Hashes = NDArray[np.uint64]


def near_duplicates(view: View) -> tuple[Finding, Groups]:
    """Pairs whose two completions nearly agree, and prompts that nearly agree with another record's.

    Completions: equal but for case, spaces and punctuation, or with an edit similarity in words above .9; the cheapest
    comparisons come first, and those for which no cells are left are counted. Prompts: equal in the same sense, or with
    four shingles in five in common, both with and without those that stand in more than a quarter of all prompts (an
    instruction, a template); a system message is left out, and equal prompts are not meant. Everything is linear in the
    number of records.
    """
    same, similar, uncompared = _pairs(view)
    groups = _prompts(view)
    n = len(view.sample)
    close = sorted({*same, *similar})
    prompts = sum(len(group) - 1 for group in groups)
    clauses = [
        f"the completions of {of(len(places), n, view.things)} differ in {what}"
        for places, what in ((same, "case, spaces or punctuation alone"), (similar, "less than a tenth of their words"))
        if places
    ]
    if view.paired and not close:
        which = " that could be compared" if uncompared else ""
        clauses.append(f"no {view.things.removesuffix('s')}{which} has completions that nearly agree")
    if uncompared:
        long = plural(uncompared, "pair of long completions is", "pairs of long completions are")
        clauses.append(f"{long} not compared, which would take too long")
    example = f" ({view.named(groups[0][:2])}, for instance)" if groups else ""
    some = f"{plural(prompts, 'prompt')} nearly {'repeats' if prompts == 1 else 'repeat'} another one{example}"
    clauses.append(some if groups else "no prompt nearly repeats another one")
    level: Level = "fine" if not close and not groups else "bad" if len(same) >= BAD * n else "look"
    lines = view.lines((*close, *(place for group in groups for place in group)))
    advice = []
    if close:
        advice.append(
            "read such pairs, because what little differs is all that is learnt and both completions can lose "
            "probability (dpop or a supervised term holds the chosen one up)"
        )
    if groups:
        advice.append("keep one of each such prompt, or one may train what the other evaluates")
    said = sentence(*clauses, view.sampled)
    if level == "fine":
        return Finding("near_duplicates", level, said), groups
    return Finding("near_duplicates", level, said, sentence(" and ".join(advice)), lines, len(close) + prompts), groups


# --- the two completions of a pair ---


def _pairs(view: View) -> tuple[list[int], list[int], int]:
    """Places of pairs that are equal once normalised, of those that are similar, and how many were not compared."""
    if not view.paired:
        return [], [], 0
    sides = view.texts
    same, similar, left = [], [], []
    for first, second, place in zip(sides.first, sides.second, sides.first_at.tolist(), strict=True):
        if first == second:
            continue  # another check's
        a, b = normalised(first), normalised(second)
        if a == b and a:
            same.append(place)
        elif cost := _cost(a.split(), b.split()):
            left.append((cost, place, a, b))
    cells, uncompared = CELLS, 0
    for cost, place, a, b in sorted(left):
        cells -= cost
        if cells < 0:
            uncompared += 1
            continue
        words = a.split(), b.split()
        most = _most(*words)
        similar += [place] * (edit_distance(*words, most) <= most)
    return same, similar, uncompared


def _most(a: Sequence[str], b: Sequence[str]) -> int:
    """The greatest edit distance at which two lists of words are similar: strictly below a tenth of the longer one."""
    return int(np.ceil(max(len(a), len(b)) * (1 - SIMILAR) - 1e-9)) - 1


def _cost(a: Sequence[str], b: Sequence[str]) -> int:
    """The cells that it takes to tell whether two lists are similar; 0 where it is plain that they are not."""
    most = _most(a, b)
    if most < 1 or abs(len(a) - len(b)) > most:
        return 0
    # The distance is at least what the bags of words lack of one another: nearly all pairs end here.
    common = sum((Counter(a) & Counter(b)).values())
    return 0 if max(len(a), len(b)) - common > most else (2 * most + 1) * len(a)


def edit_distance(a: Sequence[str], b: Sequence[str], most: int) -> int:
    """The Levenshtein distance of two lists, or `most + 1` where it is more: only a band of that width is filled."""
    far = most + 1
    row = {j: j for j in range(min(len(b), most) + 1)}
    for i, word in enumerate(a, 1):
        new: dict[int, int] = {}
        for j in range(max(0, i - most), min(len(b), i + most) + 1):
            if j == 0:
                new[j] = i
                continue
            change = row.get(j - 1, far) + (word != b[j - 1])
            new[j] = min(change, row.get(j, far) + 1, new.get(j - 1, far) + 1)
        if not new or min(new.values()) > most:
            return far
        row = new
    return min(row.get(len(b), far), far)


# --- prompts ---


def _prompts(view: View) -> Groups:
    """Groups of records with different prompts that nearly agree; one record stands for each prompt."""
    first: dict[Prompt, int] = {}
    for place in view.sample:
        first.setdefault(view.records[place].prompt, place)
    texts, places = [normalised(_asked(prompt)) for prompt in first], list(first.values())
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    whole = [_shingles(text.split()) for text in texts]
    own = _without_frame(whole)
    for bucket in _buckets(texts, own):
        # Each is compared with the first and the one before: linear, however full a bucket is.
        for before, i in pairwise(bucket):
            for other in (bucket[0], before):
                if root(i) == root(other):
                    continue
                if texts[i] == texts[other] or min(_jaccard(each[i], each[other]) for each in (own, whole)) >= ALIKE:
                    parent[max(root(i), root(other))] = min(root(i), root(other))
    found: dict[int, list[int]] = defaultdict(list)
    for i, place in enumerate(places):
        found[root(i)].append(place)
    return [group for group in found.values() if len(group) > 1]


def _asked(prompt: Prompt) -> str:
    """A prompt without its system message, which many share."""
    if prompt.messages is None:
        return prompt.text
    return "\n".join(content for role, content in prompt.messages if role != "system")


def _without_frame(shingles: Sequence[Hashes]) -> list[Hashes]:
    """The shingles of each prompt without those that stand in so many prompts that they tell none from another."""
    every, counts = np.unique(np.concatenate([np.array([], np.uint64), *shingles]), return_counts=True)
    frame = every[counts > max(FEW, FRAME * len(shingles))]
    return [hashes[~np.isin(hashes, frame)] for hashes in shingles] if len(frame) else list(shingles)


def _shingles(words: Sequence[str]) -> Hashes:
    """A hash of each run of three words; the same in every process, unlike `hash`."""
    runs = {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
    return np.unique(np.fromiter((zlib.crc32(run.encode()) for run in runs), np.uint64, len(runs)))


def _buckets(texts: Sequence[str], shingles: Sequence[Hashes]) -> list[list[int]]:
    """Numbers of texts that may nearly agree: those that are equal, and those that share a band of minhashes."""
    buckets: dict[object, list[int]] = defaultdict(list)
    rng = np.random.default_rng(derive(0, "doctor minhash"))
    # Odd factors: a multiplication modulo 2**64 then loses nothing, and the high bits are well mixed.
    factors = rng.integers(1 << 63, size=BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(1 << 63, size=BANDS * ROWS, dtype=np.uint64)
    for i, (text, hashes) in enumerate(zip(texts, shingles, strict=True)):
        if text:
            buckets[text].append(i)
        if len(hashes):
            mixed = (hashes[:, None] * factors + shifts) >> np.uint64(32)
            least = mixed.min(axis=0).reshape(BANDS, ROWS)
            for band, key in enumerate(least):
                buckets[band, key.tobytes()].append(i)
    return [bucket for bucket in buckets.values() if len(bucket) > 1]


def _jaccard(a: Hashes, b: Hashes) -> float:
    if not len(a) or not len(b):
        return 0.0
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)
