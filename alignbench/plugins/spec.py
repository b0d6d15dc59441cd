"""From specs to plug-ins: `name[:field=value...]`, sweeps, and what each plug-in has to offer."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ..benchmark import Benchmark
from ..errors import InputError
from ..objective import Training, check_fields
from ..results import digest
from .code import blamed, source
from .find import BASES, Kind, available, find, installed, is_file
from .settings import TRAINING_FIELDS, convert, default, did_you_mean, hints, settable, show, shown_fields, sweeps

Created = Literal["objective", "benchmark"]  # the kinds that have fields
Defaults = Callable[[type[Any]], Mapping[str, object]]


@dataclass(frozen=True)
class Spec:
    """A plug-in with its settings.

    `text` is canonical and what tables show: the name, each hyper-parameter that is not at its default, in the order
    of declaration, then each training field that was given. A user's file goes by its file name (`my_loss.py`), so
    that it is never taken for a shipped plug-in. `params` are all hyper-parameters, `overrides` the training fields
    that were given. `source` is a hash of the plug-in's code; an edited loss changes it.

    Another process gets the same Spec from `text` and `path` alone: `recreate(spec.text, spec.path)`. Pickling does
    this, and refuses code that is no longer that of `source`. A plug-in from a file cannot be unpickled by itself
    where the file was not imported: send its Spec.
    """

    text: str
    name: str
    plugin: Any  # an Objective or a Benchmark
    params: dict[str, Any] = field(hash=False)
    overrides: dict[str, Any] = field(hash=False)
    source: str
    path: Path | None = None  # absolute; None unless it is a user's file

    def __reduce__(self) -> tuple[Any, ...]:
        kind = "benchmark" if isinstance(self.plugin, Benchmark) else "objective"
        return _unpickled, (self.text, self.path, kind, self.source)


@dataclass(frozen=True)
class Description:
    """A row of `alignbench list`: `summary` is the first docstring line, `fields` are such as "beta=0.1 (above 0)"."""

    name: str
    summary: str
    fields: tuple[str, ...]
    paper: str
    needs: tuple[str, ...]


def parse_objectives(text: str, defaults: Defaults | None = None) -> list[Spec]:
    """The objectives of a comma list; `field=a/b/c` sweeps numbers and booleans, several fields as their product.

    `defaults` gives values of fields that the text leaves out, for a class: those of a benchmark.

    Raises:
        InputError: a plug-in, field or value that is not there or not right, or the same objective twice.
    """
    specs: list[Spec] = []
    for spec in itertools.chain.from_iterable(
        _specs(item, "objective", None, defaults) for item in _items(text, "objective")
    ):
        for other in specs:
            if (spec.plugin, spec.overrides) == (other.plugin, other.overrides):
                raise InputError(f"the objective {spec.text!r} is given twice: give it once.")
            if spec.text == other.text:
                raise InputError(f"{other.path} and {spec.path} would both be shown as {spec.text!r}: rename one.")
        specs.append(spec)
    return specs


def create_benchmark(text: str) -> Spec:
    """The benchmark of a spec. Raises `InputError` as `parse_objectives` does, and where values are swept."""
    return recreate(text, kind="benchmark")


def parse_judges(text: str) -> list[tuple[str, str]]:
    """`(name, argument)` of each judge in a comma list: everything after the first `:` is the argument, else "".

    Raises:
        InputError: an unknown judge, or the same one with the same argument twice.
    """
    judges: list[tuple[str, str]] = []
    for item in _items(text, "judge"):
        name, _, argument = item.partition(":")
        if is_file(name):
            find("judge", name)
        else:
            installed("judge", name)
        if (name, argument) in judges:
            raise InputError(f"the judge {item!r} is given twice: give it once.")
        judges.append((name, argument))
    return judges


def create(spec_text: str, kind: Created = "objective") -> Any:
    """The plug-in of a spec: `create("dpo:beta=0.5")`.

    Raises:
        InputError: as `parse_objectives`, and for training fields and sweeps, which only a run can honour.
    """
    spec = recreate(spec_text, kind=kind)
    for name in spec.overrides:
        raise InputError(f"{spec_text!r}: {name} is a training field, not one of the plug-in's: leave it to a run.")
    return spec.plugin


def recreate(text: str, path: Path | None = None, kind: Created = "objective") -> Spec:
    """The one Spec of `text`; `path` says where the user's file is, whatever folder `text` gives it."""
    specs = _specs(text.strip(), kind, path)
    if len(specs) > 1:
        raise InputError(f"{text!r} makes {len(specs)} {kind}s where one is wanted: give each field one value.")
    return specs[0]


def describe(kind: Kind) -> list[Description]:
    """What `alignbench list` shows of every installed plug-in. Raises `InputError` where one is broken."""
    rows = []
    for name, cls in available(kind).items():
        doc = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        if doc.startswith(f"{cls.__name__}("):  # the signature, which a dataclass without a docstring is given
            doc = ""
        summary, shown = (cls.summary, ()) if kind == "judge" else (doc, shown_fields(cls))
        paper, needs = getattr(cls, "paper", ""), tuple(sorted(getattr(cls, "needs", ())))
        rows.append(Description(name, summary, shown, paper, needs))
    return rows


def _items(text: str, kind: Kind) -> list[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise InputError(f"{text!r} holds an empty {kind}: write names with one comma between them.")
    return items


def _specs(text: str, kind: Created, path: Path | None = None, defaults: Defaults | None = None) -> list[Spec]:
    match = re.match(r"[^:]*\.py::[^:]*|[^:]*", text)  # `::` belongs to a name, file.py::ClassName
    assert match is not None  # it matches even nothing
    name, parts = match.group().strip(), text[match.end() :].split(":")[1:]
    cls = find(kind, name, path)
    if is_file(name):
        path = Path(str(sys.modules[cls.__module__].__file__))
        name = path.name + "".join(name.partition("::")[1:])  # a table is no place for folders
    given = _given(cls, kind, name, parts)
    left_out = defaults(cls) if defaults else {}
    given |= {key: [value] for key, value in left_out.items() if key not in given and key in settable(cls)}
    return [
        _build(cls, kind, name, dict(zip(given, values, strict=True)), path if is_file(name) else None)
        for values in itertools.product(*given.values())
    ]


def _given(cls: type[Any], kind: Created, name: str, parts: list[str]) -> dict[str, list[Any]]:
    """The values of each field that is given, several where it is swept."""
    declared = hints(cls)
    allowed = {key: declared[key] for key in settable(cls)} | (hints(Training) if kind == "objective" else {})
    options = {f.name: f.metadata["option"] for f in fields(cls) if "option" in f.metadata}
    offer = ", ".join(shown_fields(cls)) or "none of its own"
    if kind == "objective":
        offer += f"; for training, with the benchmark's defaults: {', '.join(TRAINING_FIELDS)}"
    given: dict[str, list[Any]] = {}
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"{name}: {part!r} must be written as field=value (fields: {offer}).")
        if key in options:
            raise InputError(f"{name}: {key} follows {options[key]}: give that, and leave {key} out.")
        if key not in allowed:
            raise InputError(f"{name} has no field {key!r}{did_you_mean(key, allowed)} (fields: {offer}).")
        if key in given:
            raise InputError(f"{name}: {key} is given twice; to sweep numbers or booleans write {key}=a/b.")
        values = value.split("/") if sweeps(allowed[key]) else [value]
        given[key] = [convert(item.strip(), allowed[key], f"{name}: {key}") for item in values]
    return given


def _build(cls: type[Any], kind: Created, name: str, given: dict[str, Any], path: Path | None) -> Spec:
    overrides = {key: given[key] for key in TRAINING_FIELDS if key in given and kind == "objective"}
    own = {key: value for key, value in given.items() if key not in overrides}
    for key, f in settable(cls).items():
        if key not in own and default(f) is MISSING:
            raise InputError(f"{name} needs a value for {key}: write {name}:{key}=VALUE.")
    with blamed(f"{name} cannot be made of {given}"):
        Training(**overrides)  # for its checks
        plugin = cls(**own)
        check_fields(plugin, name)  # a plug-in may have replaced `__post_init__`
    params = {f.name: getattr(plugin, f.name) for f in fields(cls)}
    changed = {key: params[key] for key, f in settable(cls).items() if params[key] != default(f)}
    text = ":".join([name, *(f"{key}={show(value)}" for key, value in {**changed, **overrides}.items())])
    return Spec(text, name, plugin, params, overrides, _code(plugin, kind), path)


def _code(plugin: Any, kind: Created) -> str:
    """A hash of the code of a plug-in and of those that run in it."""
    own = source(type(plugin), BASES[kind].__module__)
    others = plugin.uses() if kind == "objective" else ()
    return digest(own, [(_code(other, kind), other) for other in others]) if others else own


def _unpickled(text: str, path: Path | None, kind: Created, was: str) -> Spec:
    spec = recreate(text, path, kind)
    if spec.source != was:
        raise InputError(f"the code of {spec.name} was edited while it was in use: run the same command again.")
    return spec
