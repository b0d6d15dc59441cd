"""The check that every hyper-parameter matters."""

from __future__ import annotations

import typing
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..objective import Objective
from .declared import candidates, same
from .outcomes import Failed, NotApplicable
from .points import EXTREME, NEAR, ORDINARY, WIDE
from .subject import Subject, serve

POINTS = (ORDINARY, WIDE, EXTREME[2], NEAR)
PLAN = ((0, 1, 2), (3, 4, 5))


def hyper_parameters(subject: Subject) -> None:
    """Each field changes the loss or the batches at one of several points; each choice of a Literal does."""
    objective: Any = subject.objective
    names = [field.name for field in fields(objective) if field.init]
    if not names:
        raise NotApplicable("it has no hyper-parameters")
    hints = typing.get_type_hints(type(objective))
    for name in names:
        values = list(candidates(objective, name))
        if typing.get_origin(hints[name]) is Literal:
            idle = [value for value in values if not _matters(objective, name, [value], names)]
        else:
            idle = [] if not values or _matters(objective, name, values, names) else values[:1]
        if idle:
            now = getattr(objective, name)
            raise Failed(
                f"{name}={idle[0]} and {name}={now} give the same batches and losses: use the field, or take it out."
            )


def _matters(objective: Objective[Any], name: str, values: list[Any], names: list[str]) -> bool:
    """Whether one of the values makes a difference, if need be beside another value of another field."""
    bases = [objective]
    for other in names:
        if other != name:
            bases += [made for value in candidates(objective, other) if (made := _with(objective, other, value))]
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
    """The losses of the first batches at a point, and which sequences they are of."""
    served = serve(objective, POINTS[place], PLAN)
    found = []
    for batch in served.batches:
        looked = served.look(batch)
        rows = [float(hash((row.prompt, row.completion)) % 9973) for rows in looked.part.rows for row in rows]
        found += [looked.masked.detach(), torch.tensor(rows)]
    return found
