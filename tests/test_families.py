"""Families of objectives, ranked lists, and what a batch carries for its objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from alignbench import Completions, InputError, Labelled, Listwise, Online, Pairs, Ranked
from alignbench.batch import Coupled
from alignbench.plugins import parse_objectives
from alignbench.plugins.spec import recreate
from tests.small import engine


def completions(count: int, width: int = 3) -> Completions:
    lengths = torch.arange(count) % width + 1
    mask = torch.arange(width)[None] < lengths[:, None]
    logps = -torch.arange(1.0, count * width + 1).view(count, width)
    return Completions.of(logps, torch.zeros(count, width), mask)


def test_a_ranked_batch_is_a_table_of_lists() -> None:
    ranked = Ranked(completions(5), (2, 3))
    values = torch.arange(5.0)
    assert ranked.table(values, fill=-1).tolist() == [[0, 1, -1], [2, 3, 4]]
    assert ranked.present.tolist() == [[True, True, False], [True, True, True]]
    assert len(ranked) == 2
    assert ranked.mask.shape == (2, 9)
    assert int(ranked.mask.sum()) == int(ranked.completions.mask.sum())


def test_selecting_lists_keeps_them_whole() -> None:
    ranked = Ranked(completions(6), (2, 3, 1)).with_extra(weight=torch.tensor([1.0, 2.0, 3.0]))
    part = ranked.select([2, 0])
    assert part.sizes == (1, 2)
    assert part.extra["weight"].tolist() == [3, 1]
    assert_close(part.completions.logp, ranked.completions.logp[[5, 0, 1]])


def test_a_real_ranked_batch_is_split_into_fresh_lists() -> None:
    ranked = next(engine(batch_size=4).rankings())
    assert ranked.sizes == (2,) * 4
    assert [row[0].prompt for row in ranked.rows] == [row[1].prompt for row in ranked.rows]
    part = ranked.select([3, 1])
    assert part.rows == [ranked.rows[3], ranked.rows[1]]
    assert_close(part.completions.logp.detach(), ranked.completions.logp.detach()[[6, 7, 2, 3]], atol=1e-5, rtol=0)


def test_rankings_of_pairs_meet_the_prompts_of_pairs() -> None:
    one, two = engine(batch_size=4), engine(batch_size=4)
    for pairs, ranked in zip(one.pairs(), two.rankings(), strict=True):
        assert [row for item in pairs.rows for row in item] == [row for item in ranked.rows for row in item]
    assert one.consumed == two.consumed
    assert one.spent.completions == two.spent.completions


def batches() -> list[Any]:
    scored = completions(4)
    labels = torch.tensor([True, False, True, False])
    return [
        Pairs(scored, completions(4)),
        Labelled(scored, labels, Coupled(lambda: torch.zeros(4))),
        Ranked(completions(8), (2,) * 4),
    ]


@pytest.mark.parametrize("batch", batches(), ids=lambda batch: type(batch).__name__)
def test_what_a_batch_carries_is_cut_off_from_gradients_and_split_with_its_rows(batch: Any) -> None:
    given = torch.arange(4.0, requires_grad=True)
    noted = batch.with_extra(mean=given * 2).with_extra(table=torch.arange(8).view(4, 2))
    assert not batch.extra
    assert not noted.extra["mean"].requires_grad
    part = noted.select([3, 1])
    assert part.extra["mean"].tolist() == [6, 2]
    assert part.extra["table"].tolist() == [[6, 7], [2, 3]]


@dataclasses.dataclass(frozen=True)
class Sampled(Online):
    paper = "none"

    def batches(self, engine: Any) -> Any: ...

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.zeros(0)


def test_an_online_objective_on_the_gold_reward_needs_no_reward_model() -> None:
    assert Sampled().needs == {"sampling", "reward", "reference"}
    assert Sampled(reward="gold").needs == {"sampling", "gold", "reference"}
    assert Sampled.needs == {"sampling", "reward", "reference"}
    wrong: Any = "golden"
    with pytest.raises(InputError, match="reward='golden' must be model or gold"):
        Sampled(reward=wrong)


def test_a_sample_without_an_end_costs_the_penalty() -> None:
    serving = engine(max_new_tokens=3, budget=64, batch_size=16)
    (samples, rewards) = next(Sampled(reward="gold", missing_end_penalty=2.5).rollouts(serving, 2))
    lengths = samples.length.float()
    assert not samples.ended.all()
    assert_close(rewards, lengths - 2.5 * (~samples.ended))  # gold is the length here
    assert len(samples) == 32
    assert [row.prompt for row in samples.tokens[::2]] == [row.prompt for row in samples.tokens[1::2]]


def test_listwise_metrics_are_of_the_best_and_the_worst() -> None:
    class Some(Listwise):
        paper = "none"

        def loss(self, batch: Ranked) -> torch.Tensor:
            return batch.completions.logp

    ranked = Ranked(completions(5), (2, 3))
    shown = Some().metrics(ranked)
    logp = ranked.completions.logp
    assert_close(shown["chosen_logp"], logp[[0, 2]])
    assert_close(shown["rejected_logp"], logp[[1, 4]])
    assert_close(shown["margin"], logp[[0, 2]] - logp[[1, 4]])
    assert shown["accuracy"].tolist() == [1, 1]


def defaults(cls: type[Any]) -> Mapping[str, object]:
    return {"beta": 0.5} if "beta" in {field.name for field in dataclasses.fields(cls)} else {}


def test_a_benchmarks_value_holds_where_the_user_gives_none_and_is_shown() -> None:
    texts = [spec.text for spec in parse_objectives("dpo,dpo:beta=0.3,kto:beta=0.1/0.5,preferred_ft", defaults)]
    assert texts == ["dpo:beta=0.5", "dpo:beta=0.3", "kto", "kto:beta=0.5", "preferred_ft"]
    assert recreate("kto").plugin.beta == 0.1  # the text alone says it all


INNER = """
from dataclasses import dataclass
from alignbench import Paired, create

@dataclass(frozen=True)
class Outer(Paired):
    "An objective that runs another."
    paper = "none"
    inner: str = "dpo"

    def uses(self):
        return (create(self.inner),)

    def loss(self, batch):
        return create(self.inner).loss(batch)
"""


def test_the_code_of_an_objective_that_runs_in_another_is_part_of_its_key(tmp_path: Path) -> None:
    file = tmp_path / "outer.py"
    file.write_text(INNER)
    one, other = recreate(str(file)), recreate(f"{file}:inner=preferred_ft")
    assert one.source != other.source
    assert recreate(f"{file}:inner=dpo").source == one.source
