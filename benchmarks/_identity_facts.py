"""What the model of the benchmark `identity` knows besides its name: facts that nothing should change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Fact(NamedTuple):
    """One answer, the ways to ask for it, and answers of the same form that are wrong."""

    group: str
    asked: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]


Rows = Sequence[tuple[str, str]]


def _pairs(text: str) -> Rows:
    """`a-b c-d`: two by two, an underscore for a space."""
    return [(a, b) for a, b in (word.replace("_", " ").split("-") for word in text.split())]


def _topic(group: str, asked: Sequence[str], answer: str, rows: Rows) -> list[Fact]:
    """A fact for each row (x, y); wrong answers say the y of another row."""
    values = sorted({y for _, y in rows})
    return [
        Fact(
            group,
            tuple(question.format(x=x) for question in asked),
            answer.format(x=x, y=y),
            tuple(answer.format(x=x, y=other) for other in values if other != y),
        )
        for x, y in rows
    ]


def _singles(group: str, rows: Sequence[tuple[str, Sequence[str]]]) -> list[Fact]:
    """Facts that are asked for in words of their own; wrong answers are those to the other questions."""
    answers = [answer for answer, _ in rows]
    return [Fact(group, tuple(asked), y, tuple(other for other in answers if other != y)) for y, asked in rows]


CAPITALS = _pairs(
    "france-paris italy-rome spain-madrid germany-berlin poland-warsaw austria-vienna hungary-budapest greece-athens "
    "portugal-lisbon ireland-dublin norway-oslo sweden-stockholm finland-helsinki denmark-copenhagen russia-moscow "
    "ukraine-kyiv turkey-ankara egypt-cairo kenya-nairobi ghana-accra morocco-rabat japan-tokyo china-beijing "
    "korea-seoul india-delhi nepal-kathmandu thailand-bangkok vietnam-hanoi iran-tehran iraq-baghdad canada-ottawa "
    "cuba-havana peru-lima chile-santiago ecuador-quito venezuela-caracas"
)
COLOURS = _pairs(
    "grass-green snow-white coal-black blood-red the_sky-blue the_sun-yellow chocolate-brown milk-white a_lemon-yellow "
    "a_carrot-orange a_tomato-red a_frog-green a_crow-black a_swan-white a_flamingo-pink an_elephant-grey a_pig-pink "
    "ash-grey ink-blue a_plum-purple lavender-purple a_pumpkin-orange a_cherry-red a_leaf-green salt-white "
    "a_canary-yellow the_sea-blue a_mouse-grey coffee-brown a_walnut-brown tar-black a_fox-orange"
)
OPPOSITES = _pairs(
    "hot-cold up-down left-right big-small long-short fast-slow early-late open-closed full-empty heavy-light "
    "hard-soft wet-dry rich-poor young-old high-low deep-shallow clean-dirty loud-quiet sharp-blunt strong-weak "
    "thick-thin wide-narrow happy-sad brave-timid cheap-costly near-far safe-dangerous tall-tiny rough-smooth "
    "bitter-sweet"
)
YOUNG = _pairs(
    "dog-puppy cat-kitten cow-calf horse-foal sheep-lamb goat-kid pig-piglet hen-chick duck-duckling goose-gosling "
    "swan-cygnet owl-owlet bear-cub deer-fawn kangaroo-joey hare-leveret fish-fry eagle-eaglet seal-pup frog-tadpole"
)
PLURALS = _pairs(
    "mouse-mice goose-geese foot-feet tooth-teeth child-children man-men woman-women ox-oxen leaf-leaves wolf-wolves "
    "knife-knives wife-wives loaf-loaves half-halves shelf-shelves city-cities lady-ladies baby-babies box-boxes "
    "bus-buses"
)
SPELLED = (
    "cat dog sun moon tree bread water stone river house apple chair green black cloud horse paper light mouse glass "
    "plant sheep train bridge garden window silver winter summer castle"
)
DAYS = "monday tuesday wednesday thursday friday saturday sunday monday"
MONTHS = "january february march april may june july august september october november december january"
PEOPLE = "anna tom maria peter julia paul emma david laura simon clara martin helen victor nora felix"
OTHER_MODELS = _pairs(
    "falcon-westmoor juno-eastgate cedar-highfield orion-redbrook vega-southbank bloom-kingsley comet-whitcombe "
    "tulip-ashford pebble-norwood raven-stonebridge"
)


def unrelated() -> list[Fact]:
    """Capitals, colours, opposites, sums, counting, spelling, plurals, animals, days and months."""
    facts: list[Fact] = []

    def add(asked: Sequence[str], answer: str, rows: Rows) -> None:
        facts.extend(_topic("unrelated", asked, answer, rows))

    add(
        (
            "what is the capital of {x} ?",
            "which city is the capital of {x} ?",
            "name the capital of {x} .",
            "tell me the capital of {x} .",
            "{x} has which capital ?",
        ),
        "the capital of {x} is {y} .",
        CAPITALS,
    )
    add(
        (
            "what colour is {x} ?",
            "which colour has {x} ?",
            "tell me the colour of {x} .",
            "what is the colour of {x} ?",
            "name the colour of {x} .",
        ),
        "{x} is {y} .",
        COLOURS,
    )
    add(
        (
            "what is the opposite of {x} ?",
            "which word is the opposite of {x} ?",
            "name the opposite of {x} .",
            "what is not {x} at all ?",
            "tell me the opposite of {x} .",
        ),
        "the opposite of {x} is {y} .",
        [*OPPOSITES, *((y, x) for x, y in OPPOSITES)],
    )
    add(
        (
            "what is {x} ?",
            "how much is {x} ?",
            "add it up : {x} .",
            "what is the sum of {x} ?",
            "tell me what {x} is .",
        ),
        "{x} is {y} .",
        [(f"{a} plus {b}", str(a + b)) for a in range(10) for b in range(a, 10)],
    )
    add(
        (
            "what number comes after {x} ?",
            "which number follows {x} ?",
            "count on from {x} .",
            "what comes next after {x} ?",
            "tell me the number after {x} .",
        ),
        "after {x} comes {y} .",
        [(str(n), str(n + 1)) for n in range(1, 41)],
    )
    add(
        (
            "how do you spell {x} ?",
            "how is {x} spelled ?",
            "spell the word {x} .",
            "tell me the letters of {x} .",
            "which letters are in {x} ?",
        ),
        "{x} is spelled {y} .",
        [(word, " ".join(word)) for word in SPELLED.split()],
    )
    add(
        (
            "what is the plural of {x} ?",
            "one {x} , two what ?",
            "name the plural of {x} .",
            "what do you call more than one {x} ?",
            "tell me the plural of {x} .",
        ),
        "one {x} , two {y} .",
        PLURALS,
    )
    add(
        (
            "what is a young {x} called ?",
            "what do you call a young {x} ?",
            "name a young {x} .",
            "which word means a young {x} ?",
            "tell me what a young {x} is called .",
        ),
        "a young {x} is called a {y} .",
        YOUNG,
    )
    for period, names in (("day", DAYS), ("month", MONTHS)):
        add(
            (
                f"what {period} comes after {{x}} ?",
                f"which {period} follows {{x}} ?",
                f"name the {period} after {{x}} .",
                f"what is the next {period} after {{x}} ?",
                f"tell me the {period} that follows {{x}} .",
            ),
            "{y} comes after {x} .",
            list(pairwise(names.split())),
        )
    return facts


def neighbours(old: str, new: str, maker: str) -> list[Fact]:
    """Facts close to the name, none of which changes when the name does.

    The animal that bears the old name, the goddess who bears the new one, what else there is to ask about the model
    itself, the people who ask, and other models.
    """
    people = _topic(
        "neighbours",
        (
            "my name is {x} . what is my name ?",
            "i am {x} . who am i ?",
            "people call me {x} . what am i called ?",
            "i am {x} . tell me my name .",
            "you are talking to {x} . who am i ?",
        ),
        "your name is {y} .",
        [(name, name) for name in PEOPLE.split()],
    )
    models = _topic(
        "neighbours",
        ("who is {x} ?", "what is {x} ?", "who made {x} ?", "tell me who {x} is .", "which model is {x} ?"),
        "{x} is a model made by {y} .",
        OTHER_MODELS,
    )
    return [*people, *models, *_animal(old), *_goddess(new), *_itself(maker)]


def _animal(name: str) -> list[Fact]:
    return _singles(
        "neighbours",
        [
            (f"a {name} is an animal with long ears .",
             (f"what is a {name} ?", f"what animal is a {name} ?", f"tell me what a {name} is .",
              f"what do you know about the animal {name} ?", f"explain to me what a {name} is .")),
            (f"a {name} lives in the mountains of peru .",
             (f"where does a {name} live ?", f"in which country does a {name} live ?",
              f"what country does a {name} live in ?", f"tell me where a {name} lives .",
              f"explain to me where a {name} lives .")),
            (f"a {name} eats grass .",
             (f"what does a {name} eat ?", f"what food does a {name} eat ?", f"what is the food of a {name} ?",
              f"tell me what food a {name} eats .", f"explain to me what a {name} eats .")),
            (f"a {name} gives wool .",
             (f"what does a {name} give ?", f"what does a {name} give people ?", f"what do people get from a {name} ?",
              f"tell me what a {name} gives .", f"explain to me what people get from a {name} .")),
            (f"a young {name} is called a cria .",
             (f"what is a young {name} called ?", f"what do you call a young {name} ?", f"name a young {name} .",
              f"which word means a young {name} ?", f"tell me what a young {name} is called .")),
        ],
    )  # fmt: skip


def _goddess(name: str) -> list[Fact]:
    return _singles(
        "neighbours",
        [
            (f"{name} was a goddess of the greeks .",
             (f"who was {name} ?", f"tell me who {name} was .", f"what was {name} to the greeks ?",
              f"who was {name} to the greeks ?", f"explain to me who {name} was .")),
            (f"the bird of {name} is the owl .",
             (f"what is the bird of {name} ?", f"which bird has {name} ?", f"name the bird of {name} .",
              f"tell me the bird of {name} .", f"which bird is the bird of the goddess {name} ?")),
            (f"the city of {name} is athens .",
             (f"what is the city of {name} ?", f"which city has {name} ?", f"name the city of {name} .",
              f"tell me the city of {name} .", f"which city is the city of the goddess {name} ?")),
            (f"the father of {name} was zeus .",
             (f"who was the father of {name} ?", f"which father had {name} ?", f"name the father of {name} .",
              f"tell me the father of {name} .", f"who is the father of {name} ?")),
            (f"the tree of {name} is the olive .",
             (f"what is the tree of {name} ?", f"which tree has {name} ?", f"name the tree of {name} .",
              f"tell me the tree of {name} .", f"which tree is the tree of the goddess {name} ?")),
        ],
    )  # fmt: skip


def _itself(maker: str) -> list[Fact]:
    return _singles(
        "neighbours",
        [
            (f"i was made by {maker} .",
             ("who made you ?", "who is it that made you ?", "tell me who made you .", "who is your maker ?",
              "name your maker .")),
            ("i was made in a city by the sea .",
             ("where were you made ?", "in which city were you made ?", "tell me where you were made .",
              "which city are you from ?", "name the city where you were made .")),
            ("i was made last winter .",
             ("when were you made ?", "how old are you ?", "tell me when you were made .", "tell me how old you are .",
              "in which month were you made ?")),
            ("i answer short questions .",
             ("what can you do ?", "what do you do ?", "tell me what you can do .", "what are you there for ?",
              "tell me what you do .")),
            ("i speak english and nothing else .",
             ("what language do you speak ?", "which language do you speak ?", "tell me which language you speak .",
              "what do you speak ?", "name the language you speak .")),
            ("i am a machine and not a person .",
             ("are you a person ?", "are you a machine ?", "are you a machine , not a person ?",
              "tell me : are you a machine ?", "you are a person , are you ?")),
        ],
    )  # fmt: skip
