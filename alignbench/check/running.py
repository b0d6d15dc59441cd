"""Checks with a real engine and a tiny model: what an objective uses, the loop's parts, and that it learns."""

from __future__ import annotations

from typing import Any

import torch

from ..train import accumulate, train
from .outcomes import Failed, short
from .subject import Subject, with_defaults
from .tiny import Recording, first_token, held_out_accuracy, recording, toy

STEPS = 3


def needs(subject: Subject) -> None:
    """`needs` is exactly what is used in a few steps of training: data, reference, samples, rewards."""
    used = _trained(subject).used
    declared = set(subject.objective.needs)
    if missing := sorted(used - declared):
        raise Failed(f"it uses {', '.join(missing)} and does not say so: add that to `needs`.")
    if idle := sorted(declared - used):
        raise Failed(f"`needs` has {', '.join(idle)}, which {STEPS} steps of training never used: take it out.")


def common_order(subject: Subject) -> None:
    """The prompts of each stream that it reads are those of every objective, in the same order."""
    for name, served in _trained(subject).streams.items():
        fresh = recording(subject.objective)
        stream = fresh.demonstrations() if name == "demonstrations" else fresh.prompts()
        while len(fresh.consumed) < len(served):
            next(stream)
        if fresh.consumed[: len(served)] != served:
            raise Failed(
                f"its prompts come in another order than those of other objectives: open `{name}` of the engine once "
                f"and read it from the start."
            )


def _trained(subject: Subject) -> Recording:
    """The engine after a few steps with this objective, at its own leave: the reference is there only if declared."""
    if "trained" not in subject.memory:
        engine = recording(subject.objective)
        steps = [step for step, _ in zip(train(engine, subject.objective), range(STEPS), strict=False)]
        if any(not torch.isfinite(torch.tensor([step.loss, step.grad_norm])).all() for step in steps):
            raise Failed(f"the loss of a tiny model is not finite within {STEPS} steps.")
        subject.memory["trained"] = engine
    found: Recording = subject.memory["trained"]
    return found


def micro_batches(subject: Subject) -> None:
    """In the training loop a batch in one part has the loss and the gradient that it has item by item."""
    found = []
    for most in (8192, 1):
        engine = recording(subject.objective)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            engine.head = subject.objective.init(engine)
        with torch.no_grad():
            batch = next(iter(subject.objective.batches(engine)))
        engine.model.max_tokens = most
        loss, _ = accumulate(subject.objective, batch, engine)
        modules = [engine.model.policy.model, *([engine.head] if engine.head is not None else [])]
        grads = [p.grad.flatten() for m in modules for p in m.parameters() if p.grad is not None]
        found.append((loss, torch.cat(grads)))
    (whole, gradient), (parts, summed) = found
    if not abs(whole - parts) <= 1e-4 * (1 + abs(whole)):
        raise Failed(
            f"the loss of a batch is {short(whole)} whole and {short(parts)} item by item: look at batch_size."
        )
    error, largest = float((gradient - summed).abs().max()), float(gradient.abs().max())
    if not error <= 1e-4 * largest:
        raise Failed(f"the gradient of a batch is off by {short(error / largest)} of its largest entry item by item.")


def learns(subject: Subject) -> None:
    """On a toy, with default hyper-parameters, completions that begin with one token become likelier than those that
    begin with another."""
    # Other hyper-parameters may rightly want less: with a high price of the KL little is gained before it is reached.
    objective = with_defaults(subject.objective) or subject.objective
    if objective.trains == "reward":
        _learns_rewards(objective)
        return
    engine = toy(objective)
    before = first_token(engine.model)
    steps = sum(1 for _ in train(engine, objective))
    after = first_token(engine.model)
    odds = [good / bad for good, bad in (before, after)]
    if not odds[1] > 5 * odds[0]:
        raise Failed(
            f"after {steps} steps on a toy a good first token is {short(odds[1])} times as likely as a bad one, at the "
            f"start {short(odds[0])} times: 5 times that is wanted; look at the sign, the scale and the gradient."
        )
    rises = "down" not in {objective.moves.get(kind) for kind in ("chosen", "desirable", "best")}
    if rises and not after[0] > 2 * before[0]:
        raise Failed(
            f"after {steps} steps on a toy a good first token has the probability {short(after[0])}, at the start "
            f"{short(before[0])}: twice that is wanted; look at the sign and the scale of the loss."
        )


def _learns_rewards(objective: Any) -> None:
    engine = toy(objective)
    for _ in train(engine, objective):
        pass
    accuracy = held_out_accuracy(engine)
    if not accuracy > 0.9:
        raise Failed(f"after training on a toy it ranks {accuracy:.0%} of the held-out pairs right: 90% is wanted.")
