"""The reference cache: the same figures as the live model, which is asked only for what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alignbench import Completions, Tokens
from alignbench.logprobs import LanguageModel
from alignbench.reference import Reference, build_cache
from tests.small import engine, language_model, rows


class Live:
    """A model that writes down the rows it is asked for."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.asked: list[Tokens] = []

    def __call__(self, rows: Sequence[Tokens]) -> Tensor:
        self.asked += rows
        with torch.no_grad():
            return self.model.forward(rows).logps


def never(rows: Sequence[Tokens]) -> Tensor:
    raise AssertionError(f"the live model was asked for {len(rows)} rows")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Of all rows, one of them twice."""
    build_cache(tmp_path / "cache", [*rows(), rows()[0]], Live(language_model()))
    return tmp_path / "cache"


@pytest.mark.parametrize("order", [range(10), [9, 0, 4, 4, 2], [3]])
def test_cached_equals_live_and_the_live_model_is_never_called(cache: Path, order: Sequence[int]) -> None:
    asked = [rows()[i] for i in order]
    found = Reference(never, cache).logps(asked)
    expected = torch.cat([Live(language_model())([row]) for row in asked])
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


def test_a_repeated_row_is_stored_once(cache: Path, tmp_path: Path) -> None:
    live = Live(language_model())
    build_cache(tmp_path / "other", [*rows(), *rows()], live)
    assert live.asked == rows()


def test_rows_that_are_not_there_go_to_the_live_model(cache: Path) -> None:
    new = rows(seed=1)
    mixed = [new[0], rows()[3], rows()[0], new[1], new[0], rows()[7]]
    live = Live(language_model())
    found = Reference(live, cache).logps(mixed)
    assert live.asked == [new[0], new[1], new[0]]
    expected = torch.cat([Live(language_model())([row]) for row in mixed])
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


def test_without_a_cache_everything_goes_to_the_live_model() -> None:
    live = Live(language_model())
    Reference(live).logps(rows())
    assert live.asked == rows()


ROW = Tokens((1, 5, 6), (7, 8, 2), prompt_id=3)


@pytest.mark.parametrize(
    "other",
    [
        replace(ROW, prompt=(1, 5), completion=(6, 7, 8, 2)),  # the same ids, another boundary
        replace(ROW, prompt=(1, 56)),
        replace(ROW, prompt=(1, 5, 6, 7), completion=(8, 2)),
        replace(ROW, prompt=(1, 4, 6)),
        replace(ROW, completion=(7, 8)),
        replace(ROW, completion=(7, 2, 8)),
        replace(ROW, completion=(7, 82)),
    ],
)
def test_another_row_is_not_taken_for_this_one(other: Tokens, tmp_path: Path) -> None:
    build_cache(tmp_path / "cache", [ROW], Live(language_model()))
    with pytest.raises(AssertionError, match="asked for 1 rows"):
        Reference(never, tmp_path / "cache").logps([other])


def test_a_row_is_known_by_its_ids_alone(tmp_path: Path) -> None:
    build_cache(tmp_path / "cache", [ROW], Live(language_model()))
    found = Reference(never, tmp_path / "cache").logps([replace(ROW, prompt_id=9, ended=False)])
    assert found.shape == (3,)


def test_caches_of_two_models_stand_side_by_side(tmp_path: Path) -> None:
    """A cache belongs to a folder, which a run names by all that the figures depend on."""
    for seed in (0, 1):
        build_cache(tmp_path / str(seed), rows(), Live(language_model(seed)))
    first, second = (Reference(never, tmp_path / str(seed)).logps(rows()) for seed in (0, 1))
    assert (first - second).abs().max() > 1
    assert not [path.name for path in tmp_path.iterdir() if path.name not in ("0", "1")]  # nothing half-written


def test_a_batch_reads_the_cache(cache: Path) -> None:
    serving = engine()
    serving.sources.reference = Reference(never, cache)
    batch = Completions.from_rows(rows(), serving)
    expected = Completions.from_rows(rows(), language_model_engine := engine(reference_seed=0)).ref_logps
    assert language_model_engine.sources.reference is not None
    assert (batch.ref_logps - expected).abs().max() < 1e-5
    assert not batch.ref_logps.requires_grad
