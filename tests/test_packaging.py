"""The wheel, built from a copy of the tree and used from a fresh environment and another folder."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = ("alignbench", "objectives", "benchmarks")


def start(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without a PYTHONPATH, which would let the repository's own modules in."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def output(*command: str | Path, cwd: Path) -> str:
    """What a program prints; the test fails with its messages if it fails."""
    done = start(*command, cwd=cwd)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """A fresh environment in which the wheel is installed, and an empty folder to use it from."""

    tree: Path
    wheel: Path
    programs: Path
    elsewhere: Path

    def python(self, code: str) -> str:
        return output(self.programs / "python", "-W", "error", "-c", code, cwd=self.elsewhere)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("packaging")
    # A copy, because a build leaves build/ and *.egg-info behind, and a stale build/ would hide a missing file.
    tree, fresh, elsewhere = base / "tree", base / "fresh", base / "elsewhere"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    elsewhere.mkdir()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    output(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", base, tree, cwd=base)
    (wheel,) = base.glob("alignbench-*.whl")

    venv.create(fresh, symlinks=True)
    output(*pip, "--python", fresh / "bin" / "python", "install", "--no-deps", wheel, cwd=base)
    # The dependencies are lent by this environment. A folder named in a .pth file is searched, but its own
    # .pth files are not run: an editable install of alignbench in it therefore stays out of sight.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(fresh)}))
    lenders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("".join(f"{path}\n" for path in sorted(lenders)), encoding="utf-8")
    return Installed(tree, wheel, fresh / "bin", elsewhere)


def test_the_package_is_the_installed_one(installed: Installed) -> None:
    code = "import alignbench as a, alignbench.objectives as o, alignbench.benchmarks as b"
    printed = installed.python(f"{code}\nprint(a.__file__, o.__file__, b.__file__, sep='\\n')")
    paths = [Path(line) for line in printed.splitlines()]
    assert [path.parent.name for path in paths] == ["alignbench", "objectives", "benchmarks"]
    assert all(installed.programs.parent in path.parents for path in paths), printed


@pytest.mark.parametrize("name", ["objectives", "benchmarks", "tests", "results"])
def test_nothing_generic_is_importable(installed: Installed, name: str) -> None:
    installed.python(
        f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    assert error.name == {name!r}, error\n"
        f"else:\n    raise SystemExit({name!r} + ' was imported')"
    )


@pytest.mark.parametrize("name", ["objectives", "benchmarks"])
def test_in_the_repository_a_plug_in_folder_refuses_its_short_name(name: str) -> None:
    done = start(sys.executable, "-c", f"import {name}", cwd=ROOT)
    assert done.returncode == 1
    assert f"ImportError: this folder is the package `alignbench.{name}`" in done.stderr


def test_the_wheel_holds_every_file_of_the_package(installed: Installed) -> None:
    """Modules, templates and other data alike: what is not listed in pyproject.toml would be left out silently."""
    expected = {}
    for folder in FOLDERS:
        for path in (installed.tree / folder).rglob("*"):
            if path.is_file():
                name = path.relative_to(installed.tree).as_posix()
                expected[name if folder == "alignbench" else f"alignbench/{name}"] = path.read_bytes()
    with zipfile.ZipFile(installed.wheel) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    missing, surplus = sorted(expected.keys() - held.keys()), sorted(held.keys() - expected.keys())
    assert not missing, f"not listed under packages or package-data in pyproject.toml: {missing}"
    assert not surplus
    assert held == expected


def test_package_data_can_be_read(installed: Installed) -> None:
    places: dict[str, str] = SETUPTOOLS["package-dir"]
    files = {}
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = installed.tree / places.get(package, package.replace(".", "/"))
        for path in (path for pattern in patterns for path in folder.glob(pattern)):
            files[package, path.relative_to(folder).as_posix()] = path
    assert files, "no file matches package-data"
    # All in one process, each as it stands in a list of literals.
    code = "import importlib.resources as r\nprint(ascii([r.files(p).joinpath(n).read_text('utf-8') for p, n in {!r}]))"
    found = ast.literal_eval(installed.python(code.format(list(files))))
    for (package, name), path, text in zip(files, files.values(), found, strict=True):
        assert text == path.read_text(encoding="utf-8"), f"{package}: {name}"


def test_the_command_lists_the_objectives(installed: Installed) -> None:
    printed = output(installed.programs / "alignbench", "list", "objectives", cwd=installed.elsewhere)
    for path in (ROOT / "objectives").glob("[!_]*.py"):
        assert path.stem in printed
