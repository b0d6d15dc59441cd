"""The code of plug-ins: import it, blame it in one sentence when it fails, tell when it has changed."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ..errors import InputError
from ..results import digest


@contextmanager
def blamed(what: str, file: str = "") -> Iterator[None]:
    """Whatever a plug-in's code raises, as an `InputError`: `what` went wrong, in which line of `file`, and why."""
    try:
        yield
    except InputError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise InputError(f"{error.filename or what}{line}: syntax error, {error.msg}.") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        at = f" (line {lines[-1]})" if lines else ""
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{what}{at}: {type(error).__name__}: {reason}.") from error


class _Held(importlib.machinery.SourceFileLoader):
    """Runs the very bytes that were read: Python's bytecode cache misses an edit of equal length within a second."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self._data = data

    def get_data(self, path: str) -> bytes:
        return self._data

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._data, self.path)
        return code


def import_file(path: Path) -> ModuleType:
    """A user's file as a module. Its name is made of path and content: an edited file is another module.

    Raises:
        InputError: the file cannot be read, or its code raises.
    """
    try:
        path = path.expanduser().absolute()
        data = path.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of nobody
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise InputError(f"the plug-in file {path} cannot be read ({reason}): check the path.") from None
    stem = re.sub(r"\W", "_", path.stem)
    name = f"alignbench_file_{stem}_{digest(path, data.hex())}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _Held(name, str(path), data))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses, type hints and pickle look for it
    try:
        with blamed(f"{path} cannot be imported", str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def source(cls: type[Any], contract: str) -> str:
    """A hash of the files that a class and its bases are written in, down to the module named `contract`.

    Files that these import from their own package (`from ._shared import scale`) are part of it. Where the files lie
    is not, so that a result computed elsewhere keeps its key.
    """
    written = dict.fromkeys(c.__module__ for c in cls.__mro__)
    todo = [m for m in written if m != contract and m.partition(".")[0] not in sys.stdlib_module_names]
    contents: dict[str, str] = {}
    for name in todo:  # grows while it is read
        spec = None if name in contents else importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        loader: Any = spec.loader
        data: bytes = loader.get_data(spec.origin)
        contents[name] = data.hex()
        todo += [target for target in _siblings(data, spec.parent or "") if target not in todo]
    return digest(*contents.values())


def _siblings(data: bytes, package: str) -> Iterator[str]:
    """The modules of `package` that a file imports relatively; names that are no module among them."""
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            base = f"{package}.{node.module}" if node.module else package
            if node.module:
                yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if not node.module)
