"""Where time goes: phases that add up, and counts worked out by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import alignbench.engine
import alignbench.spent
from alignbench import Tokens
from alignbench.batch import Forward
from alignbench.engine import Budget, LocalEngine, Sources
from alignbench.logprobs import LanguageModel
from alignbench.plugins import create
from alignbench.reference import Reference, build_cache
from alignbench.sampling import sample
from alignbench.spent import PHASES, Spent
from alignbench.train import train
from tests.small import BOS, engine, language_model, live, of_pairs, reward_model

OFFLINE, ONLINE = ("dpo", "kto", "preferred_ft", "sft", "reward_model"), ("ppo",)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Ticking:
    """A pass whose head takes two seconds the first time that it is read."""

    def __init__(self, inner: Forward, clock: Clock) -> None:
        self._inner, self._clock, self._read = inner, clock, False

    def _head(self) -> Forward:
        self._clock.now += 0.0 if self._read else 2.0
        self._read = True
        return self._inner

    @property
    def logps(self) -> Tensor:
        return self._head().logps

    @property
    def states(self) -> Tensor:
        return self._inner.states

    @property
    def entropy(self) -> Tensor:
        return self._inner.entropy

    @property
    def collision(self) -> Tensor:
        return self._inner.collision


class TickingModel(LanguageModel):
    """A pass takes 1 second without gradient, 1000 with; each notes its rows."""

    clock: Clock

    def forward(self, rows: Sequence[Tokens]) -> Forward:
        self.clock.now += 1000.0 if torch.is_grad_enabled() else 1.0
        return Ticking(super().forward(rows), self.clock)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (alignbench.spent, alignbench.engine):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=found.perf_counter))
    return found


def ticking_engine(clock: Clock, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> LocalEngine:
    """A rollout takes 10 seconds, a look at the reference 100 and rewards 0.25."""
    plain = language_model()
    model = TickingModel(plain.policy, plain.path)
    model.clock = clock

    def slow(seconds: float, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            clock.now += seconds
            return call(*arguments, **options)

        return called

    monkeypatch.setattr(alignbench.engine, "sample", slow(10.0, sample))
    serving = engine(model=model, rewards=reward_model(), **settings)
    assert serving.sources.reference is not None and serving.sources.reward is not None
    monkeypatch.setattr(serving.sources.reference, "_live", slow(100.0, serving.sources.reference._live))
    serving.sources.reward = slow(0.25, serving.sources.reward)
    return serving


@pytest.mark.parametrize(
    ("spec", "passes", "expected"),
    [
        # A pair's pass with gradient and its head; a look at the reference.
        ("dpo", 4, {"train": 1002, "score": 100}),
        # Also, without gradient, the mismatched completions: a pass, its head, the reference.
        ("kto", 2, {"train": 1002, "score": 100 + 1 + 2 + 100}),
        ("preferred_ft", 4, {"train": 1002}),
        ("reward_model", 4, {"train": 1000}),
        # A rollout, then its pass and head, reference and rewards; three inner epochs.
        ("ppo:inner_epochs=3", 2, {"train": 3 * 1002, "sample": 10, "score": 1 + 2 + 100 + 0.25}),
    ],
)
def test_every_second_is_counted_once_and_in_its_phase(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, spec: str, passes: int, expected: dict[str, float]
) -> None:
    serving = ticking_engine(clock, monkeypatch, batch_size=1, budget=8 if passes == 4 else 2)
    started = clock.now
    for step in train(serving, create(spec)):
        assert step.loss > 0
    assert serving.spent.phases == pytest.approx({name: passes * expected.get(name, 0.0) for name in PHASES})
    assert sum(serving.spent.phases.values()) == pytest.approx(clock.now - started)
    assert serving.spent.cost()["seconds"] == pytest.approx(clock.now - started)


@pytest.mark.parametrize("spec", [*OFFLINE, *ONLINE])
def test_phases_of_a_real_training_add_up_to_its_wall_time(spec: str) -> None:
    rewards = reward_model()
    before = time.perf_counter()
    serving = engine(rewards=rewards, batch_size=4, budget=16)
    first = time.perf_counter()
    list(train(serving, create(spec)))
    least, phases = time.perf_counter() - first, serving.spent.phases
    assert least <= sum(phases.values()) <= time.perf_counter() - before
    assert phases["train"] > 0 and phases["evaluate"] == 0
    assert (phases["sample"] > 0) == (spec in ONLINE)
    assert (phases["score"] > 0) == (spec in ("dpo", "kto", "ppo"))


def test_evaluation_on_the_way_belongs_to_no_budget_and_to_no_training(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ticking_engine(clock, monkeypatch, budget=Budget(1, seconds=5000.0), batch_size=4)
    steps = 0
    for _ in train(serving, create("dpo")):
        steps += 1
        with serving.spent.phase("evaluate"):
            clock.now += 7000.0
    assert steps == 5  # of 1102 seconds each
    assert serving.spent.phases["evaluate"] == 5 * 7000
    assert serving.spent.cost()["seconds"] == 5 * 1102


def test_an_error_ends_its_phase(clock: Clock) -> None:
    spent = Spent()

    def fail() -> None:
        with spent.phase("score"), spent.phase("sample"):
            clock.now += 1
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    clock.now += 2
    assert spent.phases == {"train": 2, "sample": 1, "score": 0, "evaluate": 0}


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda", 4)])
def test_a_gpu_is_waited_for_where_a_phase_ends_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, device: str, waits: int
) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    spent = Spent(torch.device(device))
    with spent.phase("score"), spent.phase("score"), spent.phase("sample"):
        pass
    assert len(waited) == waits


PROMPT, OTHER = (BOS, 5, 6), (BOS, 7)


def tokens(prompt: tuple[int, ...], length: int, number: int) -> Tokens:
    return Tokens(prompt, tuple(range(10, 10 + length)), number)


# Completions of 2 and 3, then of 4 and 1 tokens.
SAME = [(tokens(PROMPT, 2, 0), tokens(PROMPT, 3, 0)), (tokens(PROMPT, 4, 0), tokens(PROMPT, 1, 0))]
APART = [SAME[0], (tokens(OTHER, 4, 1), tokens(OTHER, 1, 1))]
PLAIN_SAME = (3 + 2) + (3 + 3) + (3 + 4) + (3 + 1)
PLAIN_APART = (3 + 2) + (3 + 3) + (2 + 4) + (2 + 1)


@pytest.mark.parametrize(
    ("pairs", "batch_size", "shared", "trained", "plain"),
    [
        (SAME, 2, True, 3 + 2 + 3 + 4 + 1, PLAIN_SAME),  # both pairs in one pass: their prompt is read once
        (SAME, 1, True, (3 + 2 + 3) + (3 + 4 + 1), PLAIN_SAME),
        (SAME, 2, False, PLAIN_SAME, PLAIN_SAME),
        (APART, 2, True, (3 + 2 + 3) + (2 + 4 + 1), PLAIN_APART),
    ],
)
def test_counts_of_two_pairs_against_the_hand(
    pairs: list[tuple[Tokens, Tokens]], batch_size: int, shared: bool, trained: int, plain: int
) -> None:
    data, model = of_pairs(pairs), language_model(shared=shared)
    serving = engine(data, model=model, batch_size=batch_size, budget=4)
    list(train(serving, create("dpo")))
    spent = serving.spent
    assert (spent.policy_forwards, spent.reference_forwards) == (4, 4)
    assert (spent.tokens_trained, spent.tokens_saved) == (trained, plain - trained)
    # A budget of tokens counts pair by pair, however they are packed, and what the reference reads, in no cache here.
    counted = plain if not shared else sum(len(a.prompt + a.completion + b.completion) for a, b in pairs)
    assert spent.tokens == counted + trained


def test_counts_of_the_other_kinds_against_the_hand() -> None:
    chosen = engine(of_pairs(SAME), batch_size=2, budget=4)
    list(train(chosen, create("preferred_ft")))
    assert (chosen.spent.policy_forwards, chosen.spent.reference_forwards) == (2, 0)
    assert (chosen.spent.tokens_trained, chosen.spent.tokens_saved) == (3 + 2 + 4, 3)
    # Beside the four completions KTO reads four under other prompts, under both models and without gradient.
    kto = engine(of_pairs(APART), batch_size=4, budget=4)
    list(train(kto, create("kto")))
    assert (kto.spent.policy_forwards, kto.spent.reference_forwards) == (8, 8)
    assert (kto.spent.tokens_trained, kto.spent.tokens_saved) == (3 + 2 + 3 + 2 + 4 + 1, 3 + 2)


def test_a_rollout_is_read_once_for_its_scores_and_once_an_inner_epoch() -> None:
    serving = engine(rewards=reward_model(), batch_size=4, budget=8)
    list(train(serving, create("ppo:inner_epochs=3")))
    assert (serving.spent.policy_forwards, serving.spent.reference_forwards) == (8 + 3 * 8, 8)


def test_what_is_cached_is_no_forward_and_what_is_missing_is(tmp_path: Path) -> None:
    model, rows = language_model(1), [row for pair in APART for row in pair]
    assert build_cache(tmp_path / "cache", [*rows[:3], rows[0]], live(model)._live) == 3
    serving = engine(of_pairs(APART), batch_size=1, budget=4)
    reference = Reference(live(model)._live, tmp_path / "cache")
    serving.sources = Sources(dataset=serving.sources.dataset, reference=reference)
    list(train(serving, create("dpo")))
    assert serving.spent.reference_forwards == reference.forwards == 1
    assert serving.spent.policy_forwards == 4
