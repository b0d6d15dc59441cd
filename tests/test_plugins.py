"""Plug-ins by name, file and entry point; specs and their errors."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import alignbench
from alignbench import InputError
from alignbench.plugins import (
    Kind,
    available,
    create,
    create_benchmark,
    describe,
    find,
    parse_judges,
    parse_objectives,
    recreate,
)

ROOT = Path(__file__).resolve().parents[1]

# The fifteen lines of the README: everything that a new offline loss needs.
MY_LOSS = '''from dataclasses import dataclass
import torch
from torch import Tensor
from alignbench import Completions, Paired, Pairs
@dataclass(frozen=True)
class MyLoss(Paired):
    """A hinge on the implicit reward margin."""
    paper = "arXiv:2305.10425, eq. 5"
    margin: float = 1.0
    def loss(self, batch: Pairs) -> Tensor:  # [B]
        return torch.relu(self.margin - (batch.chosen.log_ratio - batch.rejected.log_ratio))
    @staticmethod
    def example() -> tuple[Pairs, Tensor]:  # at the reference the margin is 0 and the loss 1
        same = Completions.of(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1))
        return Pairs(same, same), torch.ones(1)
'''

BENCHMARK = '''from dataclasses import dataclass
from alignbench import Benchmark
@dataclass(frozen=True)
class Tiny(Benchmark):
    """A benchmark of two prompts."""
    question = "Which is shorter?"
    learning_rate: float = 0.5
    pairs: int = 2
    def stages(self): ...
    def demonstrations(self): ...
    def preferences(self, split, sample): ...
    def prompts(self, split): ...
    def training(self, objective): ...
    def fingerprint(self): ...
'''

JUDGE = """from alignbench import Judge
class Remote(Judge):
    summary = "asks another computer"
    def compare(self, question, items): ...
    @classmethod
    def open(cls, argument, context): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; modules that a test imports are forgotten."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "alignbench.objectives." in name or name.startswith("third"):
            del sys.modules[name]


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A folder that stands in for that of the shipped objectives."""
    house = folder / "house"
    house.mkdir()
    monkeypatch.setattr(importlib.import_module("alignbench.objectives"), "__path__", [str(house)])
    return house


@pytest.fixture
def distribution(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[..., None]:
    """Installs a distribution: its modules, and the folder of metadata in which pip records its entry points."""

    def install(entry_points: str, name: str = "third-losses", **modules: str) -> None:
        site = folder / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, code in modules.items():
            (site / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(site)

    return install


def refused(call: Callable[[], Any], *words: str) -> None:
    """The call raises one sentence that holds all the words."""
    with pytest.raises(InputError) as raised:
        call()
    message = str(raised.value)
    assert all(word in message for word in words), message
    assert message.endswith(".")
    assert "\n" not in message


def test_the_shipped_ones_are_the_files_of_the_folder() -> None:
    names = {path.stem for path in (ROOT / "objectives").glob("*.py") if not path.name.startswith("_")}
    assert names >= {"dpo", "kto", "ppo", "sft", "reward_model", "preferred_ft"}
    assert list(available("objective")) == sorted(names)
    assert alignbench.create("dpo:beta=0.5").beta == 0.5
    swept = [spec.text for spec in parse_objectives("dpo:beta=0.05/0.1/0.5,kto")]
    assert swept == ["dpo:beta=0.05", "dpo", "dpo:beta=0.5", "kto"]


def test_a_new_file_in_the_folder_is_a_plugin(shipped: Path) -> None:
    (shipped / "fancy.py").write_text(MY_LOSS)
    (shipped / "_helper.py").write_text("raise RuntimeError('a helper is no plug-in')")
    (shipped / "broken.py").write_text("import no_such_module_anywhere")
    assert create("fancy:margin=2").margin == 2.0  # the broken one is no hindrance
    refused(lambda: create("broken"), "alignbench.objectives.broken", "no_such_module_anywhere")
    refused(lambda: available("objective"), "alignbench.objectives.broken")
    (shipped / "broken.py").unlink()
    assert list(available("objective")) == ["fancy"]
    (shipped / "plain.py").write_text(MY_LOSS.replace('"""A hinge on the implicit reward margin."""', ""))
    importlib.invalidate_caches()  # the folder may have been listed within the same tick of the clock
    row, plain = describe("objective")
    assert plain.summary == ""  # and not the signature that dataclasses put in its place
    assert (row.name, row.summary) == ("fancy", "A hinge on the implicit reward margin.")
    assert (row.fields, row.paper, row.needs) == (("margin=1",), "arXiv:2305.10425, eq. 5", ("pairs", "reference"))


def test_a_file_of_fifteen_lines(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(MY_LOSS.splitlines()) == 15
    (folder / "my_loss.py").write_text(MY_LOSS)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for spelling in ("./my_loss.py", "my_loss.py", "~/my_loss.py", str(folder / "my_loss.py")):
        (spec,) = parse_objectives(f"{spelling}:margin=0.25:learning_rate=1e-5")
        assert (spec.name, spec.text) == ("my_loss.py", "my_loss.py:margin=0.25:learning_rate=1e-5")
        assert (spec.params, spec.overrides) == ({"margin": 0.25}, {"learning_rate": 1e-5})
        assert spec.path == folder / "my_loss.py"
    batch, expected = create("./my_loss.py").example()
    assert torch.equal(create("./my_loss.py").loss(batch), expected)
    assert [path.name for path in folder.iterdir()] == ["my_loss.py"]  # no bytecode is left beside it


@pytest.mark.parametrize("value", ["2.0", "3.0"])  # of equal length, so that size and time do not tell them apart
def test_an_edited_file_has_another_source_and_runs_anew(folder: Path, value: str) -> None:
    file = folder / "my_loss.py"
    file.write_text(MY_LOSS)
    before = recreate("./my_loss.py")
    stamp = file.stat()
    file.write_text(MY_LOSS.replace("= 1.0", f"= {value}"))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = recreate("./my_loss.py")
    assert after.source != before.source
    assert after.plugin.margin == float(value)
    file.write_text(MY_LOSS)
    assert recreate("./my_loss.py") == before
    assert hash(recreate("./my_loss.py")) == hash(before)


def test_the_source_holds_what_a_plugin_shares_with_its_package_and_not_where_it_lies(
    shipped: Path, folder: Path
) -> None:
    def source(helper: str, more: str = "") -> str:
        (shipped / "_scale.py").write_text(helper)
        importlib.invalidate_caches()
        return recreate("fancy" + more).source

    (shipped / "fancy.py").write_text(MY_LOSS.replace("import torch\n", "import torch\nfrom ._scale import SCALE\n"))
    (shipped / "_deep.py").write_text("DEEP = 1\n")
    first = source("from . import _deep\nSCALE = 1\n")
    assert first == source("from . import _deep\nSCALE = 1\n", ":margin=2")
    (shipped / "_deep.py").write_text("DEEP = 2\n")
    deep = source("from . import _deep\nSCALE = 1\n")
    assert len({first, deep, source("SCALE = 1\n"), source("SCALE = 2\n")}) == 4
    for place in ("here", "there"):
        (folder / place).mkdir()
        (folder / place / "my_loss.py").write_text(MY_LOSS)
    assert recreate("here/my_loss.py").source == recreate("there/my_loss.py").source


def test_a_third_party_distribution(distribution: Callable[..., None]) -> None:
    distribution(
        "[alignbench.objectives]\nflat = third_a:MyLoss\n"
        "[alignbench.benchmarks]\ntiny = third_b:Tiny\n[alignbench.judges]\nremote = third_c:Remote\n",
        third_a=MY_LOSS, third_b=BENCHMARK, third_c=JUDGE,
    )  # fmt: skip
    (spec,) = parse_objectives("flat:margin=2")
    assert (spec.text, spec.params, spec.path) == ("flat:margin=2", {"margin": 2.0}, None)
    assert available("objective")["flat"] is type(spec.plugin)
    assert {row.name: row.summary for row in describe("objective")}["flat"].startswith("A hinge")
    tiny = create_benchmark("tiny:pairs=5:learning_rate=2")  # a benchmark has no training fields
    assert (tiny.text, tiny.params["learning_rate"], tiny.overrides) == ("tiny:learning_rate=2:pairs=5", 2.0, {})
    assert create("tiny:eval_prompts=7", "benchmark").eval_prompts == 7
    refused(lambda: create_benchmark("tiny:pairs=1/2"), "2 benchmarks", "one")
    judges = parse_judges("remote, remote:PATH,remote:ft:gpt-4o:x")
    assert judges == [("remote", ""), ("remote", "PATH"), ("remote", "ft:gpt-4o:x")]
    assert find("judge", "remote").summary == "asks another computer"
    refused(lambda: parse_judges("remoet:x"), "unknown judge 'remoet'", "did you mean 'remote'?")
    refused(lambda: parse_judges("remote:x,remote:x"), "twice")
    refused(lambda: create_benchmark("tinny"), "unknown benchmark 'tinny'", "did you mean 'tiny'?")


def test_two_plugins_of_one_name_are_both_named(distribution: Callable[..., None], shipped: Path) -> None:
    (shipped / "fancy.py").write_text(MY_LOSS)
    distribution("[alignbench.objectives]\nfancy = third_a:MyLoss\n", third_a=MY_LOSS)
    refused(lambda: create("fancy"), "alignbench.objectives.fancy", "third_a:MyLoss of third-losses")


@pytest.mark.parametrize(
    ("value", "code", "word"),
    [("third_a:MyLoss", "import no_such_module_anywhere", "no_such_module_anywhere"), ("third_a:No", MY_LOSS, "No"),
     ("third_a:torch", MY_LOSS, "no subclass of alignbench.Objective")],
)  # fmt: skip
def test_a_broken_distribution_is_named(distribution: Callable[..., None], value: str, code: str, word: str) -> None:
    distribution(f"[alignbench.objectives]\nflat = {value}\n", third_a=code)
    refused(lambda: create("flat"), f"{value} of third-losses", word)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("return torch.relu(", "return torch.relu(("), ["line 11: syntax error"]),
        (("margin: float = 1.0", "margin: float = 1 / 0"), ["(line 9)", "ZeroDivisionError: division by zero"]),
        (("import torch\n", "import sys\nsys.exit('bye')\n"), ["(line 3)", "SystemExit: bye"]),
        (("(Paired)", ""), ["defines no objective", "alignbench.Objective"]),
        (("@dataclass(frozen=True)", ""), ["my_loss.py: class MyLoss", "@dataclass(frozen=True)"]),
        (("(frozen=True)\n", "\n"), ["@dataclass(frozen=True)"]),
        (('    paper = "arXiv:2305.10425, eq. 5"\n', ""), ["`paper`"]),
        (("    margin: float", "    needs = frozenset({'pair'})\n    margin: float"), ["'pair'", "pairs, rankings,"]),
        (("    margin: float", "    needs = 'pairs'\n    margin: float"), ["needs='pairs'", "frozenset"]),
        (("    margin: float", "    trains = 'both'\n    margin: float"), ["trains='both'"]),
        (("def loss", "def los"), ["class MyLoss does not define loss"]),
        (("margin: float", "batch_size: float"), ["batch_size", "training field"]),
        (("margin: float = 1.0", "margin: float"), ["needs a value for margin", "my_loss.py:margin=VALUE"]),
        (("margin: float", "margin: 'Flaot'"), ["the type of a field", "Flaot"]),
        (("    def loss", "    def __post_init__(self) -> None:\n        raise ValueError('no\\nsuch')\n    def loss"),
         ["my_loss.py cannot be made", "ValueError: no such"]),
        (("margin: float = 1.0", "margin: Positive = 1.0\n    def __post_init__(self) -> None: ..."), ["Positive"]),
    ],
)  # fmt: skip
def test_a_file_that_breaks_the_contract_is_refused(folder: Path, edit: tuple[str, str], words: list[str]) -> None:
    assert edit[0] in MY_LOSS
    (folder / "my_loss.py").write_text(MY_LOSS.replace(*edit))
    for _ in range(2):  # a module that failed half-way is not there the next time
        refused(lambda: create("./my_loss.py"), "my_loss.py", *words)


def test_a_file_that_is_not_there(folder: Path) -> None:
    (folder / "folder.py").mkdir()
    refused(lambda: create("./no.py"), str(folder / "no.py"), "No such file")
    refused(lambda: create("./folder.py"), "folder.py", "directory")
    refused(lambda: create("~no-such-user-here/x.py"), "home")


def test_a_spec_crosses_to_another_process(folder: Path) -> None:
    (place := folder / "a,b:c").mkdir()  # a folder that no spec could name: the path goes beside the text
    (place / "my_loss.py").write_text(MY_LOSS)
    spec = recreate("my_loss.py:margin=0.5:steps=3", place / "my_loss.py")
    assert recreate(spec.text, spec.path) == spec
    (folder / "spec.pickle").write_bytes(pickle.dumps(spec))
    code = """if True:
        import pathlib, pickle
        spec = pickle.loads(pathlib.Path("spec.pickle").read_bytes())
        batch, expected = spec.plugin.example()
        print(spec.text, spec.params, spec.overrides, spec.source, spec.path, spec.plugin.loss(batch).tolist())
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split("\n")[0] == f"{spec.text} {spec.params} {spec.overrides} {spec.source} {spec.path} [0.5]"
    (place / "my_loss.py").write_text(MY_LOSS.replace("relu", "sigmoid"))
    refused(lambda: copy.copy(spec), "my_loss.py was edited")  # copying goes the way of pickling


@pytest.mark.parametrize("kind", ["objective", "benchmark", "judge"])
def test_every_shipped_plugin_is_described(kind: Kind) -> None:
    for row in describe(kind):
        assert row.summary, f"{row.name} has no docstring"
        assert row.name in available(kind)
        assert row.paper or kind != "objective"
