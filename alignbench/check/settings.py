"""The check that every hyper-parameter matters."""

from __future__ import annotations

import math
import typing
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..objective import Objective, Range
from .declared import candidates, same
from .outcomes import Failed, NotApplicable
from .plain import PlainEngine
from .points import EXTREME, NEAR, ORDINARY, WIDE
from .subject import Subject, serve

POINTS = (ORDINARY, WIDE, EXTREME[2], NEAR)
PLAN = ((0, 1, 2), (3, 4, 5))


def hyper_parameters(subject: Subject) -> None:
    """Each field changes the loss, the batches or the head at one of several points; each choice of a Literal does."""
    objective: Any = subject.objective
    names = [field.name for field in fields(objective) if field.init]
    if not names:
        raise NotApplicable("it has no hyper-parameters")
    hints = typing.get_type_hints(type(objective))
    unknown = []
    for name in names:
        values = _others(objective, name)
        now = getattr(objective, name)
        if not values and (typing.get_origin(hints[name]) is Literal or isinstance(now, int | float)):
            raise Failed(f"{name} can be nothing but {now}: widen what it may be, or take it out.")
        if not values:
            unknown.append(name)
        elif typing.get_origin(hints[name]) is Literal:
            _used(name, now, [value for value in values if not _matters(objective, name, [value], names)])
        elif not _matters(objective, name, values, names):
            _used(name, now, values)
    if unknown:
        raise NotApplicable(
            f"{', '.join(unknown)} could not be examined, as the kit knows no other value to try: "
            f"give a field the type bool, int, float or Literal"
        )


def _used(name: str, now: Any, idle: list[Any]) -> None:
    if idle:
        raise Failed(
            f"{name}={idle[0]} and {name}={now} give the same batches and losses: use the field, or take it out."
        )


def _others(objective: Objective[Any], name: str) -> list[Any]:
    """Other values of a field; of a number also the ends of its range, and halfway to them."""
    now = getattr(objective, name)
    tried: list[float] = []
    ranges = [mark for mark in _marks(objective, name) if isinstance(mark, Range)]
    if isinstance(now, float):
        ends = [end for mark in ranges for end in (mark.low, mark.high) if math.isfinite(end)]
        tried = [value for end in ends for value in ((now + end) / 2, end)]
    more = [value for value in tried if value != now and all(mark.holds(value) for mark in ranges)]
    return list(dict.fromkeys([*candidates(objective, name), *more]))


def _marks(objective: Objective[Any], name: str) -> tuple[Any, ...]:
    hint = typing.get_type_hints(type(objective), include_extras=True)[name]
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()


def _matters(objective: Objective[Any], name: str, values: list[Any], names: list[str]) -> bool:
    """Whether one of the values makes a difference, if need be beside another value of another field."""
    bases = [objective]
    for other in names:
        if other != name:
            bases += [made for value in _others(objective, other) if (made := _with(objective, other, value))]
    for base in bases:  # the first, as it is, nearly always decides
        before: dict[int, list[Tensor]] = {}
        for value in values:
            changed = _with(base, name, value)
            if changed is None:
                continue
            for place in range(len(POINTS)):
                if place not in before:
                    before[place] = _losses(base, place)
                if not same(before[place], _losses(changed, place)):
                    return True
    return False


def _with(objective: Any, name: str, value: Any) -> Objective[Any] | None:
    """The objective with another value of a field; None where its own rules refuse that."""
    try:
        changed: Objective[Any] = replace(objective, **{name: value})
        return changed
    except InputError:
        return None


def _losses(objective: Objective[Any], place: int) -> list[Tensor]:
    """The losses of the first batches at a point, which sequences they are of, and what the head starts from."""
    served = serve(objective, POINTS[place], PLAN)
    found = _start(served.engine.table.head)
    for batch in served.batches:
        looked = served.look(batch)
        rows = [float(hash((row.prompt, row.completion)) % 9973) for rows in looked.part.rows for row in rows]
        found += [looked.masked.detach(), torch.tensor(rows)]
    return found


def _start(head: nn.Module | None) -> list[Tensor]:
    """The parameters of a head and the values that it gives: the plain engine's table has values of its own."""
    if head is None:
        return []
    numbers = [tensor.double() for tensor in head.state_dict().values() if isinstance(tensor, Tensor)]
    states = torch.linspace(-1, 1, 6 * PlainEngine.hidden_size).view(6, PlainEngine.hidden_size)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return [*numbers, head(states)]
