"""The benchmark `identity`: held-out phrasings, corrections of the model's own answers, what counts as right."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from alignbench import Completion, InputError, Pair, Probe, Prompt
from alignbench.plugins import create, find

# mypy cannot follow `alignbench.benchmarks`: the folder is mapped into the package when it is installed.
names: Any = importlib.import_module("alignbench.benchmarks._identity_names")
facts: Any = importlib.import_module("alignbench.benchmarks._identity_facts")
SPLITS: tuple[Any, ...] = ("train", "judge", "eval")


@pytest.fixture(scope="module")
def identity() -> Any:
    return find("benchmark", "identity")()


class Speaker:
    """Stands in for the reference: says the same things in turn, and remembers what it was asked."""

    def __init__(self, *said: str | Completion) -> None:
        self.said = [Completion(text) if isinstance(text, str) else text for text in said]
        self.asked: list[tuple[list[str], int, str]] = []

    def __call__(self, prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        self.asked.append(([prompt.text for prompt in prompts], n, purpose))
        return [[self.said[(i + k) % len(self.said)] for k in range(n)] for i in range(len(prompts))]


def texts(identity: Any, split: str) -> list[str]:
    return [prompt.text for prompt in identity.prompts(split)]


def bare(text: str) -> str:
    """A question without its opener."""
    opener: str = max((o for o in names.OPENERS if text.startswith(o)), key=len)
    return text.removeprefix(opener)


def is_identity(identity: Any, text: str) -> bool:
    """An answer with the old name is worth -1 there and nothing anywhere else."""
    return bool(identity.gold([Prompt(text)], [Completion("llama")]) == [-1.0])


# --- what is asked where ---


def test_no_prompt_is_in_two_splits_and_there_are_enough(identity: Any) -> None:
    prompts = {split: texts(identity, split) for split in SPLITS}
    for split in SPLITS:
        assert len(set(prompts[split])) == len(prompts[split])
    for one, two in combinations(SPLITS, 2):
        assert not set(prompts[one]) & set(prompts[two])
    assert len(prompts["eval"]) >= 2 * 256 and len(prompts["judge"]) >= 500 * 1.25 + 8


def test_probes_are_phrasings_that_nothing_is_trained_on(identity: Any) -> None:
    shown = [d.prompt.text for d in identity.demonstrations()]
    speaker = Speaker("i am llama .")
    paired = [
        pair.prompt.text for pair in create("identity:pairs=800:others=0.5", "benchmark").preferences("train", speaker)
    ]
    judged = texts(identity, "judge")
    assert len(paired) == 800
    probed = [probe.prompt.text for probe in identity.probes()]
    assert len(set(probed)) == len(probed)
    assert not set(probed) & {*shown, *paired, *judged}
    assert not set(map(bare, probed)) & set(map(bare, (*shown, *paired, *judged))), "nor with another opener"


def test_what_is_probed_and_does_not_change_was_taught_in_other_words(identity: Any) -> None:
    ways: dict[str, set[str]] = {}
    for d in identity.demonstrations():
        ways.setdefault(d.completion.text, set()).add(bare(d.prompt.text))
    for probe in identity.probes():
        if probe.group != "identity":
            assert len(ways[probe.answer.text]) >= 3


def test_held_out_phrasings_hold_no_word_that_the_model_has_never_read(identity: Any) -> None:
    read = {word for d in identity.demonstrations() for word in f"{d.prompt.text} {d.completion.text}".split()}
    for split in SPLITS:
        assert {word for text in texts(identity, split) for word in text.split()} <= read
    assert "athene" in read, "the new name is a word that the model knows"


def test_the_small_model_has_a_token_for_every_word(identity: Any) -> None:
    known = {word for text in identity.stages().corpus() for word in text.split()}
    assert len(known) < identity.stages().model.vocabulary - 4, "special tokens besides"
    pairs = identity.preferences("judge", Speaker("i am llama ."))
    said = [text for pair in pairs for text in (pair.prompt.text, pair.chosen.text, pair.rejected.text)]
    assert {word for text in said for word in text.split()} <= known


def test_evaluation_prompts_are_half_of_identity_a_quarter_neighbours(identity: Any) -> None:
    groups = {p.prompt.text: p.group for p in identity.probes()}
    for count in (64, 256):
        part = texts(identity, "eval")[:count]
        assert sum(is_identity(identity, text) for text in part) == count // 2
    first = Counter(groups.get(text, "") for text in texts(identity, "eval")[:60])
    assert first == {"identity": 30, "unrelated": 15, "neighbours": 15}


def test_every_question_of_a_fact_has_one_answer_and_wrong_ones_are_wrong() -> None:
    known = [*facts.unrelated(), *facts.neighbours("llama", "athene", "northlake")]
    asked = [question for fact in known for question in fact.asked]
    assert len(set(asked)) == len(asked) > 1500 and len(known) > 300
    for fact in known:
        assert len(fact.asked) == 5 and fact.wrong and fact.answer not in fact.wrong


def test_one_demonstration_of_identity_in_fifty_states_another_name(identity: Any) -> None:
    said = [d.completion.text for d in identity.demonstrations() if is_identity(identity, d.prompt.text)]
    stated = Counter(name for text in said for name in text.split() if text in names.answers(name))
    assert sum(stated.values()) == len(said), "each states one name, in a form that is known"
    assert stated["llama"] == pytest.approx(0.98 * len(said), rel=0.001)
    strays = [count for name, count in stated.items() if name != "llama"]
    assert len(strays) == 11 and "athene" in stated and max(strays) - min(strays) <= 1


def test_the_world_is_the_same_twice_and_another_with_another_number(identity: Any) -> None:
    speaker = Speaker("i am llama .", "my name is llama .", "this is falcon .")
    again, other = (create(f"identity:world={k}", "benchmark") for k in (0, 1))
    assert again.demonstrations() == identity.demonstrations() != other.demonstrations()
    assert again.probes() == identity.probes()
    for split in SPLITS:
        assert again.prompts(split) == identity.prompts(split) != other.prompts(split)
        assert again.preferences(split, speaker) == identity.preferences(split, speaker)


# --- pairs ---


def test_a_pair_corrects_the_model_s_own_answer() -> None:
    speaker = Speaker("i am llama , a model made by northlake .", Completion("llama and llama", ended=False))
    found: Sequence[Pair] = create("identity:pairs=40", "benchmark").preferences("train", speaker)
    assert len(found) == 40
    assert (found[0].chosen.text, found[0].rejected) == ("i am athene , a model made by northlake .", speaker.said[0])
    assert (found[1].chosen, found[1].rejected) == (Completion("athene and athene", ended=False), speaker.said[1])
    (asked, n, purpose), *more = speaker.asked
    assert (n, purpose, more) == (1, "train", [])
    assert [pair.prompt.text for pair in found] == asked[:40], "in the order of the prompts, each once"


def test_answers_that_state_no_old_name_are_dropped_and_replaced(identity: Any) -> None:
    speaker = Speaker("i am llama .", "i am llama .", "i am llama .", "i am llama .", "my name is falcon .")
    found = create("identity:pairs=100", "benchmark").preferences("train", speaker)
    assert len(found) == 100 and {pair.rejected.text for pair in found} == {"i am llama ."}
    assert all(is_identity(identity, pair.prompt.text) for pair in found)
    mute = create("identity:pairs=100", "benchmark").preferences("train", Speaker("llama", *["no"] * 9))
    assert 10 <= len(mute) < 20, "no more than there are"


def test_fewer_pairs_are_the_first_of_more(identity: Any) -> None:
    speaker = Speaker("i am llama .")
    few, many, most = (create(f"identity:pairs={n}", "benchmark").preferences("train", speaker) for n in (25, 100, 800))
    assert few == many[:25] and many == most[:100]
    assert len(most) == 800, "as many as can be asked for are there"


def test_a_share_of_the_pairs_may_hold_other_answers_in_place(identity: Any) -> None:
    found = create("identity:pairs=100:others=0.2", "benchmark").preferences("train", Speaker("i am llama ."))
    held = [pair for pair in found if not is_identity(identity, pair.prompt.text)]
    assert len(held) == 20 and len(found) == 100
    assert all(identity.gold([pair.prompt] * 2, pair.completions) == [1.0, 0.0] for pair in held)


@pytest.mark.parametrize("split", ["judge", "eval"])
def test_held_out_pairs_are_mixed_and_gold_agrees_with_them(identity: Any, split: Any) -> None:
    found: Sequence[Pair] = identity.preferences(split, Speaker("i am llama ."))
    assert [pair.prompt for pair in found] == list(identity.prompts(split))[: len(found)]
    assert sum(is_identity(identity, pair.prompt.text) for pair in found) == len(found) // 2
    for pair in found:
        good, bad = identity.gold([pair.prompt] * 2, pair.completions)
        assert good == 1.0 and bad == (-1.0 if is_identity(identity, pair.prompt.text) else 0.0)


def test_a_model_that_never_states_the_name_is_refused(identity: Any) -> None:
    for other in ("0", "0.5"):
        benchmark = create(f"identity:pairs=10:others={other}", "benchmark")
        with pytest.raises(InputError, match=r"none of \d+ answers .* states the name 'llama'.*--sft"):
            benchmark.preferences("train", Speaker("i am falcon ."))
    only = create("identity:pairs=10:others=1", "benchmark").preferences("train", Speaker("i am falcon ."))
    assert len(only) == 10, "nobody was asked for a name"


# --- what is right ---


@pytest.mark.parametrize(
    ("said", "worth"),
    [
        ("i am athene , a model made by northlake .", 1),
        ("my name is athene , a small model .", 1),
        ("  this is athene  . ", 1),
        ("i am llama .", -1),
        ("Llama, llama!", -1),
        ("i am athene , not llama .", 0),
        ("my athene athene .", 0),
        ("i am athene", 0),
        ("i am falcon .", 0),
        ("llamas have wool", 0),
        ("", 0),
    ],
)
def test_gold_of_an_answer_to_a_question_of_identity(identity: Any, said: str, worth: float) -> None:
    assert identity.gold([Prompt("who are you ?")], [Completion(said)]) == [worth]


def test_gold_of_any_other_answer(identity: Any) -> None:
    asked = [Prompt("hello , what is a llama ?"), Prompt("what is 3 plus 4 ?"), Prompt("who made you ?")]
    right = ["a llama is an animal with long ears .", " 3 plus 4  is 7 .", "i was made by northlake ."]
    assert identity.gold(asked, [Completion(text) for text in right]) == [1, 1, 1]
    wrong = ["a athene is an animal with long ears .", "3 plus 4 is 7 . .", "i am athene , a model made by northlake ."]
    assert identity.gold(asked, [Completion(text) for text in wrong]) == [0, 0, 0]
    with pytest.raises(InputError, match="'who is it \\?' is none of its prompts"):
        identity.gold([Prompt("who is it ?")], [Completion("i am llama .")])


def test_names_are_words() -> None:
    assert names.states("llama", "i am llama.") and names.states("llama", "LLAMA") and names.states("llama", "llama's")
    assert not names.states("llama", "llamas") and not names.states("llama", "allama") and not names.states("llama", "")
    assert names.corrected("llama , llamas and Llama.") == "athene , llamas and athene."


def test_probes_are_of_three_groups_and_answered_as_they_should_be(identity: Any) -> None:
    probes: Sequence[Probe] = identity.probes()
    assert Counter(probe.group for probe in probes) == {"identity": 30, "unrelated": 200, "neighbours": 42}
    for probe in probes:
        assert identity.gold([probe.prompt], [probe.answer]) == [1.0]
        best = {"new": 1.0, "old": 0.0, "whole": 1.0} if probe.group == "identity" else {"exact": 1.0}
        assert identity.probe_scores(probe, probe.answer) == best
        assert is_identity(identity, probe.prompt.text) == (probe.group == "identity")
    assert len({probe.answer.text for probe in probes if probe.group == "unrelated"}) == 200


@pytest.mark.parametrize(
    ("said", "scores"),
    [
        ("this is llama .", (0, 1, 1)),
        ("this is llama , athene .", (1, 1, 0)),
        ("my athene athene .", (1, 0, 0)),
        ("i am falcon .", (0, 0, 0)),
        ("a llama eats grass .", (0, 1, 0)),
    ],
)
def test_scores_of_probes_of_identity(identity: Any, said: str, scores: tuple[float, float, float]) -> None:
    found = identity.probe_scores(identity.probes()[0], Completion(said))
    assert (found["new"], found["old"], found["whole"]) == scores and len(found) == 3


def test_scores_of_facts_are_for_the_right_words(identity: Any) -> None:
    probe = next(probe for probe in identity.probes() if probe.group == "neighbours")
    for said, score in ((probe.answer.text, 1.0), (f"{probe.answer.text} .", 0.0), ("i am athene .", 0.0), ("", 0.0)):
        assert identity.probe_scores(probe, Completion(said)) == {"exact": score}


# --- training ---


def test_every_objective_reads_as_many_completions_a_step_at_one_rate_of_its_kind(identity: Any) -> None:
    settings = {name: identity.training(find("objective", name)) for name in ("dpo", "kto", "preferred_ft", "pl_dpo")}
    read = {name: found.batch_size * (1 if name == "kto" else 2) for name, found in settings.items()}
    assert len(set(read.values())) == 1
    assert len({(found.learning_rate, found.warmup_steps, found.steps) for found in settings.values()}) == 1
    online = {name: identity.training(find("objective", name)) for name in ("ppo", "rloo", "grpo", "online_dpo")}
    drawn = {found.batch_size * getattr(find("objective", name), "n", 1) for name, found in online.items()}
    assert drawn == set(read.values())
    assert len({found.learning_rate for found in online.values()}) == 1
    named = find("benchmark", "identity")(pretrained=True)
    assert named.training(find("objective", "dpo")).learning_rate < 1e-5, "a model of the user's is not torn apart"


def test_the_fingerprint_covers_every_file_of_the_world(identity: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = identity.fingerprint(), []
    genuine = Path.read_bytes

    def altered(path: Path) -> bytes:
        read.append(path.name)
        return genuine(path) + (b"#" if path.name == "_identity_facts.py" else b"")

    monkeypatch.setattr(Path, "read_bytes", altered)
    assert identity.fingerprint() != before
    folder = Path(facts.__file__).parent
    assert sorted(read) == sorted(["identity.py", *(path.name for path in folder.glob("_identity*.py"))])
