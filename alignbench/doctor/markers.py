"""Single marks that tell chosen from rejected by themselves: an opening, a phrase, a format, an ending, a word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from scipy import sparse

from ..results import Json
from .bags import holders, holds, matrices, plain_quotes, words_of
from .findings import Finding, Level, percent, plural, quoted, sentence, unknown
from .view import Floats, Ints, Sides, View

ALPHA = 0.01
FEWEST = 10
"""Prompts in which a mark stands on one side only, below which it is not tried."""
ACCURACY, SHARE, BAD_ACCURACY, BAD_SHARE = 0.65, 0.01, 0.8, 0.25
NAMED = 3

ADVICE = (
    "The mark is easier to learn than what it goes with, so unless you want to teach it, write it on both sides or on "
    "neither, and count it in samples of the trained model."
)

# Openings and closings that one generation of models has and another has not.
PHRASES = (
    "i'm sorry", "i am sorry", "i apologize", "as an ai", "language model", "i cannot", "i can't", "i'm not able to",
    "i understand that", "certainly", "of course", "great question", "hope this helps", "let me know if",
    "feel free to", "in conclusion", "it's important to",
)  # fmt: skip
# The more telling first: what has a bullet has a line break as well.
FORMATS = {
    "a code fence": re.compile(r"```|~~~"),
    "a table": re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE),
    "a header": re.compile(r"^#{1,6}\s+\S", re.MULTILINE),
    "a bullet": re.compile(r"^[^\S\n]*[-*•]\s+\S", re.MULTILINE),
    "a numbered list": re.compile(r"^[^\S\n]*\d{1,2}[.)]\s+\S", re.MULTILINE),
    "bold": re.compile(r"\*\*\S[^*\n]*\*\*"),
    "a link": re.compile(r"https?://|www\."),
    "an emoji": re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]"),
    "an empty line": re.compile(r"\S[^\S\n]*\n[^\S\n]*\n\s*\S"),
    "a line break": re.compile(r"\S[^\S\n]*\n\s*\S"),
    "a leading line break": re.compile(r"\A\n"),
    "a leading space": re.compile(r"\A[^\S\n]"),
    "a trailing space": re.compile(r"\s\Z"),
    "a number": re.compile(r"\d"),
}
ENDINGS = ".!?:,\"')*`"
_NAME = r"(?<=[\w,;:'\"] ){}\b"


@dataclass(frozen=True)
class Marker:
    """A mark that separates: which side has it, how often that is right where one side alone has it, and how often
    that is so (a share of pairs; of labels the share of completions that have it)."""

    said: str
    side: str
    accuracy: float
    decides: float
    chosen: int
    rejected: int
    p_value: float
    places: Ints

    def json(self) -> Json:
        found = {name: value for name, value in vars(self).items() if name not in ("said", "places")}
        return {"marker": self.said, **found}


def markers(view: View) -> tuple[Finding, list[Json]]:
    """The marks that separate the sides beyond chance, the most telling first.

    Tried are openings of one to four words, phrases of assistants, formats, endings and single words. A mark that
    stands on one side only in N prompts and mostly on one of them has the p-value of a sign test with N prompts; of
    labels it is Fisher's exact test on the first completion of each prompt and label. The level of .01 is divided by
    the number of marks tried (Bonferroni), those with N >= 10: N does not depend on the sides, so that leaving the
    others out is free (Tarone 1990). "look" where a mark is right for .65 of the pairs that it decides and decides 1 %
    of all, "bad" where it is right for .8 and decides a quarter.
    """
    sides = view.texts
    if not sides.enough:
        one, other = view.names
        return unknown("markers", f"There are no {one if not sides.first else other} completions to compare."), []
    first, second, names = matrices(*(map(dict.fromkeys, map(marks, side)) for side in (sides.first, sides.second)))
    tried, p_values = _paired_test(view, sides, first, second) if sides.paired else _test(view, sides, first, second)
    if not len(tried):
        return unknown("markers", f"No mark stands on one side only in {FEWEST} prompts: too few to tell."), []
    found = _separating(view, sides, (first, second), names, tried, p_values)
    checked = f"{plural(len(tried), 'mark')} tried"
    if not found:
        said = sentence(f"no single mark tells the sides apart ({checked})", view.sampled)
        return Finding("markers", "fine", said), []
    best = found[0]
    level: Level = "bad" if best.accuracy >= BAD_ACCURACY and best.decides >= BAD_SHARE else "look"
    also = [f"{m.said} ({percent(m.accuracy)} of {percent(m.decides)})" for m in found[1:NAMED]]
    where = "the pairs in which one side alone has it" if view.paired else "the completions that have it"
    said = sentence(
        f"{best.said} marks {best.side}: right in {percent(best.accuracy)} of {where}, {percent(best.decides)} of all",
        f"then {' and '.join(also)}" if also else "",
        view.sampled,
    )
    finding = Finding("markers", level, said, ADVICE, view.lines(best.places), len(best.places))
    return finding, [marker.json() for marker in found[:NAMED]]


def marks(text: str) -> Iterator[str]:
    """The names of the marks that a text has."""
    words = words_of(text)
    yield from (f"begins {' '.join(words[:n])}" for n in range(1, min(4, len(words)) + 1))
    lowered = plain_quotes(text).lower()
    yield from (f"phrase {phrase}" for phrase in PHRASES if phrase in lowered)
    yield from (f"format {name}" for name, pattern in FORMATS.items() if pattern.search(text))
    last = plain_quotes(text.rstrip())[-1:].replace("“", '"').replace("”", '"')
    yield f"ends {last if last in ENDINGS else ''}"
    yield from (f"word {word}" for word in words)


def _separating(
    view: View, sides: Sides[str], counts: tuple[Any, Any], names: list[str], tried: Ints, p_values: Floats
) -> list[Marker]:
    """The marks beyond chance that decide well, by how much more often the one side has them than the other."""
    have = [holders(side) for side in counts]
    gap = have[0] / len(sides.first) - have[1] / len(sides.second)
    accuracy, decides = _decided(sides, counts, have)
    p_of = dict(zip(tried.tolist(), p_values.tolist(), strict=True))
    good = [
        i for i in tried[p_values * len(tried) <= ALPHA].tolist() if accuracy[i] >= ACCURACY and decides[i] >= SHARE
    ]
    columns = [side.tocsc() for side in counts]  # by row, each look at one mark would read the whole matrix
    found: list[Marker] = []
    taken: list[Ints] = []
    for i in sorted(good, key=lambda i: (-abs(round(float(gap[i]), 12)), *_telling(names[i]))):
        if len(found) == NAMED:
            break
        has = [holds(side, i) for side in columns]
        places = _places(sides, has, first=gap[i] > 0)
        # The same records again, under another name: "sure" opens them, then "sure" is in them.
        if any(len(np.intersect1d(places, other)) >= 0.8 * min(len(places), len(other)) for other in taken):
            continue
        taken.append(places)
        side = view.names[0] if gap[i] > 0 else view.names[1]
        chosen, rejected = int(have[0][i]), int(have[1][i])
        said = _said(names[i], sides)
        right, share = float(accuracy[i]), float(decides[i])
        found.append(Marker(said, side, right, share, chosen, rejected, p_of[i], places))
    return found


def _telling(name: str) -> tuple[int, int, str]:
    """The order of marks that separate equally well: phrases and longer openings say more than one word or a stop."""
    kind, _, what = name.partition(" ")
    place = list(FORMATS).index(what) if kind == "format" else -len(what)
    return ("phrase", "begins", "format", "word", "ends").index(kind), place, name


def _decided(sides: Sides[str], counts: tuple[Any, Any], have: list[Ints]) -> tuple[Floats, Floats]:
    """For each mark how often it is right where it decides, and the share that it decides, as in `Marker`."""
    if sides.paired:
        one, other = _votes(counts[0] - counts[1])
        decided = one + other
        return np.maximum(one, other) / np.maximum(decided, 1), decided / len(sides.first)
    shares = [side / max(1, n) for side, n in zip(have, (len(sides.first), len(sides.second)), strict=True)]
    total = np.maximum(shares[0] + shares[1], 1e-12)
    return np.maximum(*shares) / total, (have[0] + have[1]) / (len(sides.first) + len(sides.second))


def _votes(differences: Any) -> tuple[Ints, Ints]:
    """How many rows of a sparse matrix are above 0, and how many below, by column."""
    entries, width = differences.tocoo(), differences.shape[1]
    above, below = (np.bincount(entries.coords[1][entries.data * sign > 0], minlength=width) for sign in (1, -1))
    return above, below


def _places(sides: Sides[str], has: list[Any], first: bool) -> Ints:
    """The records that the mark tells rightly."""
    if sides.paired:
        right: Ints = sides.first_at[has[0] & ~has[1] if first else has[1] & ~has[0]]
        return right
    return np.unique(sides.first_at[has[0]] if first else sides.second_at[has[1]])


def _paired_test(view: View, sides: Sides[str], first: Any, second: Any) -> tuple[Ints, Floats]:
    """The marks tried and their two-sided p-values: a prompt votes once, for the side that has the mark more often."""
    _, prompts = np.unique(view.prompts[sides.first_at], return_inverse=True)
    n = len(prompts)
    collect = sparse.csr_array((np.ones(n), (prompts, np.arange(n))), shape=(int(prompts.max()) + 1, n))
    up, down = _votes(collect @ (first - second))
    tried = np.flatnonzero(up + down >= FEWEST)
    total, most = (up + down)[tried], np.maximum(up, down)[tried]
    return tried, np.asarray(2 * scipy.stats.binom.sf(most - 1, total, 0.5))


def _test(view: View, sides: Sides[str], first: Any, second: Any) -> tuple[Ints, Floats]:
    """The same for labels: a mark's share of the completions of either label, one completion a prompt and label."""
    once = [np.unique(view.prompts[at], return_index=True)[1] for at in (sides.first_at, sides.second_at)]
    up, down = holders(first[once[0]]), holders(second[once[1]])
    n, m = len(once[0]), len(once[1])
    tried = np.flatnonzero((up + down >= FEWEST) & (n + m - up - down >= FEWEST))
    total, found = (up + down)[tried], up[tried]
    tails = scipy.stats.hypergeom.sf(found - 1, n + m, total, n), scipy.stats.hypergeom.cdf(found, n + m, total, n)
    p_values = 2 * np.minimum(*tails)
    return tried, p_values


def _said(name: str, sides: Sides[str]) -> str:
    kind, _, what = name.partition(" ")
    if kind == "begins":
        return f"the opening {quoted(what)}"
    if kind == "phrase":
        return f"the phrase {quoted(what)}"
    if kind == "ends":
        return f"the ending {quoted(what)}" if what else "an end without punctuation"
    if kind == "format":
        return what
    # A word that is written with a capital within sentences is a name.
    pattern = re.compile(_NAME.format(re.escape(what)), re.IGNORECASE)
    seen = [m[0] for text in (*sides.first[:5000], *sides.second[:5000]) for m in pattern.finditer(plain_quotes(text))]
    capital = [form for form in seen if form[0].isupper() and not form.startswith("I'") and form != "I"]
    if seen and len(capital) > 0.8 * len(seen):
        return f"the name {quoted(max(set(capital), key=lambda form: (capital.count(form), form)))}"
    return f"the word {quoted(what)}"
