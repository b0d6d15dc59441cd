"""The one training loop: it yields between steps and knows no metric and no objective."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .batch import Batch
from .engine import LocalEngine
from .errors import TrainingError
from .logprobs import LanguageModel
from .objective import Objective, Training
from .results import derive


@dataclass(frozen=True)
class Step:
    """One optimizer step: the loss before it, the metrics of the objective, and what has been spent so far."""

    step: int
    completions: int
    loss: float
    metrics: dict[str, float]
    grad_norm: float
    learning_rate: float
    seconds: float


def train(engine: LocalEngine, objective: Objective[Any]) -> Iterator[Step]:
    """Train `engine.model` (and the head that the objective asks for) until the objective's batches end.

    Raises:
        TrainingError: a loss or a gradient that is not finite, with the step and the cause.
    """
    training = engine.training
    head = _make_head(engine, objective)
    parameters = [p for p in engine.model.policy.model.parameters() if p.requires_grad]
    parameters += list(head.parameters()) if head is not None else []
    optimizer = _optimizer(parameters, training)
    engine.model.into_grad = True
    batches = objective.batches(engine)
    started, step = time.perf_counter(), 0
    used = 0.0  # the share of the budget used before the data of this step were drawn
    while not training.steps or step < training.steps:
        before, served = engine.progress, engine.spent.completions
        with torch.no_grad():
            batch = next(batches, None)
        if batch is None:
            break
        used = before if engine.spent.completions > served else used  # inner epochs draw nothing and keep their rate
        progress = max(used, step / training.steps if training.steps else 0.0)
        step += 1
        rate = training.learning_rate * min(1.0, step / max(1, training.warmup_steps)) * (1 - progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, metrics = accumulate(objective, batch, engine, step)
        norm = _clip(parameters, training.max_grad_norm)
        if not math.isfinite(norm):
            raise TrainingError(f"step {step}: the gradient is not finite (norm {norm}); the loss was {loss:.6g}.")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        yield Step(step, engine.spent.completions, loss, metrics, norm, rate, seconds)
    if step == 0:
        raise TrainingError("the objective gave no batch to train on.")


def _clip(parameters: Sequence[Tensor], most: float) -> float:
    """Scale the gradients to a norm of `most` where theirs is larger; returns what it was."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = float(nn.utils.get_total_norm(grads))
    if norm > most:  # else nothing is to be done, and one pass over all gradients is saved
        nn.utils.clip_grads_with_norm_(parameters, most, torch.tensor(norm))
    return norm


def accumulate(
    objective: Objective[Any], batch: Batch, engine: LocalEngine, step: int = 0
) -> tuple[float, dict[str, float]]:
    """Gradients of the mean loss over the whole batch, added up over micro-batches; returns the loss and metrics.

    The mean divides by the sequences or the completion tokens of the *whole* batch, so that the split changes nothing
    but rounding.
    """
    sequences, tokens = len(batch), int(batch.mask.sum())
    total = 0.0
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for rows in micro_batches(batch, engine.model):
        part = batch.select(rows)  # whole or not: what `batches` has read already was read without a gradient
        with torch.enable_grad():
            unreduced = objective.loss(part)
            per_token = unreduced.dim() == 2
            if per_token:
                unreduced = unreduced.masked_fill(~part.mask, 0.0)
            loss = unreduced.sum() / (tokens if per_token else sequences)
            if not torch.isfinite(loss):
                raise TrainingError(f"step {step}: the loss is {loss.item()}{_cause(objective, part, unreduced)}.")
            loss.backward()
        total += float(loss.detach())
        with torch.no_grad():
            for name, values in objective.metrics(part).items():
                kept = values[part.mask] if values.dim() == 2 else values[~values.isnan()]
                sums[name] = sums.get(name, 0.0) + float(kept.sum())
                counts[name] = counts.get(name, 0.0) + len(kept)
        engine.spent.tokens += sum(engine.model.tokens(list(item)) for item in part.rows)
    return total, {name: sums[name] / counts[name] for name in sums if counts[name]}


def micro_batches(batch: Batch, model: LanguageModel) -> list[list[int]]:
    """Items of the batch in parts of at most `model.max_tokens` tokens each (or one item).

    The longest come together, and items of one prompt stay together where they can: it is read once a part.
    """
    sizes, max_tokens = [model.tokens(item) for item in batch.rows], model.max_tokens
    if model.tokens([row for item in batch.rows for row in item]) <= max_tokens:
        return [list(range(len(sizes)))]
    parts: list[list[int]] = []
    room = 0
    longest: dict[tuple[int, ...], int] = {}
    for item, size in zip(batch.rows, sizes, strict=True):
        longest[item[0].prompt] = max(size, longest.get(item[0].prompt, 0))
    prompts = [item[0].prompt for item in batch.rows]
    for index in sorted(range(len(sizes)), key=lambda i: (-longest[prompts[i]], prompts[i], -sizes[i])):
        if not parts or sizes[index] > room:
            parts.append([])
            room = max_tokens
        parts[-1].append(index)
        room -= sizes[index]
    return parts


def _make_head(engine: LocalEngine, objective: Objective[Any]) -> nn.Module | None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(engine.seed, "init"))
        head = objective.init(engine)
    engine.head = head.to(engine.device) if head is not None else None
    return engine.head


def _optimizer(parameters: Sequence[Tensor], training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=training.learning_rate)
    # One pass over weights, gradients and moments instead of a dozen.
    return torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=0.0, fused=True)


def _cause(objective: Objective[Any], part: Batch, unreduced: Tensor) -> str:
    """Where a loss that is not finite comes from, as far as the numbers tell."""
    bad = (~torch.isfinite(unreduced)).nonzero()
    where = f" ({len(bad)} of {unreduced.numel()} elements of {type(objective).__name__}.loss"
    where += f", first at {bad[0].tolist()}" if len(bad) else ": their sum is too large"
    with torch.no_grad():
        odd = [name for name, value in objective.metrics(part).items() if not torch.isfinite(value).any()]
    return where + (f"; not finite as well: {', '.join(odd)})" if odd else ")")
