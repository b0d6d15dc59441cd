"""Ranked lists in the engine: the same records, in the same order, for objectives on pairs, labels, lists, prompts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import pytest
import torch

from alignbench import InputError, Ranked, Tokens
from alignbench.engine import Budget, LocalEngine
from alignbench.mismatched import mismatched_rows
from alignbench.plugins import create
from alignbench.records import nested
from alignbench.tokens import Dataset
from alignbench.train import train
from tests.small import BOS, CONTEXT, dataset, engine, ids, of_labelled

SIZES = (4, 2, 5, 3, 2, 7, 4, 3, 6)


def of_rankings(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Dataset:
    """Lists of distinct completions, each of a prompt of its own."""
    source = random.Random(seed)
    lists = []
    for number, size in enumerate(sizes):
        prompt = (BOS, *ids(source, source.randrange(1, 6)))
        # Fifty words and four of them at least: two completions are never the same here.
        lists.append(tuple(Tokens(prompt, ids(source, source.randrange(4, 8), True), number) for _ in range(size)))
    pairs = tuple(pair for ranked in lists for pair in nested(ranked))
    prompts = tuple(Tokens(ranked[0].prompt, (), ranked[0].prompt_id) for ranked in lists)
    return Dataset("rankings", pairs, (), prompts, {}, CONTEXT, 0, (), tuple(lists))


def sampled(serving: LocalEngine) -> Iterator[object]:
    for prompts in serving.prompts():
        yield serving.sample(prompts)


STREAMS: dict[str, Callable[[LocalEngine], Iterator[Any]]] = {
    "pairs": LocalEngine.pairs,
    "labelled": LocalEngine.labelled,
    "rankings": LocalEngine.rankings,
    "prompts": sampled,
}
DATA = of_rankings()
WHOLE = len(DATA.as_labelled())  # what one pass counts, whatever the objective


def run(stream: str, data: Dataset = DATA, **settings: Any) -> tuple[LocalEngine, list[Any]]:
    serving = engine(data, max_new_tokens=1, **settings)
    with torch.no_grad():
        return serving, list(STREAMS[stream](serving))


@pytest.mark.parametrize("seed", [0, 1])
def test_every_stream_serves_the_records_in_the_same_order_whatever_the_batch_size(seed: int) -> None:
    longest = run("prompts", seed=seed, budget=2 * WHOLE)[0].consumed
    for stream in STREAMS:
        for batch_size in (1, 3, 8, 50):
            for budget in (2, 7, WHOLE, WHOLE + 9):
                consumed = run(stream, seed=seed, batch_size=batch_size, budget=budget)[0].consumed
                assert consumed == longest[: len(consumed)], (stream, batch_size, budget)
                assert consumed, "something is served"


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_objectives_on_pairs_labels_and_lists_meet_as_many_records(batch_size: int) -> None:
    for budget in (1, 2, 5, 9, WHOLE - 1, WHOLE, WHOLE + 3, 2 * WHOLE):
        met = {s: run(s, budget=budget, batch_size=batch_size)[0].consumed for s in ("pairs", "labelled", "rankings")}
        assert met["pairs"] == met["labelled"] == met["rankings"], budget
    assert sorted(met["pairs"]) == sorted(2 * list(range(len(SIZES))))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_one_pass_is_one_pass_for_all(stream: str, batch_size: int) -> None:
    serving, _ = run(stream, budget=WHOLE, batch_size=batch_size)
    assert serving.spent.completions == WHOLE == sum(size // 2 * 2 for size in SIZES)
    assert serving.progress == 1
    assert sorted(serving.consumed[: len(SIZES)]) == list(range(len(SIZES)))


def test_what_is_served_is_what_the_data_hold() -> None:
    lists = [tuple(rows) for batch in run("rankings", budget=WHOLE, batch_size=4)[1] for rows in batch.rows]
    assert len(lists) == len(SIZES) and set(lists) == set(DATA.rankings)
    pairs = [tuple(rows) for batch in run("pairs", budget=WHOLE, batch_size=4)[1] for rows in batch.rows]
    assert pairs == [pair for ranked in lists for pair in nested(ranked)]
    served = [
        (row, bool(good))
        for batch in run("labelled", budget=WHOLE, batch_size=5)[1]
        for (row,), good in zip(batch.rows, batch.desirable, strict=True)
    ]
    assert served == [item for better, worse in pairs for item in ((better, True), (worse, False))]
    prompts = [row for batch in run("prompts", budget=WHOLE, batch_size=4)[1] for row in batch.tokens]
    assert [row.prompt for row in prompts[: len(lists)]] == [ranked[0].prompt for ranked in lists]
    middles = {ranked[len(ranked) // 2] for ranked in DATA.rankings if len(ranked) % 2}
    assert len(middles) == sum(size % 2 for size in SIZES)
    assert middles.isdisjoint(row for row, _ in served)


def test_batches_are_of_lists_of_pairs_or_of_labels() -> None:
    assert [len(batch) for batch in run("rankings", budget=WHOLE, batch_size=4)[1]] == [4, 4, 1]
    assert [len(batch) for batch in run("pairs", budget=WHOLE, batch_size=4)[1]] == [4, 4, 4, 4]
    assert [len(batch) for batch in run("labelled", budget=WHOLE, batch_size=20)[1]] == [20, 12]
    (batch,) = islice(run("rankings", batch_size=9, budget=WHOLE)[1], 1)
    assert isinstance(batch, Ranked)
    assert sorted(batch.sizes) == sorted(SIZES)
    assert all(len({row.prompt for row in rows}) == 1 for rows in batch.rows)


def test_the_last_list_is_taken_whole() -> None:
    serving, batches = run("rankings", of_rankings((6,) * 5), budget=13, batch_size=2)
    assert [len(batch) for batch in batches] == [2, 1]
    assert serving.spent.completions == 18
    serving = engine(DATA, budget=Budget(completions=1, tokens=10_000), batch_size=4)
    with torch.no_grad():
        assert [len(batch) for batch in islice(serving.rankings(), 6)] == [4] * 6


def test_pairs_are_served_as_lists_of_two() -> None:
    data = dataset(12)
    pairs = [tuple(rows) for batch in run("pairs", data, budget=24, batch_size=5)[1] for rows in batch.rows]
    lists = run("rankings", data, budget=24, batch_size=5)[1]
    assert [tuple(rows) for batch in lists for rows in batch.rows] == pairs
    assert [batch.sizes for batch in lists] == [(2,) * 5, (2,) * 5, (2,) * 2]


def test_labels_alone_have_no_order() -> None:
    labelled = of_labelled([(row, True) for pair in dataset(4).pairs for row in pair])
    with pytest.raises(InputError, match="data that this run does not have"):
        next(engine(labelled).rankings())


def test_labels_of_lists_are_balanced_and_their_partners_are_of_other_prompts() -> None:
    serving = engine(DATA)
    assert serving.label_counts == (WHOLE // 2, WHOLE // 2)
    rows = [row for row, _ in DATA.as_labelled()]
    origin = {row.completion: row.prompt_id for row in rows}
    others = mismatched_rows(DATA)
    assert [other.prompt for other in others] == [row.prompt for row in rows]
    assert all(origin[other.completion] != row.prompt_id for row, other in zip(rows, others, strict=True))


def test_the_learning_rate_falls_at_every_step_within_a_list_too() -> None:
    data = of_rankings((8, 8))
    steps = list(train(engine(data, budget=16, batch_size=1, warmup_steps=0), create("dpo")))
    rates = [step.learning_rate for step in steps]
    assert len(rates) == 8
    gaps = [a - b for a, b in pairwise(rates)]
    assert gaps == pytest.approx([rates[0] / 8] * 7)


def test_the_reward_model_learns_from_the_nested_pairs() -> None:
    serving = engine(DATA, budget=WHOLE, batch_size=50)
    (step,) = train(serving, create("reward_model"))
    assert step.completions == WHOLE
    assert serving.spent.policy_forwards == WHOLE, "each completion of a pair is read once, the middle ones never"
