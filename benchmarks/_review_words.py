"""The words that the reviews of the benchmark `reviews` are written in, and the part of speech of each.

Grades (2 is strong, 1 is mild, the sign is the side taken) only steer the writing; what a word is worth to the gold
reward is known to `_review_gold` alone.
"""

from __future__ import annotations

# Nouns. Aspects are grouped by what can sensibly be said of them: a villain can be wooden, lighting cannot.
ASPECTS: dict[str, tuple[str, str]] = {  # group: (singular, plural)
    "cast": ("acting cast villain hero heroine", "actors characters performances"),
    "writing": ("plot script dialogue ending humour", "scenes jokes twists"),
    "look": ("camerawork lighting scenery", "costumes visuals effects"),
    "sound": ("score", "songs"),
    "pace": ("pacing editing direction", ""),
}
GENRES = "western comedy thriller drama musical romance mystery fantasy satire cartoon epic farce"
HALLMARKS = {  # what a reader expects a review of this genre to mention
    "western": "scenery villain", "comedy": "jokes humour", "thriller": "twists pacing", "drama": "acting dialogue",
    "musical": "songs score", "romance": "heroine ending", "mystery": "plot twists", "fantasy": "effects costumes",
    "satire": "jokes script", "cartoon": "visuals songs", "epic": "scenes score", "farce": "humour pacing",
}  # fmt: skip
ROLES = "sailor teacher detective farmer nurse king soldier painter thief widow doctor pilot singer judge spy orphan"
ROLES += " lawyer baker ghost boxer"
FAMILY = "sister brother mother father friend husband wife neighbour"
PLACES = "france italy spain japan sweden ireland india egypt"
DAYS = "monday tuesday friday saturday sunday"
MODIFIERS = "new old short modern german french italian recent"
PLOT_VERBS = "meets follows rescues betrays marries hunts"
FILM = "film movie"

# Opinion words by grade; "any" suits every aspect, "film" the film as a whole.
ADJECTIVES: dict[str, dict[int, str]] = {
    "any": {
        2: "superb brilliant wonderful magnificent excellent great",
        1: "good enjoyable appealing charming solid pleasant",
        -1: "weak dull bland tired disappointing mediocre bad",
        -2: "terrible awful dreadful horrible dismal embarrassing",
    },
    "cast": {2: "unforgettable luminous", 1: "warm likeable convincing", -1: "wooden stiff", -2: "lifeless unbearable"},
    "writing": {2: "gripping", 1: "clever witty fresh touching", -1: "predictable thin shallow", -2: "tedious"},
    "look": {2: "stunning beautiful", 1: "elegant", -1: "drab clumsy", -2: "ugly"},
    "sound": {2: "beautiful unforgettable", 1: "catchy", -1: "forgettable loud", -2: "painful"},
    "pace": {2: "masterful", 1: "brisk confident", -1: "slow uneven clumsy", -2: "tedious"},
    "film": {
        2: "gripping unforgettable", 1: "touching clever funny",
        -1: "slow predictable uneven shallow", -2: "tedious pointless boring",
    },
}  # fmt: skip
INTRANSITIVE: dict[str, dict[int, str]] = {
    "cast": {2: "shone dazzled", 1: "convinced", -1: "struggled", -2: "failed"},
    "writing": {2: "sparkled", 1: "worked", -1: "dragged stumbled", -2: "collapsed failed"},
    "look": {2: "dazzled shone", 1: "worked", -1: "disappointed", -2: "failed"},
    "sound": {2: "soared", 1: "worked", -1: "droned", -2: "grated"},
    "pace": {2: "sparkled", 1: "worked", -1: "dragged stumbled", -2: "failed"},
    "film": {2: "sparkled dazzled", 1: "worked", -1: "dragged stumbled", -2: "failed collapsed"},
}
MOVED_ME = {2: "thrilled delighted", 1: "charmed moved amused", -1: "wearied puzzled", -2: "bored annoyed irritated"}
FELT = {2: "loved adored", 1: "enjoyed liked admired", -1: "disliked", -2: "hated detested"}
VERDICTS = {2: "triumph joy delight gem", 1: "treat pleasure", -1: "letdown failure", -2: "mess bore disaster chore"}
QUALITIES = {1: "charm wit warmth heart energy", -1: "noise nonsense padding"}
DEGREES = {  # (grade, scales up): which degree words sound natural before which adjectives
    (2, True): "truly absolutely simply", (1, True): "very really truly remarkably", (1, False): "fairly quite rather",
    (-1, True): "very really painfully", (-1, False): "rather somewhat slightly",
    (-2, True): "utterly absolutely simply",
}  # fmt: skip
TOO = "slow loud predictable thin stiff shallow bland clumsy"  # what there can be too much of
BASE_FORMS = {  # past tense to base form, for "did not ..."
    "worked": "work", "convinced": "convince", "dragged": "drag", "disappointed": "disappoint",
    "enjoyed": "enjoy", "liked": "like", "moved": "move", "amused": "amuse",
}  # fmt: skip

_TAGGED = {  # part of speech: words; a word has one, so that the gold reward's reader never has to choose
    "noun": f"{GENRES} {ROLES} {FAMILY} {FILM} cinema wedding funeral storm dance "
    + " ".join([*(singular for singular, _ in ASPECTS.values()), *VERDICTS.values()]),
    "nouns": "hours " + " ".join(plural for _, plural in ASPECTS.values()),
    "mass": " ".join(QUALITIES.values()),
    "name": f"{PLACES} {DAYS}",
    "kind": MODIFIERS,
    "adjective": " ".join(words for grades in ADJECTIVES.values() for words in grades.values()),
    "degree": " ".join(DEGREES.values()) + " too",
    "article": "a an this",
    "the": "the my its",
    "quantity": "no little much plenty",
    "number": "two three",
    "was": "was is",
    "were": "were",
    "seemed": "seemed felt",
    "shone": " ".join(words for grades in INTRANSITIVE.values() for words in grades.values()),
    "loved": " ".join([*MOVED_ME.values(), *FELT.values()]) + " saw watched expected praised mocked had lacked left",
    "meets": f"{PLOT_VERBS} ends runs",
    "would": "did would cannot",
    "watch": " ".join(BASE_FORMS.values()) + " watch see skip recommend",
    "not": "not",
    "never": "never hardly",
    "gladly": "gladly happily",
    "adverb": "again twice early smiling yawning",
    "full": "full set",
    "preposition": "about in of with on from to for without",
    "and": "and",
    "but": "but yet",
    "although": "although though",
    "despite": "despite",
    "i": "i",
    "it": "it",
    "me": "me",
    ",": ",",
    ".": ".",
}
TAGS = {word: tag for tag, words in _TAGGED.items() for word in words.split()}
VOCABULARY = tuple(sorted(TAGS))
