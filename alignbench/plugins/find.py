"""From names to classes: what is shipped, what third parties have installed, what a user's file defines."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from ..benchmark import Benchmark
from ..errors import InputError
from ..judge import Judge
from ..objective import NEEDS, Objective
from .code import blamed, import_file
from .settings import TRAINING_FIELDS, did_you_mean, hints

Kind = Literal["objective", "benchmark", "judge"]
BASES: dict[Kind, type[Any]] = {"objective": Objective, "benchmark": Benchmark, "judge": Judge}
# What a class of each kind must say of itself.
_STATEMENT: dict[Kind, str] = {"objective": "paper", "benchmark": "question", "judge": "summary"}


class _Installed(NamedTuple):
    origin: str
    load: Callable[[], type[Any]]


def find(kind: Kind, name: str, path: Path | None = None) -> type[Any]:
    """The class of a plug-in, by name or as `file.py[::ClassName]`, held to the contract of its kind.

    No other plug-in is imported, so a broken one is no hindrance. `path` says where the file is, whatever folder
    `name` gives it.

    Raises:
        InputError: there is no such plug-in, its code raises, or it does not keep the contract.
    """
    file, _, wanted = name.partition("::")
    if is_file(name):
        cls = _only_class(kind, import_file(path or Path(file)), file, wanted)
    else:
        cls = installed(kind, name).load()
    _check_class(kind, cls, name)
    return cls


def available(kind: Kind) -> dict[str, type[Any]]:
    """The class of every installed plug-in of a kind, shipped and third parties', sorted by name."""
    return {name: find(kind, name) for name in _known(kind)}


def usual_objective() -> str:
    """The objective that is meant where somebody asks for any, as the folder of the shipped ones names it."""
    name: str = importlib.import_module("alignbench.objectives").USUAL
    return name


def is_file(name: str) -> bool:
    """Whether a plug-in's name is that of a user's file."""
    return name.partition("::")[0].endswith(".py")


def installed(kind: Kind, name: str) -> _Installed:
    """Where a plug-in comes from and how it is imported, which is not done yet. Raises `InputError` if unknown."""
    known = _known(kind)
    if name not in known:
        file = f"; a file is given as ./{name}.py" if Path(f"{name}.py").is_file() else ""
        names = ", ".join(known) or "none"
        raise InputError(f"unknown {kind} {name!r}{did_you_mean(name, known)} (known: {names}{file}).")
    return known[name]


def _known(kind: Kind) -> dict[str, _Installed]:
    group = f"alignbench.{kind}s"
    known: dict[str, _Installed] = {}
    with blamed(f"{group} cannot be imported; is alignbench installed, as by `pip install -e .`?"):
        folders = importlib.import_module(group).__path__
    for item in pkgutil.iter_modules(folders):
        if not item.ispkg and not item.name.startswith("_"):
            module = f"{group}.{item.name}"
            known[item.name] = _Installed(f"the shipped {module}", partial(_shipped, kind, module))
    for point in importlib.metadata.entry_points(group=group):
        origin = f"{point.value} of {point.dist.name if point.dist else 'an unnamed distribution'}"
        if point.name in known:
            both = f"{known[point.name].origin} and {origin}"
            raise InputError(f"two {kind}s are called {point.name!r}, {both}: uninstall or rename one.")
        known[point.name] = _Installed(origin, partial(_third_party, kind, point, origin))
    return dict(sorted(known.items()))


def _shipped(kind: Kind, module: str) -> type[Any]:
    with blamed(f"{module} cannot be imported"):
        imported = importlib.import_module(module)
    return _only_class(kind, imported, module, "")


def _third_party(kind: Kind, point: importlib.metadata.EntryPoint, origin: str) -> type[Any]:
    with blamed(f"{origin} cannot be imported"):
        cls: Any = point.load()
    if not (isinstance(cls, type) and issubclass(cls, BASES[kind])):
        raise InputError(f"{origin} is no subclass of alignbench.{BASES[kind].__name__}: mend its entry point.")
    return cls


def _only_class(kind: Kind, module: ModuleType, where: str, wanted: str) -> type[Any]:
    """The class `wanted` of a file, or the one concrete class it defines, or its one abstract class to complain of."""
    classes = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    defined = {c.__name__: c for c in classes if issubclass(c, BASES[kind])}
    if wanted:
        if wanted not in defined:
            raise InputError(f"{where} defines no {kind} {wanted!r}{did_you_mean(wanted, defined)}.")
        return defined[wanted]
    if not defined:
        raise InputError(f"{where} defines no {kind}: write a subclass of alignbench.{BASES[kind].__name__} in it.")
    public = {name: c for name, c in defined.items() if not name.startswith("_")} or defined
    concrete = {name: c for name, c in public.items() if not inspect.isabstract(c)} or public
    if len(concrete) > 1:
        names = ", ".join(concrete)
        raise InputError(f"{where} defines several {kind}s ({names}): name one, as in {where}::{next(iter(concrete))}.")
    return next(iter(concrete.values()))


def _check_class(kind: Kind, cls: type[Any], name: str) -> None:
    where = f"{name}: class {cls.__name__}"
    if missing := sorted(cls.__abstractmethods__):
        raise InputError(f"{where} does not define {', '.join(missing)}.")
    statement = getattr(cls, _STATEMENT[kind], None)
    if not isinstance(statement, str) or not statement.strip():
        raise InputError(f"{where} must have a class attribute `{_STATEMENT[kind]}`, a text.")
    if kind == "judge":
        return
    made = cls.__dict__.get("__dataclass_params__")  # its own, not what it inherits
    if made is None or not made.frozen:
        raise InputError(f"{where} must be decorated with @dataclass(frozen=True).")
    with blamed(f"{where}: the type of a field cannot be read"):
        hints(cls)
    if kind == "objective":
        _check_objective(cls, where)


def _check_objective(cls: type[Any], where: str) -> None:
    needs = getattr(cls, "needs", None)
    if not isinstance(needs, set | frozenset) or not needs <= NEEDS:
        raise InputError(f"{where}: needs={needs!r} must be a frozenset of some of {', '.join(sorted(NEEDS))}.")
    if cls.trains not in ("policy", "reward"):
        raise InputError(f"{where}: trains={cls.trains!r} must be 'policy' or 'reward'.")
    for f in fields(cls):
        if f.name in TRAINING_FIELDS:
            raise InputError(f"{where}: the field {f.name} has the name of a training field: rename it.")
