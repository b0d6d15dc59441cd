"""Nearly equal texts: the two completions of a pair, and prompts of different records."""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..records import Prompt
from ..results import derive
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

# What a reader passes over. Signs of arithmetic stay: 3 - 5 is not 3 + 5.
_PUNCTUATION = re.compile(r"""[\s.,;:!?…"'“”‘’()\[\]{}¿¡_#`。、！？]+|\*\*""")
Hashes = NDArray[np.uint64]


def normalised(text: str) -> str:
    """The text without regard to case, spaces and punctuation."""
    return _PUNCTUATION.sub(" ", text.casefold()).strip()


def near_duplicates(view: View) -> tuple[Finding, Groups]:
    """Pairs whose two completions nearly agree, and prompts that nearly agree with another record's.

    Completions: equal but for case, spaces and punctuation, or with an edit similarity in words above .9. Prompts:
    equal in that sense, or with four shingles in five in common, once what all prompts begin and end with (and a system
    message) is off; equal prompts are not meant. Everything is linear in the number of records.
    """
    same, similar, compared = _pairs(view)
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
        clauses.append(f"no {view.things.removesuffix('s')} has completions that nearly agree")
    clauses.append("" if compared else "the edit distances of the last ones were too many to work out")
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


def _pairs(view: View) -> tuple[list[int], list[int], bool]:
    """Places of pairs that are equal once normalised, of those that are similar, and whether all were compared."""
    if not view.paired:
        return [], [], True
    sides = view.texts
    same, similar, cells = [], [], CELLS
    for first, second, place in zip(sides.first, sides.second, sides.first_at.tolist(), strict=True):
        if first == second:
            continue  # another check's
        a, b = normalised(first), normalised(second)
        if a == b and a:
            same.append(place)
            continue
        cost, close = _similar(a.split(), b.split(), cells)
        cells -= cost
        similar += [place] * close
    return same, similar, cells > 0


def _similar(a: Sequence[str], b: Sequence[str], budget: int) -> tuple[int, bool]:
    """Whether the similarity of two lists of words is above .9, and how many cells that took."""
    longer = max(len(a), len(b))
    most = int(np.ceil(longer * (1 - SIMILAR) - 1e-9)) - 1  # the distance lies strictly below a tenth
    if most < 1 or abs(len(a) - len(b)) > most:
        return 0, False
    # The distance is at least what the bags of words lack of one another: nearly all pairs end here.
    if longer - sum((Counter(a) & Counter(b)).values()) > most or budget <= 0:
        return 0, False
    cost = (2 * most + 1) * len(a)
    return cost, edit_distance(a, b, most) <= most


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

    shingles = [_shingles(words) for words in _without_frame(texts)]
    for bucket in _buckets(texts, shingles):
        # Each is compared with the first and the one before: linear, however full a bucket is.
        for before, i in pairwise(bucket):
            for other in (bucket[0], before):
                if root(i) == root(other):
                    continue
                if texts[i] == texts[other] or _jaccard(shingles[i], shingles[other]) >= ALIKE:
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


def _without_frame(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text without those that all of them begin or end with."""
    lists = [text.split() for text in texts]
    start = _common(lists)
    end = _common([words[start:][::-1] for words in lists])
    return [words[start : len(words) - end] for words in lists]


def _common(lists: Sequence[list[str]]) -> int:
    """How many words all lists begin with: as many as the first and the last of them in order."""
    least, most = min(lists), max(lists)
    return next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))


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
