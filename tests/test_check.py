"""The conformance kit: each check catches a fault made for it, the starting files pass them all, known failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench.check import CHECKS, Outcome, Subject, ask, run
from alignbench.cli.new import FAMILIES, template
from alignbench.plugins import create, recreate

MARGIN = "batch.chosen.log_ratio - batch.rejected.log_ratio"
RETURN = f"return -logsigmoid(self.beta * ({MARGIN}))"
LOSS = "    def loss(self"
DRIFT = "batch.mismatched_log_ratio"


def each(pattern: str) -> str:
    return f"{pattern.replace('?', 'batch.chosen')} - {pattern.replace('?', 'batch.rejected')}"


def method(text: str) -> tuple[str, str]:
    """An edit that adds a method before `loss`."""
    return LOSS, f"    {text}\n\n{LOSS}"


# One fault for each check: the family whose starting file it is made in, and the edits.
FAULTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "declared": ("paired", (method("def __post_init__(self):\n        pass"),)),
    "documented": ("paired", (("lists show.", "lists show"),)),
    "example": ("paired", (("0.474077,", "0.513015,"),)),
    "shape": ("paired", ((RETURN, f"{RETURN}.mean()"),)),
    "finite": ("paired", ((f"logsigmoid(self.beta * ({MARGIN}))", f"(self.beta * ({MARGIN})).sigmoid().log()"),)),
    "reference_value": ("paired", (("at_reference = 0.693147", "at_reference = 0.5"),)),
    "direction": ("paired", ((MARGIN, "batch.rejected.log_ratio - batch.chosen.log_ratio"),)),
    "every_token": ("paired", ((MARGIN, each("(?.logps - ?.ref_logps)[:, 0]")),)),
    "head": (
        "paired",
        (method("def init(self, engine):\n        from torch import nn\n        return nn.Linear(4, 1)"),),
    ),
    "isolated": ("paired", ((f"({MARGIN})", f"({MARGIN} - ({MARGIN}).mean())"),)),
    "frozen_inputs": (
        "paired",
        (
            method(
                "def batches(self, engine):\n"
                "        import dataclasses, torch\n"
                "        for pairs in engine.pairs():\n"
                "            with torch.enable_grad():\n"
                "                logp = pairs.select(range(len(pairs))).chosen.logp\n"
                "            yield dataclasses.replace(pairs, extra={'logp': logp})"
            ),
        ),
    ),
    "padding": ("paired", ((MARGIN, each("(?.logps - ?.ref_logps).mean(-1)")),)),
    "batch_order": ("paired", ((RETURN, f"{RETURN} * tensor(range(1, len(batch) + 1))"),)),
    "batch_size": ("paired", ((RETURN, f"{RETURN} / len(batch)"),)),
    "composition": ("online", (("(priced - others)", "((priced - others) / priced.std())"),)),
    "drift": (
        "unpaired",
        (("self.beta * batch.completions.log_ratio", f"self.beta * (batch.completions.log_ratio - {DRIFT}.mean())"),),
    ),
    "deterministic": ("paired", ((RETURN, f"import torch\n        {RETURN} + torch.rand(len(batch))"),)),
    "pure": ("paired", ((RETURN, f"import random\n        {RETURN} + 0 * random.random()"),)),
    "ends": (
        "paired",
        (method("def batches(self, engine):\n        while True:\n            yield from engine.pairs()"),),
    ),
    "policy_gradient": (
        "online",
        (("(priced.sum(1, keepdim=True) - priced) / (self.n - 1)", "priced.mean(1, keepdim=True)"),),
    ),
    "gradcheck": ("paired", ((RETURN, f"{RETURN} * tensor(batch.chosen.logp.tolist()).abs()"),)),
    "bf16": ("paired", ((MARGIN, f"(({MARGIN} + 1000) - 1000)"),)),
    "metrics": ("online", (('"score": batch.scores', '"score": batch.scores.mean()'),)),
    "hyper_parameters": ("paired", (("    beta: Positive", "    tau: Positive = 1.0\n    beta: Positive"),)),
    "needs": ("paired", (("    paper", '    needs = frozenset({"pairs", "reference", "labels"})\n    paper'),)),
    "common_order": (
        "paired",
        (
            method(
                "def batches(self, engine):\n"
                "        for _ in engine.prompts():\n"
                "            yield next(engine.pairs())"
            ),
        ),
    ),
    "micro_batches": ("paired", ((RETURN, f"{RETURN} / len(batch)"),)),
    "learns": ("online", (("return -(batch.advantages", "return (batch.advantages"),)),
}  # fmt: skip


def subject(folder: Path, family: str, *edits: tuple[str, str]) -> Subject:
    """A starting file with some edits, as it is checked."""
    text = template(family, "Mine")
    for old, new in edits:
        assert old in text, f"the starting file no longer holds {old!r}"
        text = text.replace(old, new)
    file = folder / "mine.py"
    file.write_text(text)
    return Subject(recreate(str(file)))


def test_there_is_a_fault_for_every_check() -> None:
    assert list(FAULTS) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_catches_the_fault_made_for_it(name: str, tmp_path: Path) -> None:
    family, edits = FAULTS[name]
    outcome = ask(subject(tmp_path, family, *edits), name)
    assert outcome.result == "failed"
    assert "\n" not in outcome.sentence and outcome.sentence.endswith("."), outcome.sentence
    assert "Traceback" not in outcome.sentence


@pytest.mark.parametrize("family", FAMILIES)
def test_a_starting_file_passes_every_check_and_is_short(family: str, tmp_path: Path) -> None:
    made = subject(tmp_path, family)
    assert made.spec is not None
    outcomes = run(made.spec)
    assert [outcome.name for outcome in outcomes] == list(CHECKS)
    assert [outcome for outcome in outcomes if not outcome.good] == []
    lines = [line for line in template(family, "Mine").splitlines() if line.strip()]
    assert len(lines) <= (40 if family == "online" else 20)


def test_an_objective_can_be_checked_without_a_spec() -> None:
    assert ask(Subject(create("dpo:beta=0.3")), "declared") == Outcome("declared", "passed")


def test_what_the_code_raises_is_a_failure_with_its_line_and_no_traceback(tmp_path: Path) -> None:
    made = subject(tmp_path, "paired", (RETURN, "return batch.chosen.log_ratios"))
    line = next(n for n, text in enumerate((tmp_path / "mine.py").read_text().splitlines(), 1) if "log_ratios" in text)
    outcome = ask(made, "finite")
    assert outcome.result == "failed"
    assert outcome.sentence.startswith(f"mine.py:{line} raises AttributeError: ")


KNOWN = ("    paper", "    known_failures = {'batch_size': 'it is divided by their number'}\n    paper")


def test_a_known_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    made = subject(tmp_path, "paired", (RETURN, f"{RETURN} / len(batch)"), KNOWN)
    assert ask(made, "batch_size") == Outcome("batch_size", "known failure", "it is divided by their number")


def test_a_known_failure_that_passes_is_a_failure(tmp_path: Path) -> None:
    outcome = ask(subject(tmp_path, "paired", KNOWN), "batch_size")
    assert outcome.result == "failed"
    assert "remove it" in outcome.sentence


def test_a_known_failure_of_no_check_is_refused(tmp_path: Path) -> None:
    made = subject(tmp_path, "paired", ("    paper", "    known_failures = {'size': 'why'}\n    paper"))
    assert "no such check" in ask(made, "declared").sentence


def test_the_value_at_the_reference_and_the_example_are_held_at_default_hyper_parameters() -> None:
    made = Subject(recreate("ipo:beta=0.9"))
    assert all(ask(made, name).result == "passed" for name in ("example", "reference_value"))


@pytest.mark.parametrize("spec", ["f_dpo:divergence=js", "grpo:normaliser=token", "rloo:reward=gold", "online_dpo:n=3"])
def test_other_settings_of_shipped_objectives_pass_as_well(spec: str) -> None:
    assert [outcome for outcome in run(recreate(spec)) if not outcome.good] == []
