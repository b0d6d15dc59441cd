"""The language of specs: types, sweeps, canonical text, errors of one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench.plugins import TRAINING_FIELDS, create, parse_objectives, recreate
from tests.test_plugins import MY_LOSS, refused

# One field of each type that a spec can hold, and some that it cannot.
EVERY = MY_LOSS.replace("from dataclasses import dataclass", "from dataclasses import dataclass, field").replace(
    "    margin: float = 1.0\n",
    """    margin: float = 1.0
    rounds: Count = 3
    share: Fraction = 0.5
    centred: bool = False
    norm: Literal["sum", "mean"] = "sum"
    order: Literal[1, 2] = 1
    note: str = "none"
    pair: tuple[int, ...] = field(default_factory=tuple)
""",
)
EVERY = EVERY.replace("import Completions", "import Completions, Count, Fraction").replace(
    "import torch\n", "from typing import Literal\nimport torch\n", 1
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which holds two objectives."""
    (tmp_path / "my_loss.py").write_text(MY_LOSS)
    (tmp_path / "every.py").write_text(EVERY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(spec: str) -> list[str]:
    return [parsed.text for parsed in parse_objectives(spec)]


def test_values_take_the_declared_type() -> None:
    written = "rounds=4:share=1:centred=true:norm=mean:order=2:note=a/b c"
    (spec,) = parse_objectives(f"./every.py: note=a/b c :{written.removesuffix(':note=a/b c')}")
    plugin = spec.plugin
    values = (plugin.rounds, plugin.share, plugin.centred, plugin.norm, plugin.order, plugin.note)
    assert values == (4, 1.0, True, "mean", 2, "a/b c")
    assert [type(value) for value in values] == [int, float, bool, str, int, str]
    assert spec.text == f"every.py:{written}"  # in the order of declaration
    shown = ("margin=1", "rounds=3 (at least 1)", "share=0.5 (at least 0 and at most 1)", "norm=sum (sum or mean)")
    for words in shown:
        refused(lambda: create("./every.py:nothing=1"), words)


@pytest.mark.parametrize(
    ("given", "shown"),
    [("1e-5", "1e-5"), ("0.00001", "1e-5"), ("1e+20", "1e20"), ("0.1234567890123", "0.1234567890123"), ("3", "3"),
     ("-2.50", "-2.5"), ("1.0000000000000002e-07", "1.0000000000000002e-7"), ("123456789", "123456789.0")],
)  # fmt: skip
def test_a_number_is_shown_short_and_read_back_the_same(given: str, shown: str) -> None:
    spec = recreate(f"./my_loss.py:margin={given}")
    assert spec.text == f"my_loss.py:margin={shown}"
    assert recreate(spec.text).plugin.margin == float(given)


def test_sweeps_are_products_in_the_order_written() -> None:
    found = texts("every.py:rounds=1/2:centred=true/false:margin=2,every.py:order=1/2")
    expected = ["margin=2:rounds=1:centred=true", "margin=2:rounds=1", "margin=2:rounds=2:centred=true",
                "margin=2:rounds=2", "", "order=2"]  # fmt: skip
    assert found == [f"every.py:{settings}".removesuffix(":") for settings in expected]
    assert texts("every.py:learning_rate=1e-4/1e-5")[1] == "every.py:learning_rate=1e-5"
    assert texts("every.py:note=a/b") == ["every.py:note=a/b"]  # text is not swept: it may be a path


def test_the_same_objective_twice_is_refused(folder: Path) -> None:
    for text in ("my_loss.py,./my_loss.py:margin=1.0", "my_loss.py:margin=2/2", "my_loss.py,my_loss.py::MyLoss"):
        refused(lambda text=text: parse_objectives(text), "twice")  # type: ignore[misc]
    assert len(parse_objectives("my_loss.py,my_loss.py:steps=3")) == 2
    (folder / "other").mkdir()
    (folder / "other" / "my_loss.py").write_text(MY_LOSS.replace("1.0", "2.0"))
    refused(lambda: parse_objectives("my_loss.py,other/my_loss.py"), str(folder / "other" / "my_loss.py"), "rename")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", ["empty objective"]),
        ("dpo,,kto", ["empty objective"]),
        ("kot", ["unknown objective 'kot', did you mean 'kto'?", "known: aot, "]),
        ("DPO", ["did you mean 'dpo'?"]),
        ("every", ["unknown objective 'every'", "./every.py"]),
        ("dpo:btea=1", ["dpo has no field 'btea', did you mean 'beta'?", "beta=0.1 (above 0)", *TRAINING_FIELDS]),
        ("dpo:beta", ["'beta' must be written as field=value", "beta=0.1"]),
        ("dpo:", ["'' must be written as field=value"]),
        ("dpo:beta=1:beta=2", ["beta is given twice", "beta=a/b"]),
        ("dpo:beta=", ["beta='' must be a number"]),
        ("dpo:beta=0.1/x", ["beta='x' must be a number"]),
        ("dpo:beta=0", ["beta=0 must be above 0"]),
        ("dpo:beta=inf", ["beta=inf must be a finite number"]),
        ("dpo:steps=1.5", ["steps='1.5' must be a whole number"]),
        ("dpo:steps=-1", ["steps=-1 must be at least 0"]),
        ("dpo:steps=1" + "0" * 400, ["dpo cannot be made", "steps"]),
        ("dpo:optimizer=sgd", ["optimizer='sgd' must be adamw or rmsprop"]),
        ("./every.py:centred=yes", ["centred='yes' must be true or false"]),
        ("./every.py:norm=max", ["norm='max' must be sum or mean"]),
        ("./every.py:share=1.5", ["share=1.5 must be at least 0 and at most 1"]),
        ("./every.py:pair=1", ["every.py: pair has the type tuple[int, ...]"]),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(spec: str, words: list[str]) -> None:
    refused(lambda: parse_objectives(spec), *words)


def test_what_only_a_run_can_honour_is_refused_by_create() -> None:
    refused(lambda: create("./my_loss.py:steps=3"), "steps is a training field")
    refused(lambda: create("./my_loss.py:margin=1/2"), "2 objectives", "one")


def test_a_file_may_hold_several_classes(folder: Path) -> None:
    (folder / "two.py").write_text(f"{MY_LOSS}\n\nclass _Base(MyLoss): ...\n")
    refused(lambda: create("./two.py::_Base"), "class _Base must be decorated")  # that its parent is does not count
    assert type(create("./two.py")).__name__ == "MyLoss"
    (folder / "two.py").write_text(f"{MY_LOSS}\n\n@dataclass(frozen=True)\nclass Wide(MyLoss):\n    width: int = 1\n")
    refused(lambda: create("./two.py"), "several objectives", "MyLoss", "two.py::MyLoss")
    refused(lambda: create("./two.py::Wid"), "'Wid'", "did you mean 'Wide'?")
    assert texts("./two.py::Wide:width=2,./two.py::MyLoss") == ["two.py::Wide:width=2", "two.py::MyLoss"]


def test_ranges_hold_although_a_plugin_replaces_post_init(folder: Path) -> None:
    code = MY_LOSS.replace("Paired, Pairs", "Paired, Pairs, Positive").replace(
        "margin: float = 1.0", "margin: Positive = 1.0\n    def __post_init__(self) -> None: ..."
    )
    (folder / "my_loss.py").write_text(code)
    refused(lambda: create("./my_loss.py:margin=-1"), "my_loss.py: margin=-1 must be above 0")
