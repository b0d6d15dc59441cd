"""The settings of plug-ins: a field's value from text and back, by its declared type."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal

from ..errors import InputError
from ..objective import Range, Training

TRAINING_FIELDS = tuple(f.name for f in fields(Training))


def settable(cls: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a dataclass that a spec may set, by name, in the order of declaration; not those that follow an
    option of the command line (`metadata={"option": "--device"}`)."""
    return {f.name: f for f in fields(cls) if f.init and "option" not in f.metadata}


def default(f: Field[Any]) -> Any:
    """The default of a field, `dataclasses.MISSING` where it has none."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def convert(text: str, hint: Any, where: str) -> Any:
    """`text` as a value of the declared type `hint`; `where` names the field in an error.

    Raises:
        InputError: `text` is no such value, or values of that type cannot be written in a spec.
    """
    hint = _base(hint)
    if hint is bool or typing.get_origin(hint) is Literal:
        choices = {show(choice): choice for choice in typing.get_args(hint) or (True, False)}
        if text not in choices:
            raise InputError(f"{where}={text!r} must be {' or '.join(choices)}.")
        return choices[text]
    if hint not in (int, float, str):
        raise InputError(f"{where} has the type {hint}: a spec holds int, float, bool, str and Literal alone.")
    try:
        return hint(text)
    except ValueError:
        raise InputError(f"{where}={text!r} must be a {'whole ' if hint is int else ''}number.") from None


def sweeps(hint: Any) -> bool:
    """Whether `a/b` stands for two values: of numbers and booleans, not of text, where `/` may belong to a path."""
    hint = _base(hint)
    if typing.get_origin(hint) is Literal:
        return not any(isinstance(choice, str) for choice in typing.get_args(hint))
    return hint in (int, float, bool)


def show(value: Any) -> str:
    """A value as it is written in a spec: short, and read back as the same value."""
    if isinstance(value, float):
        short = f"{value:g}" if float(f"{value:g}") == value else repr(value)
        return re.sub(r"e\+?(-?)0*", r"e\1", short)  # 1e-05 is 1e-5
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown_fields(cls: type[Any]) -> tuple[str, ...]:
    """Each settable field with its default and what it may be: "beta=0.1 (above 0)"."""
    declared, shown = hints(cls), []
    for name, f in settable(cls).items():
        hint = declared[name]
        notes = [str(mark) for mark in typing.get_args(hint) if isinstance(mark, Range)]
        if typing.get_origin(_base(hint)) is Literal:
            notes.append(" or ".join(show(choice) for choice in typing.get_args(_base(hint))))
        value = "VALUE" if default(f) is MISSING else show(default(f))
        shown.append(f"{name}={value}" + "".join(f" ({note})" for note in notes if note))
    return tuple(shown)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[near[0]]!r}?" if near else ""


def _base(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
