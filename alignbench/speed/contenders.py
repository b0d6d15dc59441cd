"""What is trained on the same batches: our engine and the plain way, both by the training loop that users run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..batch import Tokens
from ..engine import Budget, LocalEngine, Score, Sources
from ..logprobs import LanguageModel, probe
from ..mismatched import mismatched_rows
from ..models import DTYPES, Policy, RewardModel, load_policy
from ..objective import Training
from ..plugins import Spec
from ..reference import Reference, build_cache
from ..spent import Phase
from ..tokens import Dataset
from ..train import train
from .arithmetic import Size, count, forward_flops, rollout_flops, size_of, training_flops
from .measure import Rounds, Yardstick, now
from .plain import PaddedModel

LEARNING_RATE = 1e-6
# The policy starts this far from the reference (in standard deviations of each weight matrix), so that the first loss
# depends on both models: at the reference itself every implementation would show log 2, a wrong one as well.
NOISE = 0.3
PHASES: tuple[Phase, ...] = ("sample", "score", "train")


@dataclass(frozen=True)
class Task:
    """What one process is to do; everything in it can be sent."""

    contender: str
    spec: Spec
    model: Path
    reward: Path | None
    dataset: Dataset
    dtype: str
    batch_size: int
    steps: int
    threads: int
    max_tokens: int
    max_new_tokens: int
    device: str
    scratch: Path

    @property
    def paired(self) -> bool:
        return "pairs" in self.spec.plugin.needs

    @property
    def online(self) -> bool:
        return "sampling" in self.spec.plugin.needs

    @property
    def training(self) -> Training:
        return Training(learning_rate=LEARNING_RATE, batch_size=self.batch_size, warmup_steps=0)


@dataclass
class Run:
    """What a contender measured: `rounds` (the first warms up), and the seconds of its reference pass over all items.

    `tokens` are those of each step's sequences as the contender met them, prompts counted with each sequence. The two
    `flops` are what the reference pass and all rounds but the first need, `phases` the seconds of those rounds by what
    they went into.
    """

    rounds: Rounds
    reference_seconds: float = 0.0
    tokens: list[int] = field(default_factory=list)
    reference_flops: int = 0
    round_flops: int = 0
    how: str = ""
    phases: dict[Phase, float] = field(default_factory=dict)


def load_apart(task: Task) -> Policy:
    """The policy: the model of the folder with noise on its matrices, the same for every contender."""
    policy = load_plain(task)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(noise, alpha=NOISE * float(parameter.std()))
    return policy


def load_plain(task: Task) -> Policy:
    policy = load_policy(task.model, task.device)
    policy.dtype = DTYPES[task.dtype]
    return policy


def run_here(task: Task, yardstick: Yardstick, tell: Callable[[str], None]) -> Run:
    """Train with our engine or the plain way, as the task says."""
    plain = task.contender == "plain"
    run = Run(Rounds(yardstick, task.device, tell))
    reference = _live(_frozen(task, plain)) if plain or task.online else _cached(task, run, tell)
    policy = load_apart(task)
    model = _model(task, policy, plain)
    run.how = "padded, full logits" if plain else str(model.path)
    rewards = RewardModel.load(task.reward, task.device) if task.reward else None
    sources = Sources(
        dataset=task.dataset,
        reference=reference,
        reward=None if rewards is None else _score(rewards),
        max_new_tokens=task.max_new_tokens,
    )
    items = (1 + task.steps) * task.batch_size
    engine = InOrder(model, sources, task.training, Budget(2 * items if task.paired else items), seed=0)
    watched: Any = Watched(task.spec.plugin)
    warm = dict.fromkeys(PHASES, 0.0)
    run.rounds.begin()
    for step in train(engine, watched):
        with engine.spent.phase("evaluate"):  # the yardstick's time is nobody's
            run.rounds.end_step(step.completions, step.loss)
        if step.completions == watched.met[0].draw:
            warm = dict(engine.spent.phases)
    run.phases = {name: engine.spent.phases[name] - warm[name] for name in PHASES}
    run.tokens = [tokens_of(batch.rows) for batch in watched.met]
    reward = size_of(rewards.model) if rewards else None
    run.reference_flops, run.round_flops = needed(task, size_of(policy.model), reward, watched.met)
    return run


class InOrder(LocalEngine):
    """The engine with the records as they come: the order was drawn when they were prepared, for all contenders."""

    def _order(self, count: int) -> Iterator[int]:
        yield from cycle(range(count))


class Met(NamedTuple):
    """The sequences of one step; steps on one draw (the inner epochs of a rollout) have the same `draw`."""

    draw: int
    rows: list[Tokens]


class Watched:
    """An objective whose batches are noted on their way to the training loop."""

    def __init__(self, objective: Any) -> None:
        self._objective = objective
        self.met: list[Met] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)

    def batches(self, engine: LocalEngine) -> Iterator[Any]:
        for batch in self._objective.batches(engine):
            self.met.append(Met(engine.spent.completions, [row for item in batch.rows for row in item]))
            yield batch


def tokens_of(rows: Sequence[Tokens]) -> int:
    return sum(len(row.prompt) + len(row.completion) for row in rows)


def needed(task: Task, size: Size, reward: Size | None, met: Sequence[Met]) -> tuple[int, int]:
    """Floating-point operations of the reference pass over all items, and of all rounds but the first."""
    timed = [batch for batch in met if batch.draw != met[0].draw]
    if task.online:
        drawn: dict[int, list[Tokens]] = {}
        for batch in timed:
            drawn.setdefault(batch.draw, []).extend(batch.rows)
        sampled = sum(rollout_flops(size, reward or Size(0, 0, 0), rows) for rows in drawn.values())
        return 0, sampled + sum(training_flops(size, batch.rows) for batch in timed)
    others = [] if task.paired else list(mismatched_rows(task.dataset))
    width = task.batch_size
    trained = sum(
        training_flops(size, batch.rows, others[step * width : (step + 1) * width])
        for step, batch in enumerate(timed, start=1)
    )
    return forward_flops(size, count([*items(task.dataset), *others])), trained


def items(dataset: Dataset) -> list[Tokens]:
    """Every sequence of the data, in the order in which it is trained on."""
    return [row for row, _ in dataset.as_labelled()]


def _model(task: Task, policy: Policy, plain: bool) -> LanguageModel:
    if plain:
        return PaddedModel(policy, task.max_tokens, with_states=task.online)
    return LanguageModel(policy, probe(policy, items(task.dataset)), task.max_tokens)


def _frozen(task: Task, plain: bool) -> LanguageModel:
    model = _model(task, load_plain(task), plain)
    model.policy.model.requires_grad_(False)
    return model


def _live(model: LanguageModel) -> Reference:
    def logps(rows: Sequence[Tokens]) -> Tensor:
        with torch.no_grad():
            return model.forward(rows).logps

    return Reference(logps)


def _cached(task: Task, run: Run, tell: Callable[[str], None]) -> Reference:
    """One pass of the reference over all items, timed; then the reference leaves the memory."""
    tell("reference pass")
    model = _frozen(task, plain=False)
    rows = items(task.dataset) + ([] if task.paired else list(mismatched_rows(task.dataset)))
    score = _live(model).logps
    score(rows[: 2 * task.batch_size])  # warms up, as the first round does
    started = now(task.device)
    build_cache(task.scratch / "cache", rows, score)
    run.reference_seconds = now(task.device) - started
    del model, score
    gc.collect()

    def absent(missing: Sequence[Tokens]) -> Tensor:
        raise AssertionError(f"{len(missing)} sequences are not in the cache that was made for them")

    return Reference(absent, task.scratch / "cache")


def _score(rewards: RewardModel) -> Score:
    return lambda rows: rewards.score([row.prompt + row.completion for row in rows])
