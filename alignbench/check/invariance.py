"""Checks of what must not change a loss: padding, the order and the company of a batch, a second look at it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy
import torch
from torch import Tensor

from ..batch import Coupled, Labelled, Pairs, Tokens
from .gradients import completions_of, tensors
from .outcomes import Failed, NotApplicable, short
from .padded import widened
from .points import NEAR, ORDINARY
from .subject import Looked, Served, Subject, serve

TOLERANCE = 1e-5


def padding(subject: Subject) -> None:
    """Columns behind the mask change nothing, neither in `batches` nor in `loss`."""
    narrow, wide = subject.served(ORDINARY), serve(subject.objective, ORDINARY, columns=3)
    for a, b in zip(narrow.batches, wide.batches, strict=True):
        _compare(narrow.look(a), wide.look(b), "with three columns of padding more", "leave out what is off `mask`")
    example = subject.objective.example()
    batch = widened(example[0]) if example is not None else None
    if example is not None and batch is not None:
        before, after = (Looked(x, subject.objective.loss(x)) for x in (example[0], batch))
        _compare(before, after, "with junk behind the mask of its example", "leave out what is off `mask`")


def batch_order(subject: Subject) -> None:
    """The items of a batch may stand in any order."""
    served = subject.served(ORDINARY)
    for batch in served.batches:
        order = list(range(len(batch)))[::-1]
        looked, turned = served.look(batch), served.look(batch, order)
        expected = [looked.items[i] for i in order]
        _same(expected, turned.items, "in another order of the batch", "let each item's loss read that item alone")


def batch_size(subject: Subject) -> None:
    """An item alone, or in a smaller part of its batch, has the loss that it has in the whole."""
    served = subject.served(ORDINARY)
    for batch in served.batches:
        whole = served.look(batch).items
        halves = [list(range(len(batch)))[half::2] for half in (0, 1)]
        for rows in (*([i] for i in range(len(batch))), *halves):
            if rows:
                part = served.look(batch, rows).items
                advice = "compute what a batch shares in `batches`, and carry it in `extra`"
                _same([whole[i] for i in rows], part, f"among {len(rows)} instead of {len(batch)} items", advice)


def composition(subject: Subject) -> None:
    """Who else is in a batch does not change an item's loss, unless the objective notes it in `extra` or reads the
    drift of a labelled batch."""
    whole = subject.served(ORDINARY, (tuple(range(4)),))
    parted = subject.served(ORDINARY, ((0, 1), (2, 3)))
    if any(_coupled(served) for served in (whole, parted)):
        raise NotApplicable("it couples its batch by `extra` or by the drift, which is computed for the whole of it")
    expected, found = (dict(_by_rows(served)) for served in (whole, parted))
    common = [rows for rows in expected if rows in found]
    if not common:
        raise NotApplicable("no two of its batches hold the same item")
    advice = "normalise within the completions of a prompt, or declare why a whole batch is coupled in `known_failures`"
    _same([expected[r] for r in common], [found[r] for r in common], "where its batch holds other prompts", advice)


def _by_rows(served: Served) -> Iterator[tuple[tuple[Tokens, ...], Tensor]]:
    """The loss of every item of the first pass over it, by its sequences."""
    seen: set[tuple[Tokens, ...]] = set()
    for batch in served.batches:
        looked = served.look(batch)
        for rows, item in zip(looked.part.rows, looked.items, strict=True):
            if tuple(rows) not in seen:
                seen.add(tuple(rows))
                yield tuple(rows), item


def _coupled(served: Served) -> bool:
    return _reads_drift(served) or any(getattr(batch, "extra", None) for batch in served.batches)


def _reads_drift(served: Served) -> bool:
    """Whether the loss reads the lazily computed drift of a labelled batch."""
    parts = [served.look(batch).part for batch in served.batches]
    return any(isinstance(part, Labelled) and "value" in vars(part.coupled) for part in parts)


def drift(subject: Subject) -> None:
    """The drift of a labelled batch is an estimate of a KL: below 0 it counts as 0, and it is one mean for all."""
    served = subject.served(NEAR)
    for batch in served.batches:
        if not isinstance(batch, Labelled) or not _reads_drift(served):
            raise NotApplicable("it reads no `mismatched_log_ratio`")
        loss = {}
        for values in ((0.0, 0.0), (-3.0, -3.0), (-7.0, 3.0), (3.0, 3.0), (8.0, -2.0)):
            given = _with_drift(batch, torch.tensor(values))
            loss[values] = served.look(given).items
        advice = "take the mean of `mismatched_log_ratio` first, then `.clamp(min=0)`"
        _same(loss[0.0, 0.0], loss[-3.0, -3.0], "with a drift of -3 instead of 0", advice)
        _same(loss[0.0, 0.0], loss[-7.0, 3.0], "with a drift of -2, the mean of -7 and 3, instead of 0", advice)
        _same(loss[3.0, 3.0], loss[8.0, -2.0], "with the drift 3 as the mean of 8 and -2", advice)
        if all(torch.equal(a, b) for a, b in zip(loss[0.0, 0.0], loss[3.0, 3.0], strict=True)):
            raise Failed("the loss reads `mismatched_log_ratio` and does not change with it: use it or leave it.")


def _with_drift(batch: Labelled, values: Tensor) -> Labelled:
    return Labelled(batch.completions, batch.desirable, Coupled(lambda: values), batch.extra)


def deterministic(subject: Subject) -> None:
    """Two fresh runs of `batches`, and two looks at one batch, give the same losses to the last bit."""
    first, second = subject.served(ORDINARY), serve(subject.objective, ORDINARY)
    if len(first.batches) != len(second.batches):
        raise Failed("a second run of `batches` over the same data yields another number of batches: keep no state.")
    for a, b in zip(first.batches, second.batches, strict=True):
        losses = [first.look(a).masked, first.look(a).masked, second.look(b).masked]
        names = ("a second look at the same batch", "a second run over the same data")
        for name, loss in zip(names, losses[1:], strict=True):
            if not torch.equal(losses[0], loss):
                raise Failed(
                    f"{name} gives another loss: draw only from `engine.generator`, and keep state in `batches`."
                )


def pure(subject: Subject) -> None:
    """It draws nothing from global random generators and changes nothing that it is given."""
    before = _random_state()
    served = serve(subject.objective, ORDINARY)
    _same_state(before, "batches")
    for batch in served.batches:
        for name, call in (("loss", subject.objective.loss), ("metrics", subject.objective.metrics)):
            with served.reading(batch), torch.set_grad_enabled(name == "loss"):
                part, fresh = (batch.select(list(range(len(batch)))) for _ in range(2))
                given = {key: tensor.detach().clone() for key, tensor in tensors(part).items()}
                call(part)
                _same_state(before, name)
                given |= {key: tensor for key, tensor in _read(part, fresh).items() if key not in given}
                now = {**tensors(part), **_read(part, part)}
            for key, tensor in given.items():
                if not torch.equal(tensor, now[key]):
                    raise Failed(f"`{name}` changes {key} in place: work on a copy.")


def _read(part: Any, of: Any) -> dict[str, Tensor]:
    """What has been read of the completions of `part`, as the completions of `of` give it."""
    found = {}
    whose = ("the chosen completions", "the rejected completions") if isinstance(part, Pairs) else ("the completions",)
    for side, read, other in zip(whose, completions_of(part), completions_of(of), strict=False):
        for name in ("mask", "logps", "ref_logps", "values", "states", "entropy", "collision", "length", "ended"):
            if name in vars(read):
                found[f"`{name}` of {side}"] = getattr(other, name).detach().clone()
    return found


def _random_state() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), numpy.random.get_state(), random.getstate()  # noqa: NPY002


def _same_state(before: tuple[Tensor, Any, Any], where: str) -> None:
    now = _random_state()
    same = torch.equal(before[0], now[0]), str(before[1]) == str(now[1]), before[2] == now[2]
    for name, unchanged in zip(("torch", "numpy", "random"), same, strict=True):
        if not unchanged:
            raise Failed(
                f"`{where}` draws from the global generator of {name}: in `batches` draw from `engine.generator`, in "
                f"`loss` and `metrics` from none."
            )


def _compare(before: Looked, after: Looked, how: str, advice: str) -> None:
    _same(before.items, after.items, how, advice)


def _same(expected: list[Tensor], found: list[Tensor], how: str, advice: str) -> None:
    """Raises `Failed` where the losses of items differ by more than rounding."""
    if len(expected) != len(found):
        raise Failed(f"{how} there are {len(found)} losses instead of {len(expected)}: {advice}.")
    largest = max(float(item.detach().abs().max()) for item in expected)
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        error = float((a - b).detach().abs().max()) if a.shape == b.shape else float("inf")
        if not error <= TOLERANCE * (largest + 1e-3):
            values = f"{short(float(a.detach().mean()))} becomes {short(float(b.detach().mean()))}"
            raise Failed(f"the loss of item {number} is another {how} ({values}): {advice}.")
