"""The sentences of the conformance kit: a sound objective is not blamed, and what is said of a faulty one is true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import ones, tensor

from alignbench import Completions
from alignbench.check import Subject, ask
from alignbench.check.declared import candidates
from alignbench.plugins import create, recreate
from tests.test_check import RETURN, method, subject

KNOWN = "    known_failures = {{'{}': 'it cannot'}}\n    paper"


@pytest.mark.parametrize(
    ("spec", "name", "result"),
    [
        ("discopop:beta=1", "learns", "known failure"),  # as it is at the defaults
        ("dr_grpo:n=11", "policy_gradient", "not applicable"),  # too many samples to try all
    ],
)
def test_a_known_failure_is_one_of_the_defaults(spec: str, name: str, result: str) -> None:
    made = Subject(recreate(spec))
    assert name in made.objective.known_failures
    assert ask(made, name).result == result


def test_a_known_failure_may_pass_with_other_hyper_parameters_only(tmp_path: Path) -> None:
    edits = ("    paper", KNOWN.format("batch_size"))
    made = subject(tmp_path, "paired", edits)
    assert "remove it" in ask(made, "batch_size").sentence
    other = type(made.objective)(beta=0.3)  # type: ignore[call-arg]
    assert ask(Subject(other), "batch_size").result == "passed"


@pytest.mark.parametrize("spec", ["ipo:beta=5", "sppo:beta=1"])
def test_learning_is_judged_at_the_default_hyper_parameters(spec: str) -> None:
    assert ask(Subject(recreate(spec)), "learns").result == "passed"


@pytest.mark.parametrize(
    ("spec", "result"),
    [("online_dpo:loss_type=ipo+beta=0.3", "known failure"), ("online_dpo:beta=0.3", "")],
)
def test_a_beta_that_the_loss_type_sets_is_no_idle_field(spec: str, result: str) -> None:
    made = Subject(recreate(spec))
    if result:
        assert ask(made, "hyper_parameters").result == result
    else:
        assert "hyper_parameters" not in made.objective.known_failures


def test_values_that_are_tried_are_short() -> None:
    assert all(f"{value:g}" == str(value) for value in candidates(create("dpo:beta=0.3"), "beta") if value % 1)


def test_a_field_that_is_always_overruled_is_idle(tmp_path: Path) -> None:
    reset = "def __post_init__(self):\n        object.__setattr__(self, 'tau', 1.0)\n        super().__post_init__()"
    made = subject(
        tmp_path, "paired", method(reset), ("    beta: Positive", "    tau: Positive = 1.0\n    beta: Positive")
    )
    assert ask(made, "hyper_parameters").sentence.startswith("tau=")


@pytest.mark.parametrize(
    ("field", "shown"), [("w: float | None = None", "float | None"), ("w: tuple = (1.0, 2.0)", "tuple")]
)
def test_a_field_that_no_spec_can_set_is_told_as_that(field: str, shown: str, tmp_path: Path) -> None:
    outcome = ask(subject(tmp_path, "paired", ("    beta: Positive", f"    {field}\n    beta: Positive")), "declared")
    assert outcome.result == "failed"
    assert f"the field w is {shown}, which no spec can set" in outcome.sentence


def test_completions_made_of_tensors_have_ended_unless_it_is_said() -> None:
    assert Completions.of(ones(2, 1), None, ones(2, 1)).ended.tolist() == [True, True]
    made = Completions.of(ones(3, 1), None, ones(3, 1), ended=tensor([True, False, False]))
    assert made.ended.tolist() == made.with_scores(ref_logps=ones(3, 1)).ended.tolist() == [True, False, False]
    assert made.select([1, 0]).ended.tolist() == [False, True]


OVERLONG = ("* batch.completions.logps).sum(1)", "* batch.completions.logps).sum(1) * batch.completions.ended")


@pytest.mark.parametrize("name", ["example", "learns"])
def test_an_objective_may_leave_out_what_did_not_end(name: str, tmp_path: Path) -> None:
    assert ask(subject(tmp_path, "online", OVERLONG), name).result == "passed"


CAT = "return torch.cat([-batch.chosen.logps, self.beta * batch.rejected.logps], 1) + 0.01"
BY_HAND = "Pairs(chosen, rejected), tensor([0.474077, 0.693147])"
MADE = "Completions.of(tensor([[-1.0, -2.0], [-2.0, 0.0]]), None, tensor([[1, 1], [1, 0]])), "
MADE = f"Pairs({MADE}Completions.of(tensor([[-5.0], [-1.0]]), None, ones(2, 1)))"


@pytest.mark.parametrize(("behind", "last", "said"), [("0.0", "-0.09", ""), ("9.0", "-0.1", "item 1, token 2, of")])
def test_an_example_of_tokens_is_held_on_its_mask(behind: str, last: str, said: str, tmp_path: Path) -> None:
    worked = f"{MADE}, tensor([[1.01, 2.01, -0.49], [2.01, {behind}, {last}]])"
    made = subject(tmp_path, "paired", (RETURN, f"import torch\n        {CAT}"), (BY_HAND, worked))
    outcome = ask(made, "example")
    assert outcome.result == ("failed" if said else "passed"), outcome.sentence
    assert said in outcome.sentence


BOTH = """def batches(self, engine):
        for pairs, other in zip(engine.pairs(), engine.demonstrations()):
            yield pairs.with_extra(other=other.length[:1].float().expand(len(pairs)))"""


def test_the_order_of_prompts_is_held_in_each_stream(tmp_path: Path) -> None:
    needs = ("    paper", '    needs = frozenset({"pairs", "reference", "demonstrations"})\n    paper')
    made = subject(tmp_path, "paired", needs, method(BOTH), (RETURN, f"{RETURN} + 0 * batch.extra['other']"))
    assert ask(made, "common_order").sentence == ""


@pytest.mark.parametrize(
    ("returned", "name", "said"),
    [
        ("None", "example", "`loss` returns nothing: return a tensor"),
        ("(batch.chosen.logp,)", "example", "`loss` returns tuple: return a tensor"),
        ("batch.chosen.logp.detach().numpy()", "padding", "`loss` returns ndarray: return a tensor"),
        ("None", "micro_batches", "alignbench cannot use the objective (AttributeError"),
    ],
)
def test_a_loss_of_another_type_is_told_as_that(returned: str, name: str, said: str, tmp_path: Path) -> None:
    sentence = ask(subject(tmp_path, "paired", (RETURN, f"return {returned}")), name).sentence
    assert said in sentence
    assert "mend that line" not in sentence


@pytest.mark.parametrize(
    ("returned", "said"), [("{'m': 1.0}", "`metrics` returns float for m:"), ("[]", "`metrics` returns list:")]
)
def test_metrics_of_another_type_are_told_as_that(returned: str, said: str, tmp_path: Path) -> None:
    made = subject(tmp_path, "paired", method(f"def metrics(self, batch):\n        return {returned}"))
    assert said in ask(made, "metrics").sentence


def test_where_the_loss_is_nan_one_check_says_so(tmp_path: Path) -> None:
    nan = "/ (batch.chosen.length - 1) * (batch.chosen.length - 1)"
    made = subject(tmp_path, "paired", (RETURN, f"{RETURN} {nan}"))
    assert ask(made, "finite").result == "failed"
    for name in ("batch_order", "deterministic", "padding", "gradcheck"):
        outcome = ask(made, name)
        assert outcome.result == "not applicable" and "see finite" in outcome.sentence
    assert ask(subject(tmp_path, "paired", (RETURN, f"{RETURN} / len(batch)")), "batch_size").result == "failed"


def test_a_loss_that_leaves_python_is_a_failure(tmp_path: Path) -> None:
    made = subject(tmp_path, "paired", (RETURN, "import sys; sys.exit(3)"))
    assert "raises SystemExit: 3" in ask(made, "shape").sentence
    assert "raises SystemExit: 3" in ask(made, "direction").sentence


def test_a_sampled_toy_completion_of_one_token_has_ended() -> None:
    from alignbench.check.tiny import toy

    engine = toy(create("rloo"))
    with torch.no_grad():
        samples = engine.sample(next(engine.prompts()), 2)
    assert samples.mask.shape[1] == 1 and bool(samples.ended.all())
