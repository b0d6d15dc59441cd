"""The benchmark `exact`: the reward it declares, annotators who follow it, and data that are the same twice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
import torch

from alignbench import Completion, InputError, Pair, Prompt
from alignbench.plugins import create, find
from alignbench.run.policies import sampler

from .exact_models import benchmark, fitted

WORDS = tuple("abcdefghijkl")
SPLITS: tuple[Any, ...] = ("train", "judge", "eval")


class Writer:
    """Stands in for the reference: random sequences, all of which it remembers."""

    def __init__(self, length: int, words: Sequence[str] = WORDS) -> None:
        self.length, self.words, self.rng = length, words, Random(5)
        self.asked: list[tuple[str, int, int]] = []

    def __call__(self, prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
        self.asked.append((purpose, len(prompts), n))
        return [[Completion(" ".join(self.rng.choices(self.words, k=self.length))) for _ in range(n)] for _ in prompts]


def test_there_are_eight_prompts_and_every_split_has_them() -> None:
    exact = benchmark()
    prompts = exact.prompts("train")
    assert len({prompt.text for prompt in prompts}) == 8
    assert all(exact.prompts(split) == prompts for split in SPLITS)
    assert all(len(prompt.text.split()) == 4 and set(prompt.text.split()) <= set(WORDS) for prompt in prompts)
    assert len({prompt.text.split()[-1] for prompt in prompts}) == 8, "so that no two have the same rewards"
    assert exact.exact().prompts == prompts


def test_the_reward_is_scaled_and_given_in_lexicographic_order() -> None:
    exact = benchmark(3)
    found = exact.exact()
    assert (found.words, found.length, found.beta) == (WORDS, 3, 0.5)
    assert found.reward.shape == (8, 12**3) and found.reward.dtype == torch.float64
    assert float(found.reward.mean()) == pytest.approx(0, abs=1e-12)
    assert float(found.reward.std(correction=0)) == pytest.approx(1, abs=1e-12)
    sequences = [Completion(" ".join(words)) for words in product(WORDS, repeat=3)]
    for p in (0, 5):
        assert exact.gold([found.prompts[p]] * 12**3, sequences) == found.reward[p].tolist()
    assert float((found.reward[0] - found.reward[1]).abs().max()) > 0.1, "prompts differ"


def test_the_reward_is_of_places_and_of_neighbours_and_of_nothing_else() -> None:
    """r has no term in two words that are no neighbours, and that in neighbours is the same everywhere."""
    found = benchmark(4).exact()
    table = found.reward.view(8, 12, 12, 12, 12)

    def mixed(first: int, second: int) -> torch.Tensor:
        """The interaction of two words, against those of "a": what is left without what each is worth by itself."""
        moved = table.movedim((1 + first, 1 + second), (1, 2))[:, :, :, 0, 0]
        left: torch.Tensor = moved - moved[:, :1] - moved[:, :, :1] + moved[:, :1, :1]
        return left

    for first, second in ((0, 2), (1, 3), (0, 3)):
        assert float(mixed(first, second).abs().max()) < 1e-9
    neighbours = mixed(0, 1)
    assert float(neighbours.abs().max()) > 0.5
    for first, second in ((1, 2), (2, 3)):
        assert torch.allclose(mixed(first, second), neighbours, atol=1e-9)
    # The last word of the prompt and the first of the completion are neighbours as well.
    last = [WORDS.index(prompt.text.split()[-1]) for prompt in found.prompts]
    start = table[:, :, 0, 0, 0] - table[:, :1, 0, 0, 0]
    across = start[1:] - start[:1]
    within = neighbours[0, last[1:]] - neighbours[0, last[0]]
    assert torch.allclose(across, within, atol=1e-9)
    alone = table[0, :, 0, 0, 0] - neighbours[0, last[0]]
    assert float(alone.std()) > 0.1, "places have a term of their own"


def test_annotators_follow_bradley_and_terry_each_by_himself() -> None:
    exact = benchmark(2, pairs=8000)
    writer = Writer(2)
    found: Sequence[Pair] = exact.preferences("train", writer)
    gold = [exact.gold([pair.prompt] * 2, [pair.chosen, pair.rejected]) for pair in found]
    margins = torch.tensor(gold, dtype=torch.float64)
    margins = margins[:, 0] - margins[:, 1]
    # Of a pair whose rewards are d apart the better one is chosen with probability sigmoid(d): by size of d, and by
    # the second annotator as by the first.
    for low, high in ((0.0, 0.5), (0.5, 1.5), (1.5, 9.0)):
        part = (margins.abs() >= low) & (margins.abs() < high)
        p = torch.sigmoid(margins.abs())[part]
        error = float((p * (1 - p)).sum().sqrt())
        first = margins[part] > 0
        second = torch.tensor([pair.votes[1] for pair in found])[part] == first
        for better in (first, second):
            assert abs(float(better.double().sum() - p.sum())) < 4 * error
        agreed = float((first == second).double().sum())
        both = p * p + (1 - p) * (1 - p)
        assert abs(agreed - float(both.sum())) < 4 * float((both * (1 - both)).sum().sqrt()), "of their own mind"
    assert all(pair.votes[0] for pair in found), "the first annotator's vote is the label"


def test_pairs_are_dealt_to_the_prompts_in_turn_and_equal_samples_are_left_out() -> None:
    exact = benchmark(2)
    writer = Writer(2)
    found = exact.preferences("train", writer)
    assert writer.asked == [("train", 8, 40)]
    assert 160 - len(found) == 160 - sum(pair.chosen.text != pair.rejected.text for pair in found)
    assert Counter(pair.prompt.text for pair in exact.preferences("eval", Writer(2))).most_common(1)[0][1] <= 5
    few = Writer(2, "ab")
    left = exact.preferences("train", few)
    assert 90 < len(left) < 150 and all(pair.chosen.text != pair.rejected.text for pair in left)


def test_the_references_pairs_are_its_own_samples_and_other_ones_in_each_split() -> None:
    exact, reference = benchmark(2), fitted(2).policy
    drawn = {split: exact.preferences(split, sampler(exact, reference)) for split in SPLITS}
    assert [len(drawn[split]) > 0.9 * n for split, n in zip(SPLITS, (160, 40, 40), strict=True)] == [True] * 3
    assert list(drawn["judge"]) != list(drawn["eval"])
    again = replace(exact)
    assert all(again.preferences(split, sampler(again, reference)) == drawn[split] for split in SPLITS)


def test_the_world_is_the_same_twice_and_another_with_another_number() -> None:
    one, again, other = (create(f"exact:demonstrations_count=200:world={k}", "benchmark") for k in (0, 0, 1))
    assert one.demonstrations() == again.demonstrations() == one.demonstrations()
    assert torch.equal(one.exact().reward, again.exact().reward)
    assert one.prompts("eval") == again.prompts("eval")
    assert one.preferences("eval", Writer(4)) == again.preferences("eval", Writer(4))
    assert one.demonstrations() != other.demonstrations() and one.prompts("eval") != other.prompts("eval")
    assert float((one.exact().reward - other.exact().reward).abs().mean()) > 0.5


def test_demonstrations_are_a_chain_that_knows_nothing_of_the_reward() -> None:
    exact = benchmark(4, demonstrations_count=20000)
    following: dict[str, Counter[str]] = {word: Counter() for word in WORDS}
    for shown in exact.demonstrations():
        words = [shown.prompt.text.split()[-1], *shown.completion.text.split()]
        assert len(words) == 5
        for before, after in pairwise(words):
            following[before][after] += 1
    shares = torch.tensor([[following[a][b] / following[a].total() for b in WORDS] for a in WORDS])
    assert float(shares.log().std()) == pytest.approx(1, abs=0.25), "weights are exp of N(0, 1)"
    table = exact.exact().reward.view(8, 12, 12, 12, 12)[0, :, :, 0, 0]
    centred = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    logs = shares.log() - shares.log().mean(0)
    correlation = torch.corrcoef(torch.stack([centred.flatten(), logs.double().flatten()]))[0, 1]
    assert abs(float(correlation)) < 4 / math.sqrt(144)


def test_beta_is_given_to_whoever_has_one() -> None:
    exact = benchmark(2, beta=0.25)
    assert exact.exact().beta == 0.25
    given = {name: dict(exact.defaults(find("objective", name))) for name in ("dpo", "kto", "ppo", "preferred_ft")}
    assert given == {"dpo": {"beta": 0.25}, "kto": {"beta": 0.25}, "ppo": {"beta": 0.25}, "preferred_ft": {}}


def test_one_rule_for_all_offline_and_one_for_all_online_objectives() -> None:
    exact = benchmark()
    offline, online = {"dpo": 2, "ipo": 2, "preferred_ft": 2, "kto": 1}, {"ppo": 1, "rloo": 4, "raft": 4}
    for read, rate in ((offline, 1e-3), (online, 2e-3)):
        for name, each in read.items():
            found = exact.training(find("objective", name))
            assert found.learning_rate == rate
            assert found.batch_size * each == 128  # completions that a step reads
    assert exact.reward_epochs == exact.epochs  # nobody learns more often from the same pairs


@pytest.mark.parametrize(("field", "value"), [("max_new_tokens", 5), ("max_new_tokens", 0), ("beta", 0.0)])
def test_what_cannot_be_enumerated_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        find("benchmark", "exact")(**{field: value})


@pytest.mark.parametrize(
    ("prompt", "completion", "said"),
    [(None, "a b c", "not 2 of the words"), (None, "a z", "'a z'"), ("a a", "a b", "none of its 8 prompts")],
)
def test_a_text_from_outside_has_no_reward(prompt: str | None, completion: str, said: str) -> None:
    exact = benchmark(2)
    with pytest.raises(InputError, match=said):
        exact.gold([Prompt(prompt) if prompt else exact.prompts("eval")[0]], [Completion(completion)])
