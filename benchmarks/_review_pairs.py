"""Minimal pairs of the language of `reviews`, for lm-eval: the rest of a review, and the same with one word wrong.

What is wrong is one of ten kinds, equally many of each, none of which helps a model that knows nothing:

- eight kinds keep the number of words, and the two others, a word too many and a word too few, are as frequent as each
  other: a model to which all words are alike prefers whatever is shorter and is right in half of the pairs;
- a word is exchanged for another one as often as that one for it ("was" for "were", "a" for "an", "work" for
  "worked"), or for a word taken from another review, or only changes its place: the frequencies of words, and nothing
  else, are right in .52 of the pairs;
- the right one is the first choice in half of the pairs of each kind.

The reader behind the gold reward finds no fault in the right one. It finds one in the wrong one, but for the kinds
"auxiliary" ("was not work") and "subordinator" ("despite its plot was thin"), in which all neighbours go together: the
frequencies of pairs of words are right in .67 of these and in .99 of the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

from ._review_gold import explain
from ._review_grammar import complete
from ._review_words import BASE_FORMS, TAGS

NAME = "reviews_grammar"
PER_KIND = 80
_PAST = {base: past for past, base in BASE_FORMS.items()}

Words = list[str]


class MinimalPair(NamedTuple):
    """An opening, what follows it, the same broken, and how."""

    prompt: str
    right: str
    wrong: str
    kind: str


def _with(words: Words, at: int, word: str) -> Words:
    return [*words[:at], word, *words[at + 1 :]]


def _exchange(words: Words, other: dict[str, str], rng: Random) -> Words | None:
    """One of the words that are a key of `other` exchanged for its value."""
    places = [i for i, word in enumerate(words) if word in other]
    if not places:
        return None
    at = rng.choice(places)
    return _with(words, at, other[words[at]])


def _base_for_past(words: Words, rng: Random) -> Words | None:
    """ "the plot work": only after a singular subject, because "i enjoy" and "the jokes work" are English."""
    at = [i for i, word in enumerate(words) if word in BASE_FORMS and i and TAGS[words[i - 1]] in ("noun", "it")]
    if not at:
        return None
    place = rng.choice(at)
    return _with(words, place, BASE_FORMS[words[place]])


def _auxiliary(words: Words, rng: Random) -> Words | None:
    """ "was not work" for "did not work"."""
    at = [i for i, pair in enumerate(pairwise(words)) if pair == ("did", "not")]
    if not at:
        return None
    place = rng.choice(at)
    plural = place > 0 and TAGS[words[place - 1]] == "nouns"
    return _with(words, place, "were" if plural else "was")


def _no_auxiliary(words: Words, rng: Random) -> Words | None:
    """ "did not good" for "was not good"."""
    at = [i for i, (one, two) in enumerate(pairwise(words)) if one in ("was", "were") and two == "not"]
    return _with(words, rng.choice(at), "did") if at else None


def _swapped(words: Words, rng: Random) -> Words:
    at = rng.randrange(len(words) - 1)
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _moved(words: Words, rng: Random) -> Words:
    """One word, three places or more from where it was."""
    start = rng.randrange(len(words))
    rest = [*words[:start], *words[start + 1 :]]
    stop = rng.choice([i for i in range(len(words)) if abs(i - start) >= 3])
    return [*rest[:stop], words[start], *rest[stop:]]


def _foreign(words: Words, other: Words, rng: Random) -> Words:
    at = rng.randrange(len(words))
    return _with(words, at, rng.choice(other))


def _doubled(words: Words, rng: Random) -> Words:
    at = rng.randrange(len(words))
    return [*words[: at + 1], *words[at:]]


def _missing(words: Words, rng: Random) -> Words:
    at = rng.randrange(len(words))
    return [*words[:at], *words[at + 1 :]]


# Kind: the ways to break a text so, which take turns. Each gets the words of the text and of another one.
_Break = Callable[[Words, Words, Random], "Words | None"]
KINDS: dict[str, tuple[_Break, ...]] = {
    "agreement": (
        lambda words, other, rng: _exchange(words, {"was": "were"}, rng),
        lambda words, other, rng: _exchange(words, {"were": "was"}, rng),
    ),
    "article": (
        lambda words, other, rng: _exchange(words, {"a": "an"}, rng),
        lambda words, other, rng: _exchange(words, {"an": "a"}, rng),
    ),
    "verb form": (
        lambda words, other, rng: _exchange(words, _PAST, rng),
        lambda words, other, rng: _base_for_past(words, rng),
    ),
    "auxiliary": (
        lambda words, other, rng: _auxiliary(words, rng),
        lambda words, other, rng: _no_auxiliary(words, rng),
    ),
    "subordinator": (
        lambda words, other, rng: _exchange(words, {"although": "despite", "though": "despite"}, rng),
        lambda words, other, rng: _exchange(words, {"despite": rng.choice(["although", "though"])}, rng),
    ),
    "swapped neighbours": (lambda words, other, rng: _swapped(words, rng),),
    "moved word": (lambda words, other, rng: _moved(words, rng),),
    "foreign word": (_foreign,),
    "doubled word": (lambda words, other, rng: _doubled(words, rng),),
    "missing word": (lambda words, other, rng: _missing(words, rng),),
}

DISTANT = ("auxiliary", "subordinator")  # seen in no two neighbours


def minimal_pairs(openings: Sequence[str], seed: str, per_kind: int = PER_KIND) -> list[MinimalPair]:
    """`per_kind` pairs of each kind, the kinds in turn; the same seed and openings give the same pairs."""
    rng = Random(seed)
    prompts = cycle(openings)
    columns = [list(_of_kind(kind, prompts, rng, per_kind)) for kind in KINDS]
    return [pair for row in zip(*columns, strict=True) for pair in row]


def _of_kind(kind: str, prompts: Iterator[str], rng: Random, count: int) -> Iterator[MinimalPair]:
    """Texts are drawn until one can be broken this way."""
    for found in range(count):
        broken_by = KINDS[kind][found % len(KINDS[kind])]
        while True:
            prompt = next(prompts)
            right, other = (complete(prompt, rng).rest for _ in range(2))
            words = broken_by(right.split(" "), other.split(" "), rng)
            wrong = " ".join(words or [])
            if words and (kind in DISTANT or faults(prompt, wrong)):
                yield MinimalPair(prompt, right, wrong, kind)
                break


def faults(prompt: str, rest: str) -> list[str]:
    """What the reader behind the gold reward finds broken in a text."""
    return [part for part, _ in explain(prompt, rest) if part.startswith("broken")]


def write_task(folder: Path, pairs: Sequence[MinimalPair]) -> Path:
    """Write the pairs and lm-eval's description of the task into `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, pair in enumerate(pairs):
        label = i // len(KINDS) // 2 % 2  # changes every other row: within a kind, ways of breaking take turns by rows
        choices = [pair.wrong, pair.right] if label else [pair.right, pair.wrong]
        rows.append({"prompt": pair.prompt, "choices": choices, "label": label, "kind": pair.kind})
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / f"{NAME}.jsonl").write_text(text, encoding="utf-8")
    task = (Path(__file__).parent / "tasks" / f"{NAME}.yaml").read_text(encoding="utf-8")
    where = json.dumps(str(folder.resolve()))[1:-1]  # inside a quoted text of YAML, as of JSON
    (folder / f"{NAME}.yaml").write_text(task.replace('"FOLDER/', f'"{where}/'), encoding="utf-8")
    return folder
