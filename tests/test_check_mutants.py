"""The conformance kit catches seeded faults: each mutant is a shipped objective with a mistake that people make."""

# ruff: noqa: E501 - a table of edits, one a line
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from alignbench.check import CHECKS, Outcome, Subject, ask
from alignbench.plugins.spec import recreate

ROOT = Path(__file__).resolve().parents[1]


class Mutant(NamedTuple):
    """A fault in words, and the edits of the source that make it."""

    objective: str
    fault: str
    edits: tuple[tuple[str, str], ...]
    formula: bool = False  # another objective, as sound as this one: nothing but the example worked by hand can tell


def mutant(objective: str, fault: str, *edits: tuple[str, str]) -> Mutant:
    return Mutant(objective, fault, edits)


def other(objective: str, fault: str, *edits: tuple[str, str]) -> Mutant:
    return Mutant(objective, fault, edits, formula=True)


MARGIN = "batch.chosen.log_ratio - batch.rejected.log_ratio"
SMOOTHED = " - self.label_smoothing * logsigmoid(-margin)"
BOTH = "chosen, rejected = batch.chosen.log_ratio, batch.rejected.log_ratio"
DRIFT = "batch.mismatched_log_ratio.mean().clamp(min=0)"
MEANS = "chosen, rejected = batch.chosen.mean_logp, batch.rejected.mean_logp"
MEAN_MARGIN = "batch.chosen.mean_logp - batch.rejected.mean_logp"


def each(pattern: str) -> str:
    """The difference of an expression of the chosen and of the rejected side."""
    return f"{pattern.replace('?', 'batch.chosen')} - {pattern.replace('?', 'batch.rejected')}"


DPO = [
    mutant("dpo", "the sign is wrong", ("return -(1 -", "return (1 -"), (SMOOTHED, "")),
    mutant("dpo", "chosen and rejected are swapped", (MARGIN, "batch.rejected.log_ratio - batch.chosen.log_ratio")),
    mutant("dpo", "the reference is forgotten", (MARGIN, each("?.logp"))),
    mutant("dpo", "the reference is counted twice", (MARGIN, each("(?.log_ratio - ?.ref_logps.sum(-1))"))),
    mutant("dpo", "the reference is that of the other side", (MARGIN, "(batch.chosen.logp - batch.rejected.ref_logps.sum(-1)) - (batch.rejected.logp - batch.chosen.ref_logps.sum(-1))")),
    mutant("dpo", "beta is outside", ("self.beta * (batch", "(batch"), ("-(1 - self.label_smoothing) *", "-self.beta *")),
    mutant("dpo", "an unstable log of a sigmoid", ("logsigmoid(margin)", "torch.sigmoid(margin).log()")),
    mutant("dpo", "an unstable softplus", ("logsigmoid(margin)", "-torch.log(1 + torch.exp(-margin))")),
    mutant("dpo", "a mean over the padded width", (MARGIN, each("(?.logps - ?.ref_logps).mean(-1)"))),
    mutant("dpo", "a scalar is returned", ("logsigmoid(-margin)\n", "logsigmoid(-margin).mean()\n"), ("logsigmoid(margin)", "logsigmoid(margin).mean()")),
    mutant("dpo", "the chosen is detached", (MARGIN, "batch.chosen.log_ratio.detach() - batch.rejected.log_ratio")),
    mutant("dpo", "the first token only", (MARGIN, each("(?.logps - ?.ref_logps)[:, 0]"))),
    mutant("dpo", "the last column is left out", (MARGIN, each("(?.logps - ?.ref_logps)[:, :-1].sum(-1)"))),
    mutant("dpo", "a hyper-parameter does nothing", (SMOOTHED, ""), ("-(1 - self.label_smoothing) *", "-")),
    mutant("dpo", "the margin is centred over the batch", (f"({MARGIN})", f"({MARGIN} - ({MARGIN}).mean())")),
    mutant("dpo", "noise is added to the margin", (f"({MARGIN})", f"({MARGIN} + torch.randn(len(batch)))")),
    mutant("dpo", "the reference is overwritten", ("        margin =", "        batch.chosen.ref_logps.add_(1.0)\n        margin =")),
    mutant("dpo", "work in bfloat16", (f"({MARGIN})", f"({MARGIN}).bfloat16()")),
    mutant("dpo", "a gradient into the reference of the chosen alone", (MARGIN, "batch.chosen.logp.detach() - batch.rejected.log_ratio")),
]  # fmt: skip

IPO = [
    mutant("ipo", "the absolute error for the square", (") ** 2", ").abs()")),
    mutant("ipo", "the target is 1 / beta", ("1 / (2 * self.beta)", "1 / self.beta")),
    mutant("ipo", "the target has the wrong sign", ("- 1 / (2", "+ 1 / (2")),
    mutant("ipo", "beta is multiplied", ("1 / (2 * self.beta)", "self.beta / 2")),
    mutant("ipo", "always a mean over tokens", ('if self.reduction == "mean"', "if True")),
    mutant("ipo", "tokens are counted where the ratio is not 0", (BOTH, "chosen, rejected = (((s.logps - s.ref_logps).sum(-1) / (s.logps != s.ref_logps).sum(-1)) for s in (batch.chosen, batch.rejected))")),
    mutant("ipo", "the pair is swapped", (BOTH, "rejected, chosen = batch.chosen.log_ratio, batch.rejected.log_ratio")),
]  # fmt: skip

KTO = [
    mutant("kto", "the drift is not clamped", (DRIFT, "batch.mismatched_log_ratio.mean()")),
    mutant("kto", "the clamp comes before the mean", (DRIFT, "batch.mismatched_log_ratio.clamp(min=0).mean()")),
    mutant("kto", "the drift has a gradient, from matched pairs", (DRIFT, "batch.completions.log_ratio.mean().clamp(min=0)")),
    mutant("kto", "the drift is that of matched pairs", (DRIFT, "batch.completions.log_ratio.detach().mean().clamp(min=0)")),
    other("kto", "no drift", (DRIFT, "torch.zeros(())")),
    mutant("kto", "the labels are swapped", ("torch.where(batch.desirable, desirable, undesirable)", "torch.where(batch.desirable, undesirable, desirable)")),
    mutant("kto", "one weight for both", ("self.undesirable_weight * (1 -", "self.desirable_weight * (1 -")),
    other("kto", "beta on the ratio alone", ("self.beta * (drift - ratio)", "drift - self.beta * ratio")),
    mutant("kto", "desirable ones only", ("torch.where(batch.desirable, desirable, undesirable)", "desirable * batch.desirable")),
]  # fmt: skip

ORPO = [
    other("orpo", "sums for means", (MEANS, "chosen, rejected = batch.chosen.logp, batch.rejected.logp")),
    mutant("orpo", "an unstable log(1 - p)", ("log1mexp(chosen)", "torch.log(1 - chosen.exp())"), ("log1mexp(rejected)", "torch.log(1 - rejected.exp())")),
    other("orpo", "probabilities for odds", (" - log1mexp(chosen)", ""), (" - log1mexp(rejected)", "")),
    other("orpo", "no fine-tuning", ("return -chosen - self.lam", "return -self.lam")),
    mutant("orpo", "the odds ratio is upside down", ("logsigmoid(log_odds_ratio)", "logsigmoid(-log_odds_ratio)")),
    other("orpo", "the weight on the other term", ("return -chosen - self.lam *", "return -self.lam * chosen -")),
]  # fmt: skip

SIMPO = [
    other("simpo", "sums for means", (MEAN_MARGIN, each("?.logp"))),
    mutant("simpo", "a mean over the padded width", (MEAN_MARGIN, each("?.logps.mean(-1)"))),
    other("simpo", "the margin has the wrong sign", ("margin - self.gamma_beta_ratio", "margin + self.gamma_beta_ratio")),
    other("simpo", "the margin outside beta", ("self.beta * (margin - self.gamma_beta_ratio)", "self.beta * margin - self.gamma_beta_ratio")),
    mutant("simpo", "it reads the reference", (MEAN_MARGIN, each("(?.log_ratio / ?.length)"))),
    mutant("simpo", "it asks for labels that it never reads", ('frozenset({"pairs"})', 'frozenset({"pairs", "labels"})')),
]  # fmt: skip

RLOO = [
    mutant("rloo", "the sign is wrong", ("return -(batch.advantages", "return (batch.advantages")),
    mutant("rloo", "the baseline of another prompt's sample", ("(priced - baseline).flatten()", "(priced - baseline).flatten().roll(1)")),
    mutant("rloo", "a mean over the padded width", ("batch.completions.logps).sum(-1)", "batch.completions.logps).mean(-1)")),
    mutant("rloo", "the KL is left out", ("rewards - self.beta * samples.log_ratio", "rewards")),
    mutant("rloo", "the first token only", ("batch.completions.logps).sum(-1)", "batch.completions.logps)[:, 0]")),
    mutant("rloo", "rewards that change the loss", ("(batch.advantages * batch.completions.logps)", "((batch.advantages - batch.advantages.mean()) * batch.completions.logps)")),
]  # fmt: skip

GRPO = [
    other("grpo", "min for max", ("torch.maximum(-batch.advantages * rho", "torch.minimum(-batch.advantages * rho")),
    other("grpo", "the KL has the wrong sign", ("+ self.beta * k3", "- self.beta * k3")),
    other("grpo", "the estimate is upside down", ("d = completions.ref_logps - completions.logps", "d = completions.logps - completions.ref_logps")),
    mutant("grpo", "divided by the padded width", ("/ batch.completions.length", "/ batch.mask.shape[1]")),
    mutant("grpo", "the ratio has no gradient", ("rho = bounded_exp(log_rho(batch))", "rho = bounded_exp(log_rho(batch)).detach()")),
    mutant("grpo", "nothing is clipped", (".clamp(1 - clip, 1 + clip)", "")),
    mutant("grpo", "ratios overflow", ("x.clamp(max=LIMIT).exp() * (1 + (x - LIMIT).clamp(min=0))", "x.exp()")),
    mutant("grpo", "old log-probs are those of now", ("batch.completions.logps - batch.old_logps", "batch.completions.logps - batch.completions.logps.detach()")),
    mutant("grpo", "advantages of the other sign", ("(rewards - rewards.mean(1, keepdim=True))", "(rewards.mean(1, keepdim=True) - rewards)")),
]  # fmt: skip

PPO = [
    other("ppo", "min for max", ("torch.maximum(-batch.advantages * rho", "torch.minimum(-batch.advantages * rho")),
    mutant("ppo", "the sign is wrong", ("return clipped(batch, self.clip)", "return -clipped(batch, self.clip)")),
    mutant("ppo", "a value loss over the padded width", ("self.value_coef * self._value_loss(batch)\n", "self.value_coef * self._value_loss(batch).mean(-1, keepdim=True)\n")),
    mutant("ppo", "advantages are normalised over padding", ("real = values[mask]", "real = values.flatten()")),
    mutant("ppo", "the score on the last column", ("samples.length[:, None] - 1", "torch.full_like(samples.length[:, None], samples.mask.shape[1] - 1)")),
    mutant("ppo", "the KL is left out", ("-self.beta * (samples.logps - samples.ref_logps) * samples.mask", "torch.zeros_like(samples.logps)")),
    mutant("ppo", "the score is left out", ("scores[:, None].to(rewards.dtype))", "0 * scores[:, None].to(rewards.dtype))")),
    mutant("ppo", "the ratio has no gradient", ("rho = bounded_exp(log_rho(batch))", "rho = bounded_exp(log_rho(batch)).detach()")),
    mutant("ppo", "the ratio is upside down", ("batch.completions.logps - batch.old_logps", "batch.old_logps - batch.completions.logps")),
    mutant("ppo", "a gradient into the old log-probs", ("batch.completions.logps - batch.old_logps", "batch.completions.logps.detach() - batch.old_logps")),
    mutant("ppo", "GAE without lambda", ("self.gamma * self.lam * running", "self.gamma * running")),
    mutant("ppo", "the values are not clipped", ("torch.maximum((values - batch.returns) ** 2, (near - batch.returns) ** 2)", "(values - batch.returns) ** 2")),
    mutant("ppo", "values are not learned", ("* self._value_loss(batch)\n", "* self._value_loss(batch).detach()\n")),
    mutant("ppo", "GAE runs through the padding", ("torch.where(mask[:, t], delta + self.gamma * self.lam * running, 0.0)", "delta + 1.0 + self.gamma * self.lam * running")),
]  # fmt: skip

MUTANTS = [*PPO, *DPO, *IPO, *KTO, *ORPO, *SIMPO, *RLOO, *GRPO]


def source_of(name: str) -> str:
    """The source of a shipped objective as one file, what it imports from its siblings written into it."""
    text = (ROOT / "objectives" / f"{name}.py").read_text()
    siblings = re.findall(r"^from \.(\w+) import", text, flags=re.MULTILINE)
    parts = [source_of(sibling) for sibling in siblings]
    own = re.sub(r"^from \.\w+ import (\([^)]*\)|[^\n]*)\n", "", text, flags=re.MULTILINE)
    own = own.replace("from __future__ import annotations\n", "")
    return "from __future__ import annotations\n" + "\n".join(
        part.replace("from __future__ import annotations\n", "") for part in [*parts, own]
    )


def write(folder: Path, one: Mutant | str) -> Path:
    name, edits = (one, ()) if isinstance(one, str) else (one.objective, one.edits)
    text = source_of(name)
    for old, new in edits:
        assert old in text, f"{name}: the source no longer holds {old!r}"
        text = text.replace(old, new)
    file = folder / f"{name}_mutant.py"
    file.write_text(text)
    return file


def failures(file: Path, *but: str) -> Iterator[Outcome]:
    """The checks that an objective fails, one after another: the first is enough to know that it is caught."""
    subject = Subject(recreate(str(file)))
    outcomes = (ask(subject, name) for name in CHECKS if name not in but)
    return (outcome for outcome in outcomes if not outcome.good)


@pytest.mark.parametrize("one", MUTANTS, ids=[f"{m.objective}: {m.fault}" for m in MUTANTS])
def test_a_fault_is_caught(one: Mutant, tmp_path: Path) -> None:
    """Without the help of the example where that is possible: whoever makes a mistake may make the example with it."""
    but = () if one.formula else ("example",)
    assert next(failures(write(tmp_path, one), *but), None) is not None


@pytest.mark.parametrize("name", sorted({m.objective for m in MUTANTS}))
def test_without_a_fault_nothing_fails(name: str, tmp_path: Path) -> None:
    assert list(failures(write(tmp_path, name))) == []


def test_the_faults_are_many() -> None:
    assert len(MUTANTS) >= 30
    assert {m.objective for m in MUTANTS} >= {"dpo", "ipo", "kto", "orpo", "simpo", "ppo", "rloo", "grpo"}
