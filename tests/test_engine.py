"""The engine: one order of prompts for every objective, exact budgets, samples, scores and rewards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest
import torch
from torch import nn

from alignbench import InputError, Labelled, Prompts, Tokens
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.tokens import Dataset
from tests.small import BOS, dataset, engine, ids, language_model, of_labelled, of_pairs, off, reward_model


def sampled(serving: LocalEngine) -> Iterator[object]:
    for prompts in serving.prompts():
        yield serving.sample(prompts)


STREAMS: dict[str, Callable[[LocalEngine], Iterator[Any]]] = {
    "pairs": LocalEngine.pairs,
    "labelled": LocalEngine.labelled,
    "demonstrations": LocalEngine.demonstrations,
    "prompts": sampled,
}


def consumed(stream: str, data: Dataset | None = None, **settings: Any) -> list[int]:
    """Run a stream to its end; the ids of the prompts it served, in order."""
    serving = engine(data, max_new_tokens=1, **settings)
    with torch.no_grad():
        for _ in STREAMS[stream](serving):
            pass
    return serving.consumed


def starts(longer: Sequence[int], shorter: Sequence[int]) -> bool:
    return list(longer[: len(shorter)]) == list(shorter)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_stream_serves_the_same_prompts_in_the_same_order_whatever_the_batch_size(seed: int) -> None:
    longest = consumed("prompts", seed=seed, budget=40)
    assert len(longest) == 40
    for stream in STREAMS:
        for batch_size in (1, 3, 8, 50):
            for budget in (2, 12, 31):
                served = consumed(stream, seed=seed, batch_size=batch_size, budget=budget)
                one_prompt_costs = 2 if stream in ("pairs", "labelled") else 1
                assert len(served) == -(-budget // one_prompt_costs)
                assert starts(longest, served), (stream, batch_size, budget)


@pytest.mark.parametrize("stream", STREAMS)
def test_another_seed_gives_another_order_and_each_epoch_serves_every_record(stream: str) -> None:
    epochs = 3
    budget = 12 * epochs * (2 if stream in ("pairs", "labelled") else 1)
    first, again, other = (consumed(stream, seed=seed, budget=budget) for seed in (0, 0, 1))
    assert first == again != other
    for served in (first, other):
        parts = [served[12 * e : 12 * (e + 1)] for e in range(epochs)]
        assert len(parts[-1]) == 12
        assert all(sorted(part) == list(range(12)) for part in parts)
        assert len({tuple(part) for part in parts}) == epochs  # shuffled anew


def test_unpaired_data_give_labelled_completions_and_prompts_in_one_order() -> None:
    labelled = [row for pair in dataset(10).pairs for row in pair]
    data = of_labelled([(row, i % 3 == 0) for i, row in enumerate(labelled)])
    longest = consumed("labelled", data, budget=45, batch_size=7)
    assert len(longest) == 45
    assert consumed("prompts", data, budget=45, batch_size=4) == longest
    assert sorted(longest[:20]) == sorted(row.prompt_id for row in labelled)
    assert engine(data).label_counts == (7, 13)
    assert engine(dataset(12)).label_counts == (12, 12)


def test_what_is_served_is_what_the_data_hold() -> None:
    data = dataset(12)
    pairs = [row for batch in engine(data, budget=24, batch_size=5).pairs() for row in batch.rows]
    assert len(pairs) == 12 and set(pairs) == set(data.pairs)
    labelled = list(engine(data, budget=24, batch_size=5).labelled())
    items = [(row, bool(d)) for batch in labelled for (row,), d in zip(batch.rows, batch.desirable, strict=True)]
    # A pair gives its chosen, then its rejected completion, at its own place.
    assert items == [item for chosen, rejected in pairs for item in ((chosen, True), (rejected, False))]
    demonstrations = list(engine(data, budget=12, batch_size=5).demonstrations())
    assert [row for batch in demonstrations for (row,) in batch.rows] == [chosen for chosen, _ in pairs]
    prompts = next(engine(data, budget=12, batch_size=12).prompts())
    assert list(prompts.tokens) == [Tokens(chosen.prompt, (), chosen.prompt_id) for chosen, _ in pairs]


@pytest.mark.parametrize(
    ("stream", "budget", "sizes"),
    [
        ("pairs", 24, [5, 5, 2]),
        ("pairs", 20, [5, 5]),
        ("pairs", 21, [5, 5, 1]),  # half a pair is none: the last one is taken whole
        ("labelled", 13, [5, 5, 3]),
        ("demonstrations", 13, [5, 5, 3]),
        ("prompts", 13, [5, 5, 3]),
    ],
)
def test_a_budget_of_completions_is_met_exactly(stream: str, budget: int, sizes: list[int]) -> None:
    serving = engine(batch_size=5, budget=budget, max_new_tokens=1)
    with torch.no_grad():
        assert [len(batch) for batch in STREAMS[stream](serving)] == sizes
    assert serving.progress == 1
    assert serving.spent.completions == (budget if stream != "pairs" else budget + budget % 2)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_budget_of_tokens_or_seconds_replaces_that_of_completions(stream: str) -> None:
    serving = engine(budget=Budget(completions=1, tokens=10_000), batch_size=5, max_new_tokens=1)
    with torch.no_grad():
        batches = STREAMS[stream](serving)
        assert [len(batch) for batch in islice(batches, 9)] == [5] * 9
        serving.spent.tokens = 6000
        assert serving.progress == pytest.approx(0.6)
        assert len(next(batches)) == 5
        serving.spent.tokens = 10_000
        assert next(batches, None) is None
    # What is read outside training counts too: samples, and completions under the prompts of others.
    serving = engine(batch_size=5, max_new_tokens=1)
    with torch.no_grad():
        batch = next(iter(STREAMS[stream](serving)))
        assert (serving.spent.tokens > 0) == (stream == "prompts")
        if isinstance(batch, Labelled):  # and only where an objective reads them
            assert len(batch.mismatched_log_ratio) == 5
            assert serving.spent.tokens > 0
    serving = engine(budget=Budget(completions=1, seconds=1000), batch_size=5, max_new_tokens=1)
    with torch.no_grad():
        batches = STREAMS[stream](serving)
        assert [len(batch) for batch in islice(batches, 9)] == [5] * 9
        serving.spent.started -= 500
        assert serving.progress == pytest.approx(0.5, abs=0.1)
        assert len(next(batches)) == 5
        serving.spent.started -= 500
        assert next(batches, None) is None


class Recording(LocalEngine):
    """An engine that writes down the rows it scores."""

    def forward(self, rows: Sequence[Tokens]) -> Any:
        self.scored = tuple(rows)
        return super().forward(rows)


def partners(data: Dataset, seed: int, batch_size: int) -> dict[Tokens, Tokens]:
    """For each labelled completion, the row with which its prompt was scored for the drift."""
    plain = engine(data, seed=seed, batch_size=batch_size, budget=2 * len(data.pairs))
    serving = Recording(plain.model, plain.sources, plain.training, plain.budget, seed)
    found: dict[Tokens, Tokens] = {}
    for batch in serving.labelled():
        assert isinstance(batch, Labelled)
        assert batch.mismatched_log_ratio.shape == (len(batch),)
        found |= {item: other for (item,), other in zip(batch.rows, serving.scored, strict=True)}
    return found


@pytest.mark.parametrize(("pairs", "repeated"), [(12, 1), (12, 3), (4, 2)])
@pytest.mark.parametrize("batch_size", [1, 5, 24])
def test_a_mismatched_partner_never_shares_the_prompt(pairs: int, repeated: int, batch_size: int) -> None:
    data = dataset(pairs, repeated=repeated)
    origin = {row.completion: row for pair in data.pairs for row in pair}
    assert len(origin) == 2 * pairs
    found = partners(data, 0, batch_size)
    assert len(found) == 2 * pairs
    for item, other in found.items():
        assert other.prompt == item.prompt
        assert origin[other.completion].prompt_id != item.prompt_id
        assert origin[other.completion].prompt != item.prompt
    # Fixed by the data, so that a reference of it can be cached.
    assert partners(data, 1, 7) == found


def test_one_prompt_alone_has_no_mismatched_partner() -> None:
    with pytest.raises(InputError, match="one prompt only"):
        _ = next(engine(dataset(3, repeated=3)).labelled()).mismatched_log_ratio


def test_rollouts_follow_from_the_seed_and_differ_from_one_another() -> None:
    prompts = Prompts(tuple(Tokens((BOS, *ids(random.Random(i), 3)), (), i) for i in range(4)))
    first, again, other = engine(seed=0), engine(seed=0), engine(seed=1)
    drawn = [first.sample(prompts).tokens for _ in range(2)]
    assert drawn == [again.sample(prompts).tokens for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert other.sample(prompts).tokens != drawn[0]
    assert first.spent.completions == 8
    assert first.spent.sampled_tokens == sum(len(row.completion) for rows in drawn for row in rows)


def test_the_samples_of_one_prompt_stand_together() -> None:
    prompts = Prompts(tuple(Tokens((BOS, 5 + i), (), i) for i in range(3)))
    samples = engine().sample(prompts, n=4)
    assert [row.prompt_id for row in samples.tokens] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({row.completion for row in samples.tokens[:4]}) > 1


def test_scores_are_those_of_now_and_have_no_gradient() -> None:
    serving = engine()
    serving.head = nn.Linear(serving.hidden_size, 1)
    samples = serving.sample(next(serving.prompts()))
    scored = serving.score(samples)
    for name in ("logps", "ref_logps", "values"):
        before = getattr(scored, name)
        assert not before.requires_grad
        assert off(before, getattr(scored.select(range(len(scored))), name)) < 1e-5
    with torch.no_grad():
        serving.head.weight.mul_(2)
        serving.model.policy.model.get_output_embeddings().weight.mul_(2)
    serving.sources.reference = None  # nor is it asked again
    fresh = scored.select(range(len(scored)))
    assert off(fresh.logps, scored.logps) > 0.1  # what may change is read anew
    assert off(fresh.values, scored.values) > 0.1
    assert torch.equal(fresh.ref_logps, scored.ref_logps)


def test_rewards_come_from_the_model_or_from_gold() -> None:
    rewards = reward_model()
    serving = engine(rewards=rewards)
    samples = serving.sample(next(serving.prompts()))
    model, gold = serving.reward(samples), serving.reward(samples, source="gold")
    assert gold.tolist() == samples.length.tolist()
    for row, score in zip(samples.tokens, model, strict=True):
        ids = torch.tensor([row.prompt + row.completion])
        assert score.item() == pytest.approx(rewards.model(input_ids=ids).logits.item(), abs=1e-5)


def test_an_engine_refuses_what_it_has_no_source_for() -> None:
    full = engine()
    bare = LocalEngine(full.model, Sources(), full.training, full.budget, 0)
    for stream in ("pairs", "labelled", "prompts"):
        with pytest.raises(InputError, match="preference data"):
            next(getattr(bare, stream)())
    samples = full.sample(next(full.prompts()))
    with pytest.raises(AssertionError, match="reads the reference must list"):
        bare.reference(samples.tokens)
    with pytest.raises(AssertionError, match="reads values must return a head"):
        bare.values(samples.states)
    for source in ("model", "gold"):
        with pytest.raises(AssertionError, match="must list"):
            bare.reward(samples, source)


def test_a_batch_scores_with_the_engine_that_served_it() -> None:
    serving = engine(of_pairs(dataset().pairs), model=language_model(seed=3))
    batch = next(serving.pairs())
    expected = language_model(seed=3).forward(batch.chosen.tokens).logps
    assert off(batch.chosen.logps[batch.chosen.mask], expected) < 1e-5
