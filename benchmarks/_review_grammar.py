"""A grammar of short English film reviews: the language that the benchmark `reviews` is written in.

A review is an *opening* (the prompt: which film, seen how) and a *rest* (the completion: two or three short
sentences of opinion). Every token, punctuation included, stands between single spaces, so `text.split(" ")` and
`" ".join(tokens)` are inverse and a whitespace word tokenizer loses nothing.

Each review has one overall opinion, a real number, and every clause takes its stance near it. Were the clauses
independent, nothing would reward a language model for knowing sentiment.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from ._review_words import (
    ADJECTIVES,
    ASPECTS,
    BASE_FORMS,
    DAYS,
    DEGREES,
    FAMILY,
    FELT,
    FILM,
    GENRES,
    HALLMARKS,
    INTRANSITIVE,
    MODIFIERS,
    MOVED_ME,
    PLACES,
    PLOT_VERBS,
    QUALITIES,
    ROLES,
    TOO,
    VERDICTS,
    VOCABULARY,
)

__all__ = ["MAX_TOKENS", "MIN_TOKENS", "VOCABULARY", "Review", "complete", "openings", "review"]

MIN_TOKENS, MAX_TOKENS = 12, 28  # of a rest, its last full stop included

# {r} and {s} are roles after their articles. The opening's last word tells what must follow: a full stop a sentence,
# "and" a clause, anything else a predicate.
_OPENINGS = (
    "this {m} {g} about {r}",
    "the {m} {g} about {r} and {s}",
    "this {g} from {p} about {r}",
    "i watched this {m} {g} about {r} , and",
    "on {d} i saw this {g} about {r} , and",
    "{r} {v} {s} in this {m} {g} .",
    "this {m} {g} follows {r} and {s} .",
    "i saw this {g} about {r} in {p} .",
    "i expected little from this {g} about {r} .",
    "i expected much from this {g} about {r} .",
    "my {f} praised this {g} about {r} .",
    "my {f} mocked this {g} about {r} .",
)
_LEANING = {"little": 0.4, "much": -0.4, "praised": 0.4, "mocked": -0.4}  # how these words move the opinion to come


class Review(NamedTuple):
    """One review and the opinion it was written from (mean about 0, standard deviation about 0.75)."""

    opening: str
    rest: str
    opinion: float


def with_article(words: list[str]) -> list[str]:
    """The words after "a" or "an"; no word of the vocabulary starts with a silent h or a "yoo" sound."""
    return ["an" if words[0][0] in "aeiou" else "a", *words]


class _Writer:
    """Writes one rest. It remembers what it has said, since a person does not praise the same thing twice."""

    def __init__(self, rng: Random, genre: str, opinion: float) -> None:
        self.rng, self.genre, self.opinion = rng, genre, opinion
        self.used: set[str] = set()
        self.on_film = False  # the last clause was about the film as a whole, so "it" can mean nothing else

    def pick(self, words: str) -> str:
        fresh = [word for word in words.split() if word not in self.used]
        word = self.rng.choice(fresh or words.split())  # all said already is rare: then a person repeats a word, too
        self.used.add(word)
        return word

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def grade(self, spread: float = 0.4) -> int:
        """A clause's stance: near the overall opinion, not equal to it."""
        stance = self.rng.gauss(self.opinion, spread)
        return (2 if abs(stance) > 0.9 else 1) * (1 if stance > 0 else -1)

    def adjective(self, group: str, grade: int) -> str:
        special = ADJECTIVES[group][grade]
        if group == "film" and self.genre not in ("comedy", "farce", "satire", "cartoon"):
            special = special.replace(" funny", "")
        fits = set(special.split()) - self.used and self.chance(0.5)
        return self.pick(special if fits else ADJECTIVES["any"][grade])

    def described(self, group: str, grade: int) -> list[str]:
        """An adjective, perhaps with a degree word."""
        adjective, roll = self.adjective(group, grade), self.rng.random()
        degrees = DEGREES.get((grade, roll < 0.25), "") if roll < 0.45 else ""
        if adjective in TOO.split() and roll < 0.15:
            degrees = "too"
        return [self.rng.choice(degrees.split()), adjective] if degrees else [adjective]

    def denied(self, group: str, grade: int) -> list[str]:
        """The opposite, denied: "not bad", "never dull" and "not very good" are how English says the mild things."""
        word = self.adjective(group, -1 if grade > 0 else 1)
        if grade > 0:
            return [self.rng.choice(["not", "never"]), word]
        return [*self.rng.choice(["not very", "not", "never", "hardly"]).split(), word]

    def predicate(self, group: str, plural: bool, grade: int) -> list[str]:
        """What is said of an aspect, or ("film") of the film."""
        be, roll = self.rng.choice(["were" if plural else "was"] * 5 + ["seemed", "felt"]), self.rng.random()
        if roll < 0.16:
            return self.event(group, grade)
        if roll < 0.30:
            return [*self.effect(grade), "me"]
        if roll < 0.50 and abs(grade) == 1:
            return ["were" if plural else "was", *self.denied(group, grade)]
        if group == "film" and roll < 0.75:
            return self.film_predicate(grade)
        if roll < 0.60:
            return [be, self.adjective(group, grade), "and", self.adjective(group, grade)]
        return [be, *self.described(group, grade)]

    def event(self, group: str, grade: int) -> list[str]:
        """ "shone", "never worked", "did not drag"."""
        if abs(grade) == 2 or self.chance(0.4):
            return [self.pick(INTRANSITIVE[group][grade])]
        verb = self.pick(INTRANSITIVE[group][-grade])
        return ["did", "not", BASE_FORMS[verb]] if verb in BASE_FORMS and self.chance(0.5) else ["never", verb]

    def effect(self, grade: int) -> list[str]:
        """What it did to the reviewer: "moved", "never bored", "did not amuse"."""
        if abs(grade) == 2 or self.chance(0.5):
            return [self.pick(MOVED_ME[grade])]
        if grade > 0:
            return ["never", self.pick(MOVED_ME[-2])]
        verb = self.pick(MOVED_ME[1])
        return ["did", "not", BASE_FORMS[verb]] if verb in BASE_FORMS else ["never", verb]

    def film_predicate(self, grade: int) -> list[str]:
        side, roll = (1 if grade > 0 else -1), self.rng.random()
        if roll < 0.35:
            return ["was", *with_article([self.pick(VERDICTS[grade])])]
        if roll < 0.65 and not self.used.intersection(FILM.split()):
            return ["was", *with_article([*self.described("film", grade), self.pick(FILM)])]
        if grade == -1:
            lack = self.rng.choice(["lacked", "had no", "had little", "was without"]).split()
            return [*lack, self.pick(QUALITIES[1])]
        return [*self.rng.choice(["was full of", "had plenty of"]).split(), self.pick(QUALITIES[side])]

    def aspect(self) -> tuple[str, str, bool]:
        """An aspect not yet mentioned, as often as not one that the genre is known for; its group; plural or not."""
        where = {word: (group, n == 1) for group, both in ASPECTS.items() for n in (0, 1) for word in both[n].split()}
        known = set(HALLMARKS[self.genre].split()) - self.used and self.chance(0.4)
        word = self.pick(HALLMARKS[self.genre] if known else " ".join(where))
        return word, *where[word]

    def clause(self, grade: int, begins: bool = False) -> list[str]:
        """Subject and predicate; the film is "it" at the start of a sentence or where it was spoken of just before."""
        roll = self.rng.random()
        if roll < 0.18:
            said = self.predicate("film", False, grade)
            if self.on_film or said[-1] in FILM.split() or (begins and self.chance(0.5)):
                return ["it", *said]
            self.on_film = True
            return ["the", self.pick(f"{FILM} {self.genre}"), *said]
        word, group, plural = self.aspect()
        self.on_film = False
        if roll < 0.32:
            if grade == -1 and self.chance(0.6):
                return ["i", "did", "not", self.rng.choice(["enjoy", "like"]), "the", word]
            really = ["really"] if self.chance(0.25) else []
            return ["i", *really, self.pick(FELT[grade]), "the", word]
        return [self.rng.choice(["the", "the", "the", "its"]), word, *self.predicate(group, plural, grade)]

    def sentence(self, start: str) -> list[str]:
        """One sentence of one or two clauses; `start` says what the opening left to be completed."""
        grade, roll = self.grade(), self.rng.random()
        mild = -1 if grade > 0 else 1  # in a mixed sentence one half carries the opinion, the other concedes a little
        if start == "sentence" and roll < 0.12:
            return [*self.concession(mild), ",", *self.clause(grade), "."]
        if start != "predicate" and roll < 0.28:
            return [*self.clause(mild, True), self.rng.choice(["but", "but", "yet"]), *self.clause(grade), "."]
        self.on_film = start == "predicate"
        first = self.predicate("film", False, grade) if start == "predicate" else self.clause(grade, True)
        if roll < 0.28:
            return [*first, ",", self.rng.choice(["although", "though"]), *self.clause(mild), "."]
        if roll < 0.46:
            second = self.grade()
            comma = [","] if self.chance(0.3) else []
            return [*first, *comma, "and" if second * grade > 0 else "but", *self.clause(second), "."]
        return [*first, "."]

    def concession(self, grade: int) -> list[str]:
        """ "although the plot was thin", "despite its thin plot"."""
        if self.chance(0.7):
            return [self.rng.choice(["although", "though"]), *self.clause(grade)]
        word, group, _ = self.aspect()
        return ["despite", self.rng.choice(["the", "its"]), self.adjective(group, grade), word]

    def closing(self) -> list[str]:
        good = ["i would watch it again", "i would gladly watch it again", "see it twice", "i left the cinema smiling"]
        good += ["i would happily recommend it to my {f}", "i would recommend it"]
        bad = ["i would not watch it again", "i would never watch it again", "skip it", "i left the cinema early"]
        bad += ["i left the cinema yawning", "i cannot recommend it", "i would not recommend it to my {f}"]
        text = self.rng.choice(good if self.grade(0.2) > 0 else bad).format(f=self.rng.choice(FAMILY.split()))
        return [*text.split(), "."]

    def aside(self) -> list[str]:
        """A sentence without an opinion."""
        place, end = self.rng.choice(PLACES.split()), self.rng.choice(["wedding", "funeral", "storm", "dance"])
        hours = self.rng.choice(["two", "three"])
        text = self.rng.choice([f"it is set in {place}", f"it ends with a {end}", f"it runs for {hours} hours"])
        return [*text.split(), "."]


def _opening(rng: Random) -> str:
    def choose(words: str) -> str:
        return rng.choice(words.split())

    r, s = rng.sample(ROLES.split(), 2)
    return rng.choice(list(_OPENINGS)).format(
        m=choose(MODIFIERS), g=choose(GENRES), p=choose(PLACES), f=choose(FAMILY),
        d=choose(DAYS), v=choose(PLOT_VERBS), r=" ".join(with_article([r])), s=" ".join(with_article([s])),
    )  # fmt: skip


def openings(count: int, rng: Random) -> list[str]:
    """`count` different openings, shuffled so that every slice is a fair sample; ValueError if there are too few."""
    found: dict[str, None] = {}
    for _ in range(20 * count + 100):
        if len(found) == count:
            break
        found[_opening(rng)] = None
    if len(found) < count:
        raise ValueError(f"only {len(found)} different openings found, {count} asked for: ask for fewer")
    distinct = list(found)
    rng.shuffle(distinct)  # patterns with fewer fillings run dry first, so the order drawn is not exchangeable
    return distinct


def complete(opening: str, rng: Random) -> Review:
    """A review that begins with an opening of this grammar; ValueError if no genre is named in it."""
    words = opening.split(" ")
    genre = next((word for word in words if word in HALLMARKS), None)
    if genre is None:
        raise ValueError(f"'{opening}' names no genre: take an opening from `openings`")
    start = {".": "sentence", "and": "clause"}.get(words[-1], "predicate")
    opinion = rng.gauss(sum(_LEANING.get(word, 0.0) for word in words), 0.7)
    while True:  # five drafts of six have a fitting length
        writer = _Writer(rng, genre, opinion)
        tokens = writer.sentence(start) + (writer.aside() if writer.chance(0.12) else [])
        tokens += writer.sentence("sentence") + (writer.closing() if writer.chance(0.5) else [])
        if MIN_TOKENS <= len(tokens) <= MAX_TOKENS:
            return Review(opening, " ".join(tokens), opinion)


def review(rng: Random) -> tuple[str, str]:
    """A new review as (opening, rest); their text is f"{opening} {rest}"."""
    return complete(_opening(rng), rng)[:2]
