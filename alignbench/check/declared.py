"""Checks of what a class says of itself: its declarations, docstring, example and metrics, and that it ends."""

from __future__ import annotations

import inspect
import math
import pickle
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..objective import NEEDS, Move, Objective, Range
from .outcomes import Failed, NotApplicable, short
from .plain import PlainEngine
from .points import ORDINARY
from .subject import WHOLE, Looked, Subject

SETTABLE = "int, float, bool, str or a Literal of such"
LONG = 120  # characters of the line that lists show
ENOUGH = 1000  # batches of one batch of data


def declared(subject: Subject) -> None:
    """A frozen dataclass with valid `paper`, `needs`, `trains`, `moves`, defaults, and ranges that are held to."""
    cls, objective = type(subject.objective), subject.objective
    made: Any = cls.__dict__.get("__dataclass_params__")
    if made is None or not made.frozen:
        raise Failed(f"{cls.__name__} is no frozen dataclass of its own: decorate it with @dataclass(frozen=True).")
    if not isinstance(getattr(cls, "paper", None), str) or not cls.paper.strip():
        raise Failed("`paper` is missing: name the source and the equation, or say that it is unpublished.")
    if not isinstance(objective.needs, frozenset) or not objective.needs <= NEEDS:
        raise Failed(f"`needs` is {objective.needs!r}: it must be a frozenset of some of {', '.join(sorted(NEEDS))}.")
    if objective.trains not in ("policy", "reward"):
        raise Failed(f"`trains` is {objective.trains!r}: it must be 'policy' or 'reward'.")
    _for_the_kit(objective)
    _fields(cls)
    if subject.spec is not None and pickle.loads(pickle.dumps(subject.spec)) != subject.spec:  # noqa: S301
        raise Failed("it does not come back the same from its spec: let `__post_init__` change no field that is given.")


def _for_the_kit(objective: Objective[Any]) -> None:
    """What the class says to these checks."""
    for kind, move in objective.moves.items():
        if move not in typing.get_args(Move):
            raise Failed(f"`moves` says {move!r} of {kind}: it must be up, down or any.")
    if objective.at_reference is not None and not math.isfinite(objective.at_reference):
        raise Failed(f"`at_reference` is {objective.at_reference!r}: it must be a finite number or None.")
    from . import CHECKS  # here: it is made of this module's checks, among others

    for name, reason in objective.known_failures.items():
        if name not in CHECKS:
            raise Failed(f"`known_failures` names {name!r}: there is no such check; they are {', '.join(CHECKS)}.")
        if not isinstance(reason, str) or not reason.strip():
            raise Failed(f"`known_failures` gives no reason for {name!r}: say in a few words why it cannot pass.")


def _fields(cls: Any) -> None:
    """Each has a default, and refuses values of another type or beyond its declared range with an `InputError`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    field: Any
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING:
            raise Failed(f"the field {field.name} has no default: give it the paper's value.")
        if not field.init:
            continue
        base, *marks = _parts(hints[field.name])
        if base not in (int, float, bool, str) and typing.get_origin(base) is not Literal:
            name = base.__name__ if isinstance(base, type) else base
            raise Failed(f"the field {field.name} is {name}, which no spec can set: a field is {SETTABLE}.")
        wrong: list[Any] = [None, *([math.nan] if isinstance(field.default, float) else [])]
        for mark in (mark for mark in marks if isinstance(mark, Range)):
            beyond = [mark.low - (not mark.low_open), mark.high + 1]
            wrong += [type(field.default)(value) for value in beyond if math.isfinite(value)]
        for value in wrong:
            try:
                cls(**{field.name: value})
            except InputError:
                continue
            raise Failed(f"{field.name}={value!r} is accepted: call super().__post_init__(), which checks the fields.")


def _parts(hint: Any) -> tuple[Any, ...]:
    """The type of a field, and its marks."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)


def documented(subject: Subject) -> None:
    """A docstring of its own: a first line for lists, and the formula."""
    doc = type(subject.objective).__dict__.get("__doc__") or ""
    if not doc or doc.startswith(f"{type(subject.objective).__name__}("):
        raise Failed("the class has no docstring: say in one line what it is, then give the formula.")
    first, _, rest = inspect.cleandoc(doc).partition("\n")
    if len(first) > LONG:
        raise Failed(f"the first line of the docstring has {len(first)} characters, lists show {LONG}: shorten it.")
    if not first.rstrip().endswith((".", ":")):
        raise Failed(
            "the first line of the docstring is not a whole sentence: end it with a full stop, then go on below."
        )
    if not re.search(r"\b(log|sigmoid|max|min|exp|sum|mean)\b|[=^]|\w\(", first + rest):
        raise Failed("the docstring gives no formula: write the loss of an item as it is computed.")


def example(subject: Subject) -> None:
    """The batch worked out by hand in `example` has that loss, two items or more, with default hyper-parameters."""
    worked = subject.default.example()
    if worked is None:
        raise Failed("`example` is missing: return a batch of two items or more and their losses, worked out by hand.")
    if not isinstance(worked, tuple) or len(worked) != 2 or not isinstance(worked[1], Tensor):
        raise Failed("`example` returns no pair: return a batch, and a tensor of the losses worked out by hand.")
    batch, expected = worked
    if len(batch) < 2:
        raise Failed(f"`example` holds {len(batch)} item: give two or more, so that they cannot be mixed up unseen.")
    looked = Looked(batch, subject.default.loss(batch))
    if looked.loss.shape != expected.shape:
        raise Failed(f"the loss of `example` is {list(looked.loss.shape)}, worked out by hand {list(expected.shape)}.")
    loss, by_hand = looked.masked.detach(), Looked(batch, expected).masked  # the loop drops what is off the mask
    error = (loss - by_hand).abs()
    if not float(error.max()) <= 1e-5 * (1 + float(by_hand.abs().max())):
        item, *token = map(int, torch.unravel_index(error.argmax(), error.shape))
        where = f"item {item}" + (f", token {token[0]}," if token else "")
        found, wanted = float(loss[item, *token]), float(by_hand[item, *token])
        raise Failed(f"the loss of {where} of `example` is {found:.6g}, by hand {wanted:.6g}: mend one of them.")


def metrics(subject: Subject) -> None:
    """Each metric is `[B]` or `[B, T]`, finite (NaN where a row does not count), and that of an item alone."""
    served = subject.served(ORDINARY)
    if not served.metrics(served.batches[0])[1]:
        raise NotApplicable("it reports no metrics")
    for batch in served.batches[:2]:
        part, found = served.metrics(batch)
        alone = [served.metrics(batch, [number])[1] for number in range(len(batch))]
        for name, values in found.items():
            if tuple(values.shape) not in ((len(part),), tuple(part.mask.shape)):
                raise Failed(f"the metric {name} has shape {list(values.shape)}: return one figure an item or a token.")
            if values.requires_grad:
                raise Failed(f"the metric {name} carries a gradient: compute it from what `metrics` is given.")
            if values.isinf().any() or values.isnan().all():
                raise Failed(f"the metric {name} is not finite at ordinary log-probs: {short(float(values.max()))}.")
            for number, single in enumerate(alone):
                mine = values[number][part.mask[number]] if values.dim() == 2 else values[number : number + 1]
                own = single[name].flatten()[: len(mine)]
                if not torch.allclose(mine, own, rtol=1e-4, atol=1e-5, equal_nan=True):
                    raise Failed(f"the metric {name} of item {number} is another when it is looked at alone.")


def ends(subject: Subject) -> None:
    """`batches` ends when the streams of the engine do."""
    engine = PlainEngine(ORDINARY, WHOLE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine.table.head = subject.objective.init(engine)
    with torch.no_grad():
        count = sum(1 for _ in islice(subject.objective.batches(engine), ENOUGH))
    if count == ENOUGH:
        raise Failed(f"`batches` yields {ENOUGH} batches and more from a stream of one: end when the stream ends.")


# Hyper-parameters


def candidates(objective: Objective[Any], name: str) -> Iterator[Any]:
    """Other values that a hyper-parameter may take."""
    hint = typing.get_type_hints(type(objective), include_extras=True)[name]
    base, *marks = _parts(hint)
    now = getattr(objective, name)
    if typing.get_origin(base) is Literal:
        tried: tuple[Any, ...] = typing.get_args(base)
    elif isinstance(now, bool):
        tried = (not now,)
    elif isinstance(now, int):
        tried = (now + 1, 2 * now + 1, now - 1, 0)
    elif isinstance(now, float):
        tried = (1.5 * now, now / 2, now + 0.25, now + 2.5, 0.0, 1.0)
    else:
        tried = ()
    ranges = [mark for mark in marks if isinstance(mark, Range)]
    values = dict.fromkeys(float(f"{value:.6g}") if isinstance(value, float) else value for value in tried)
    yield from (value for value in values if value != now and all(mark.holds(value) for mark in ranges))


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two series of losses are equal but for rounding."""
    return len(a) == len(b) and all(
        x.shape == y.shape and torch.allclose(x, y, rtol=1e-5, atol=1e-7, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )
