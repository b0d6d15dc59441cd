"""Texts as bags of features: sparse matrices of counts over words or marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .view import Ints

# Letters and digits with inner apostrophes; scripts that put no spaces between words are read sign by sign.
_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")
# What a reader passes over. Signs of arithmetic stay: 3 - 5 is not 3 + 5.
_PUNCTUATION = re.compile(r"""[\s.,;:!?…"'“”‘’()\[\]{}¿¡_#`。、！？]+|\*\*""")


def plain_quotes(text: str) -> str:
    """One apostrophe for all: "I’m" and "I'm" are the same word."""
    return text.replace("’", "'").replace("‘", "'")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return _WORD.findall(plain_quotes(text).lower())


def normalised(text: str) -> str:
    """The text without regard to case, spaces and punctuation."""
    return _PUNCTUATION.sub(" ", text.casefold()).strip()


class Vocabulary:
    """Names of features, numbered in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def counts(self, bags: Iterable[Iterable[str]]) -> Iterator[Counter[int]]:
        """The features of each text by number."""
        for bag in bags:
            yield Counter(self.numbers.setdefault(name, len(self.numbers)) for name in bag)

    @property
    def names(self) -> list[str]:
        return list(self.numbers)


def matrices(first: Iterable[Iterable[str]], second: Iterable[Iterable[str]]) -> tuple[Any, Any, list[str]]:
    """`(counts of the first side [N, V], of the second [M, V], names [V])`, over one vocabulary."""
    vocabulary = Vocabulary()
    counted = [list(vocabulary.counts(side)) for side in (first, second)]
    return _matrix(counted[0], len(vocabulary.numbers)), _matrix(counted[1], len(vocabulary.numbers)), vocabulary.names


def _matrix(rows: list[Counter[int]], width: int) -> Any:
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.fromiter((column for row in rows for column in row), np.int64, int(starts[-1]))
    values = np.fromiter((count for row in rows for count in row.values()), np.float64, int(starts[-1]))
    return sparse.csr_array((values, columns, starts), shape=(len(rows), width))


def holders(counts: Any) -> Ints:
    """In how many texts each feature stands, `[V]`."""
    return np.bincount(counts.indices, minlength=counts.shape[1]).astype(np.int64)


def holds(counts: Any, column: int) -> NDArray[np.bool_]:
    """Which texts have one feature, `[N]`; fast where the matrix is stored by column."""
    found: NDArray[np.bool_] = counts[:, [column]].toarray()[:, 0] > 0
    return found
