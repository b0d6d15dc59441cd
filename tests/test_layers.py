"""The house of DESIGN.md section 3, read from the imports: a module imports only from floors below its own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ("objectives", "benchmarks")
MAX_LINES = 300

# A name is a module or a folder of alignbench; what is in a folder stands on the folder's floor.
FLOORS = (
    {"errors", "completions", "batch", "exact", "records", "stats", "agreement", "results", "formats", "encoding"}
    | {
        "pretrained",
        "hub",
        "visible",
        "reading",
        "attention",
        "fused",
        "decoding",
        "recompute",
        "allocator",
        "questions",
    },
    {"objective", "judge", "models", "data", "tokens", "reference", "spent", "answers", "matches"},
    {"benchmark", "families", "mismatched"},
    {"logprobs", "sampling", "plugins", "doctor"},
    {"engine", "judges", "adapters"},
    {"train", "evaluate"},
    {"run", "report", "speed", "check", "makers"},
    {"agree"},
    {"cli"},
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
# The words that the whole of floor 0 is written in, and the way to the hub.
SHARED = {"errors", "records", "completions", "hub", "visible"}
# `alignbench/__init__` offers floors 0 and 1 to plug-ins, and this module's `create` on first use.
LAZY = "plugins"


class Import(NamedTuple):
    """One imported name: its full dotted path, the line, and how it is imported."""

    target: str
    line: int
    eager: bool  # importing the file runs it: it is in no function, nor for type checkers only
    relative: bool


def imports(path: Path, package: str) -> Iterator[Import]:
    """Every import in a file, relative ones made absolute; `package` is the one that the file is in.

    `from p import a` gives `p.a`: whether `a` is a module or a name in `p` is for the reader to find out.
    """

    def visit(node: ast.AST, eager: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, eager, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            relative = node.level > 0
            yield from (Import(f"{base}.{alias.name}", node.lineno, eager, relative) for alias in node.names)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, eager and not function and not typing_only)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


def sources(root: Path, folder: str) -> Iterator[tuple[Path, str]]:
    """The Python files under a folder of the repository, each with the package it is in."""
    for path in sorted((root / folder).rglob("*.py")):
        yield path, ".".join(path.relative_to(root).parent.parts)


def is_core_module(root: Path, name: str) -> bool:
    return (root / "alignbench" / name).is_dir() or (root / "alignbench" / f"{name}.py").is_file()


def core_target(root: Path, target: str) -> str | None:
    """The module or folder of alignbench that an import reaches, `""` for the package itself, None outside it."""
    top, _, rest = target.partition(".")
    if top != "alignbench":
        return None
    name = rest.partition(".")[0]
    return name if name in FLOOR or name in PLUGINS or is_core_module(root, name) else ""


def core_faults(root: Path) -> Iterator[str]:
    """Modules that stand on no floor, and imports that do not go down."""
    for path, package in sources(root, "alignbench"):
        inside = path.relative_to(root / "alignbench")
        here = inside.parts[0].removesuffix(".py")
        if here != "__init__" and here not in FLOOR:
            yield f"{inside}: on no floor of DESIGN.md section 3"
            continue
        for target, line, eager, _ in imports(path, package):
            there = core_target(root, target)
            if there is not None and not allowed(here, there, eager):
                yield f"{inside}:{line}: {here} may not import {target}"


def allowed(here: str, there: str, eager: bool) -> bool:
    """Whether a module or folder of the core may import another."""
    if here == "__init__":
        return FLOOR.get(there, 99) <= 2 or (there == LAZY and not eager)
    if there == "":
        # The package itself, which stands on floors 0 and 1: open to those above, such as the shipped judges.
        return FLOOR[here] > 2
    if there == here:
        return True  # siblings in one folder
    return FLOOR.get(there, 99) < FLOOR[here] or (FLOOR[here] == 0 and there in SHARED)


def plugin_faults(root: Path, folder: str) -> Iterator[str]:
    """Imports of a plug-in other than `alignbench`, torch, the standard library and its siblings; a benchmark may have
    scikit-learn make its gold reward."""
    modules = {"data", "models", "hub", "pretrained", "reading"} if folder == "benchmarks" else set()
    for path, package in sources(root, folder):
        for target, line, _, relative in imports(path, package):
            top = target.partition(".")[0]
            there = core_target(root, target)
            library = top in ("torch", "sklearn" if folder == "benchmarks" else "torch")
            known = top in sys.stdlib_module_names or library or there == "" or there in modules
            # A sibling by its absolute name would be found in the repository only; one from above is no sibling.
            if not (top == folder if relative else known):
                yield f"{path.relative_to(root)}:{line}: a file in {folder}/ may not import {target}"


def name_faults(root: Path) -> Iterator[str]:
    """String literals in the core that are the name of a shipped objective."""
    names = {path.stem for path in (root / "objectives").glob("*.py") if not path.stem.startswith("_")}
    for path, _ in sources(root, "alignbench"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in names:
                yield f"{path.relative_to(root)}:{node.lineno}: the core names the objective {node.value!r}"


def length_faults(root: Path) -> Iterator[str]:
    for folder in ("alignbench", *PLUGINS):
        for path, _ in sources(root, folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > MAX_LINES:
                yield f"{path.relative_to(root)}: {lines} lines, at most {MAX_LINES}"


def faults(root: Path) -> list[str]:
    found = [*core_faults(root), *name_faults(root), *length_faults(root)]
    return found + [fault for folder in PLUGINS for fault in plugin_faults(root, folder)]


def test_the_repository_keeps_its_floors() -> None:
    assert any(sources(ROOT, "alignbench")), "no source found: this test looks in the wrong place"
    assert not (found := faults(ROOT)), "\n".join(found)


# Each file is sound or has one fault: the rules are tried on trees made for it.
SOUND = {
    "alignbench/batch.py": "import torch\nfrom alignbench.errors import InputError\n",
    "alignbench/results.py": "from .records import Pair\n",
    "alignbench/objective.py": "from alignbench.batch import Pairs\nfrom alignbench import errors\n",
    "alignbench/__init__.py": "from .objective import Engine\ndef __getattr__(n):\n    from .plugins import create\n",
    "alignbench/judges/gold.py": "from alignbench import Judge\n",
    "alignbench/report/plots.py": "from . import tables\nfrom alignbench.report.page import page\n",
    "alignbench/cli.py": "from . import run\nfrom alignbench.report import write\n",
    "objectives/dpo.py": "import math\nfrom torch import Tensor\nfrom alignbench import Paired\nfrom . import _own\n",
    "benchmarks/reviews.py": "from alignbench.data import read\nfrom .grammar import words\n",
}
FAULTY = {
    "alignbench/novel.py": "",
    "alignbench/novel/deep.py": "",
    "alignbench/stats.py": "from alignbench.results import read\n",
    "alignbench/data.py": "from .models import load\n",
    "alignbench/errors.py": "from alignbench import Objective\n",
    "alignbench/engine.py": "def f():\n    import alignbench.judges.gold\n",
    "alignbench/train.py": "from . import evaluate\n",
    "alignbench/report/tables.py": "from ..run import run\n",
    "alignbench/plugins.py": "from alignbench.objectives.dpo import DPO\n",
    "alignbench/__init__.py": "from .plugins import create\n",
    "alignbench/run.py": "stage = 'dpo'\n",
    "alignbench/check.py": "\n" * 301,
    "objectives/dpo.py": "import numpy\n",
    "objectives/kto.py": "from alignbench.logprobs import score\n",
    "objectives/ppo.py": "from alignbench import data\n",
    "objectives/orpo.py": "from objectives.dpo import DPO\n",
    "objectives/sft.py": "from ..batch import Pairs\n",
    "benchmarks/files.py": "import transformers\n",
    "benchmarks/hh.py": "from alignbench import engine\n",
}


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def test_a_sound_tree_has_no_fault(tmp_path: Path) -> None:
    for path, text in SOUND.items():
        write(tmp_path, path, text)
    assert faults(tmp_path) == []


@pytest.mark.parametrize("path", FAULTY)
def test_a_fault_is_found(tmp_path: Path, path: str) -> None:
    for sound, text in SOUND.items():
        write(tmp_path, sound, text)
    write(tmp_path, path, FAULTY[path])
    found = faults(tmp_path)
    assert len(found) == 1
    assert path.removeprefix("alignbench/") in found[0]
