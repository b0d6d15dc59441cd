"""Who reads which review in the benchmark `imdb`, and where it is cut into a prompt and a completion.

Everything is decided by a hash of the review's own text: it depends neither on the order of the files nor on the other
reviews.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from alignbench import Completion, Prompt, Split

from ._imdb_source import Document

Part = Split | Literal["classifier"]
PARTS: tuple[Part, ...] = ("train", "judge", "eval", "classifier")
SHORTEST, LONGEST = 2, 8  # words of a prompt


def deal(documents: Iterable[Document], shares: Mapping[Part, float]) -> dict[Part, list[Document]]:
    """Every review to one part; what the `shares` leave is for training. Within a part the order is of another hash,
    so that any prefix of it is a fair sample."""
    parts: dict[Part, list[Document]] = {part: [] for part in PARTS}
    for document in documents:
        point, bound = _point(document, "part"), 0.0
        for part, share in shares.items():
            bound += share
            if point < bound:
                parts[part].append(document)
                break
        else:
            parts["train"].append(document)
    return {part: sorted(dealt, key=lambda document: _point(document, "order")) for part, dealt in parts.items()}


def openings(parts: Mapping[Part, Sequence[Document]]) -> dict[Split, list[Prompt]]:
    """The distinct prompts of each split; one that several have ("the film") is the evaluation's, then the judge's."""
    taken: set[str] = set()
    found: dict[Split, list[Prompt]] = {}
    splits: tuple[Split, ...] = ("eval", "judge", "train")
    for split in splits:
        texts = dict.fromkeys(cut(document, _length(document))[0].text for document in parts[split])
        found[split] = [Prompt(text) for text in texts if text not in taken]
        taken |= set(texts)
    return found


def begins_like(document: Document, prompts: set[str]) -> bool:
    """Whether the first words of a review are one of the prompts."""
    words = document.text.split()
    return any(" ".join(words[:count]) in prompts for count in range(SHORTEST, LONGEST + 1))


def cut(document: Document, words: int) -> tuple[Prompt, Completion]:
    """The first words of a review, and the rest with the space before it: most models write words with their space."""
    all_words = document.text.split()
    return Prompt(" ".join(all_words[:words])), Completion(" " + " ".join(all_words[words:]))


def joined(prompt: Prompt, completion: Completion) -> str:
    """The whole review. Some tokenizers drop the space at the start of what they decode."""
    return f"{prompt.text} {completion.text.lstrip()}".rstrip()


def _length(document: Document) -> int:
    """2 to 8, uniformly, and one word less than there are at most."""
    words = SHORTEST + int(_point(document, "prompt") * (LONGEST - SHORTEST + 1))
    return min(words, len(document.text.split()) - 1)


def _point(document: Document, purpose: str) -> float:
    """A number in [0, 1) fixed by the text: 48 bits are exact in a float."""
    return int.from_bytes(hashlib.sha256(f"imdb/{purpose}\0{document.key}".encode()).digest()[:6], "big") / 2**48
