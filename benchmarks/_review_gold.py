"""The gold reward of the benchmark `reviews`: how favourable a review is, if it can be read at all.

    gold = max(-3, 3 tanh(sum of opinions / 4) - broken - repeated)

An opinion is a word's weight, changed by the words before it in its clause:

- a degree word scales the next opinion word ("very good"); "too" makes a virtue a fault ("too clever");
- a negation turns and dampens every opinion up to the end of its clause, and to deny a stronger claim says less:
  "not good" is -0.6 times "good", "not very good" only -0.6 / 1.4 times;
- what "but" follows counts less and what follows "but" more; what "although" or "despite" concedes counts half;
- the k-th opinion word of a clause counts 2^(1-k), since piling up adjectives says little more, and so does the k-th
  use of one opinion word in the review.

The prompt is context (it may hold the subject, or a negation still open) but neither its opinions nor its mistakes
are the writer's, so they count nothing. Words outside the lexicon are neutral, and unknown words are never mistakes.
The learners see only what comes out of this: weights and rules are read nowhere else.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

from ._review_words import BASE_FORMS, TAGS

# Opinions saturate at +-LIMIT, half-way at a sum of 2.2; nothing is worth less than -LIMIT.
LIMIT, SCALE = 3.0, 4.0
REPEATED_WORD, REPEATED_PHRASE = 0.3, 0.2
WRONG_PAIR, WRONG_ARTICLE, NO_VERB, TWO_VERBS, NO_END, EMPTY = 0.4, 0.2, 0.5, 0.4, 0.8, 2.0
BEFORE_BUT, AFTER_BUT, CONCEDED = 0.7, 1.3, 0.5
TOO_GOOD = -0.4

_WEIGHTS = {
    1.2: "superb brilliant magnificent unforgettable masterful triumph adored",
    1.0: "wonderful excellent great gripping stunning luminous loved thrilled gem dazzled soared",
    0.9: "beautiful delighted joy delight shone sparkled",
    0.7: "clever charming touching moved witty admired recommend again treat",
    0.6: "funny warm convincing elegant charmed charm wit heart enjoyed twice smiling",
    0.5: "good enjoyable fresh brisk confident catchy likeable amused warmth pleasure convinced worked",
    0.4: "appealing solid pleasant liked energy",
    -0.4: "weak loud thin stiff slow puzzled struggled noise",
    -0.5: "bad uneven drab forgettable bland clumsy disappointed stumbled disliked wearied",
    -0.6: "dull tired mediocre predictable shallow wooden disappointing dragged droned padding early",
    -0.7: "letdown failure nonsense yawning skip",
    -0.9: "boring tedious bored annoyed irritated bore chore grated",
    -1.0: "awful lifeless ugly painful pointless failed collapsed hated mess",
    -1.2: "terrible dreadful horrible dismal embarrassing unbearable detested disaster",
}
LEXICON = {word: weight for weight, words in _WEIGHTS.items() for word in words.split()}
LEXICON |= {base: LEXICON[past] for past, base in BASE_FORMS.items()}
DEGREES = {
    "slightly": 0.6, "somewhat": 0.7, "fairly": 0.8, "rather": 0.9, "quite": 0.9, "simply": 1.1, "gladly": 1.2,
    "happily": 1.2, "really": 1.3, "truly": 1.3, "too": 1.3, "very": 1.4, "painfully": 1.4, "remarkably": 1.4,
    "absolutely": 1.5, "utterly": 1.5,
}  # fmt: skip
NEGATIONS = {
    "hardly": -0.5, "not": -0.6, "little": -0.6, "never": -0.7, "no": -0.7, "without": -0.7, "lacked": -0.7,
    "cannot": -0.8,
}  # fmt: skip

_NOUN_PHRASE = "article the noun nouns adjective degree"
_AFTER_EVENT = "preposition and but although despite , ."
_AFTER_NOUN = "was seemed shone loved meets would never adverb " + _AFTER_EVENT
_SAID = "adjective kind degree not never article full preposition"
_CLAUSE = "article the i it"
# Which part of speech may follow which: the bigrams this small English needs, agreement in number included.
_FOLLOWS = {
    "": _CLAUSE + " nouns although despite preposition watch",  # the start of a sentence
    ",": _CLAUSE + " nouns although despite preposition and but",
    "although": _CLAUSE + " nouns",
    "despite": "article the mass nouns adjective degree kind",
    "and": _NOUN_PHRASE + " i it kind mass not never was were seemed shone loved would",
    "but": _NOUN_PHRASE + " i it kind mass quantity not never was were seemed shone loved would",
    "article": "noun adjective degree kind",
    "the": "noun nouns mass adjective degree kind",
    "quantity": "mass nouns preposition",
    "number": "nouns",
    "noun": _AFTER_NOUN,
    "nouns": _AFTER_NOUN.replace("was", "were"),
    "mass": _AFTER_NOUN,
    "name": _AFTER_NOUN + " i it",
    "kind": "noun nouns kind and but , .",
    "adjective": "noun nouns mass kind and but although despite , .",
    "degree": "adjective loved shone",
    "not": "adjective degree watch article gladly",
    "never": "adjective degree shone loved seemed watch article",
    "was": _SAID,
    "were": _SAID,
    "seemed": "adjective degree kind",
    "shone": _AFTER_EVENT,
    "loved": _NOUN_PHRASE + " it me mass quantity kind",
    "meets": "article the preposition",
    "would": "not never watch gladly",
    "watch": "article the it me adverb " + _AFTER_EVENT,
    "gladly": "watch",
    "adverb": _AFTER_EVENT,
    "full": "preposition",
    "preposition": _NOUN_PHRASE + " mass name number it me kind",
    "i": "loved shone would never degree",
    "it": "was seemed shone loved meets would never adverb " + _AFTER_EVENT,
    "me": "adverb " + _AFTER_EVENT,
}
FOLLOWS = {tag: frozenset(tags.split()) for tag, tags in _FOLLOWS.items()}
_END = frozenset(".!?")
_FINITE = frozenset(["was", "were", "seemed", "shone", "loved", "meets", "would"])
_LEMMA = {base: past for past, base in BASE_FORMS.items()}


class _Clause(NamedTuple):
    """Words [first, end) of the text; `lead` is the word that joins the clause to what precedes it, or ""."""

    first: int
    end: int
    lead: str
    weight: float


class _Text:
    """Prompt and completion as words, tags ("?" is a word this language does not know) and sentences of clauses."""

    def __init__(self, prompt: str, completion: str) -> None:
        before, own = prompt.split(), completion.split()
        self.words, self.start = before + own, len(before)
        self.tags = ["." if word in _END else TAGS.get(word, "?") for word in self.words]
        ends = [i + 1 for i, tag in enumerate(self.tags) if tag == "."]
        ends += [len(self.words)] if self.words and self.tags[-1] != "." else []
        self.sentences = [self._clauses(first, end) for first, end in zip([0, *ends], ends, strict=False)]

    def _clauses(self, first: int, end: int) -> list[_Clause]:
        cuts = [first]
        for i in range(first + 1, end):
            if self._begins_clause(i, cuts[-1], end):
                cuts.append(i)
        clauses = []
        for a, b in zip(cuts, [*cuts[1:], end], strict=True):
            lead = self.words[a + 1] if self.tags[a] == "," and a + 1 < b else self.words[a]
            lead = lead if TAGS.get(lead) in ("and", "but", "although", "despite") else ""
            clauses.append(_Clause(a, b, lead, CONCEDED if TAGS.get(lead) in ("although", "despite") else 1.0))
        buts = [k for k, clause in enumerate(clauses) if TAGS.get(clause.lead) == "but"]
        if buts:  # the last "but" of a sentence has the last word
            factors = [BEFORE_BUT if k < buts[-1] else AFTER_BUT for k in range(len(clauses))]
            clauses = [c._replace(weight=c.weight * factor) for c, factor in zip(clauses, factors, strict=True)]
        return clauses

    def _begins_clause(self, i: int, clause: int, end: int) -> bool:
        """ "and" joins clauses only where there is a verb on both sides: "was not clever and funny" is one clause."""
        hard = ("but", "although", "despite", ",")
        if self.tags[i - 1] == ",":
            return False  # the comma has begun it
        if self.tags[i] in hard:
            return True
        if self.tags[i] != "and" or not _FINITE.intersection(self.tags[clause:i]):
            return False
        right = next((k for k in range(i + 1, end) if self.tags[k] in hard), end)
        return bool(_FINITE.intersection(self.tags[i:right]))


def _opinions(text: _Text) -> list[tuple[str, float]]:
    """The completion's opinion words, in order, each with what it adds to the sum."""
    found: list[tuple[str, float]] = []
    uses: Counter[str] = Counter()
    for clause in (clause for sentence in text.sentences for clause in sentence):
        negation, degree, too, said = 1.0, 1.0, False, 0
        for i in range(clause.first, clause.end):
            word = text.words[i]
            negation *= NEGATIONS.get(word, 1.0)
            degree, too = min(2.0, degree * DEGREES.get(word, 1.0)), too or word == "too"
            if word not in LEXICON:
                continue
            value = LEXICON[word]
            if negation != 1.0:
                value *= negation / max(1.0, degree)
            else:
                value *= TOO_GOOD if too and value > 0 else degree
            degree, too = 1.0, False
            if i >= text.start:
                lemma = _LEMMA.get(word, word)
                found.append((word, value * clause.weight * 0.5 ** (said + uses[lemma])))
                uses[lemma] += 1
                said += 1
    return found


def _wrong_pairs(text: _Text) -> list[tuple[str, float]]:
    found = []
    for i in range(text.start, len(text.words)):
        word, tag = text.words[i], text.tags[i]
        before = text.words[i - 1] if i else ""
        left = text.tags[i - 1] if i else "."
        left = "" if left == "." else left
        known = tag != "?" and left != "?"
        if word == before or (known and tag not in FOLLOWS[left]):
            found.append((f"{before} {word}", WRONG_PAIR))
        elif known and before in ("a", "an") and (before == "an") != (word[0] in "aeiou"):
            found.append((f"{before} {word}", WRONG_ARTICLE))
    return found


def _wrong_clauses(text: _Text) -> list[tuple[str, float]]:
    """Every clause has one finite verb; "but" and "and" may go on without one, and so may a phrase as "in paris ,"."""
    found = []
    for sentence in text.sentences:
        spans: list[tuple[int, int]] = []
        for clause in sentence:
            verbless = not _FINITE.intersection(text.tags[clause.first : clause.end])
            if spans and verbless and TAGS.get(clause.lead) in ("and", "but"):
                spans[-1] = (spans[-1][0], clause.end)
            else:
                spans.append((clause.first, clause.end))
        for first, end in spans:
            words, tags = text.words[first:end], text.tags[first:end]
            if end <= text.start or not set(tags) - {",", "."}:
                continue
            verbs = sum(tag in _FINITE for tag in tags)
            opening = next(tag for tag in tags if tag != ",")
            if not verbs and not {"?", "watch"}.intersection(tags) and opening not in ("preposition", "despite"):
                found.append(("no verb: " + " ".join(words), NO_VERB))
            found += [("verbs: " + " ".join(words), TWO_VERBS)] * max(0, verbs - 1)
    return found


def _repetitions(text: _Text) -> list[tuple[str, float]]:
    """Opinion words, and runs of three words within a sentence, that the completion has had before."""
    own = text.words[text.start :]
    words = Counter(_LEMMA.get(word, word) for word in own if word in LEXICON)
    # Three words are what an honest reviewer seldom says twice; a full stop may end them, so "skip it ." is a run.
    runs = Counter(run for run in zip(own, own[1:], own[2:], strict=False) if not {".", ","}.intersection(run[:2]))
    found = [(word, REPEATED_WORD * (n - 1)) for word, n in words.items() if n > 1]
    return found + [(" ".join(run), REPEATED_PHRASE * (n - 1)) for run, n in runs.items() if n > 1]


def explain(prompt: str, completion: str) -> list[tuple[str, float]]:
    """How `gold` comes about: each "opinion: WORD" (these add up inside the tanh), then "sentiment", then each
    "broken: ..." and "repeated: ..." (negative), and last "gold". From "sentiment" on they sum to gold, or it is -3.
    """
    text = _Text(prompt, completion)
    opinions = _opinions(text)
    sentiment = LIMIT * math.tanh(sum(value for _, value in opinions) / SCALE)
    if text.start == len(text.words):
        broken = [("empty", EMPTY)]
    else:
        broken = _wrong_pairs(text) + _wrong_clauses(text)
        broken += [] if text.tags[-1] == "." else [("no end mark", NO_END)]
    costs = [(f"broken: {part}", -cost) for part, cost in broken]
    costs += [(f"repeated: {part}", -cost) for part, cost in _repetitions(text)]
    total = max(-LIMIT, sentiment + sum(cost for _, cost in costs))
    parts = [(f"opinion: {word}", value) for word, value in opinions]
    return [*parts, ("sentiment", sentiment), *costs, ("gold", total)]


def gold(prompt: str, completion: str) -> float:
    """The gold reward of a completion after its prompt, in [-3, 3]: a pure function, defined for any two texts."""
    return explain(prompt, completion)[-1][1]
