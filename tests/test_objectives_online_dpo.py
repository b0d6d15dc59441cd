"""Objectives that pick among the policy's own samples: pairs for any paired loss, and the best one to imitate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from alignbench import InputError, Pairs, create
from alignbench.plugins import parse_objectives
from tests.rollouts import first_batch, gold, groups, penalised, serving
from tests.small import full_logps


def test_online_dpo_learns_from_the_best_and_the_worst() -> None:
    made, batch = first_batch("online_dpo:reward=gold:n=4:missing_end_penalty=0.7")
    again, prompts = serving(), serving()
    drawn = again.sample(next(prompts.prompts()), 4).tokens  # the same seed draws the same
    for group, (chosen, rejected) in zip(groups(drawn, 4), batch.rows, strict=True):
        ranked = sorted(group, key=lambda row: penalised(row, 0.7))
        assert (chosen, rejected) == (ranked[-1], ranked[0])
    assert made.spent.completions == 16
    figures = create("online_dpo").metrics(batch)
    assert figures["score"].tolist() == pytest.approx([sum(gold(drawn)) / 16] * 4, abs=1e-5)  # of all that was drawn
    margin = batch.chosen.log_ratio - batch.rejected.log_ratio
    assert_close(create("online_dpo").loss(batch), torch.log1p(torch.exp(-0.1 * margin)))


def test_a_prompt_whose_samples_tie_is_left_out() -> None:
    made = serving(budget=32)
    made.sources.gold = lambda rows: [float(len(row.prompt) % 2 * row.completion[0]) for row in rows]
    with torch.no_grad():
        batches = list(create("online_dpo:reward=gold:missing_end_penalty=0").batches(made))
    odd = [row for pairs in batches for row, _ in pairs.rows]
    assert odd and all(len(row.prompt) % 2 for row in odd)
    assert made.spent.completions == 32 and len(made.consumed) == 16  # what was drawn is used up
    for pairs in batches:
        assert pairs.extra["kept"].tolist() == pytest.approx([len(pairs) / 4] * len(pairs))
    made.sources.gold, made.spent.completions = (lambda rows: [1.0] * len(rows)), 0
    with torch.no_grad():
        assert not list(create("online_dpo:reward=gold:missing_end_penalty=0").batches(made))


def test_raft_imitates_the_best_sample() -> None:
    made, batch = first_batch("raft:reward=gold:n=4:missing_end_penalty=0.7")
    drawn = serving().sample(next(serving().prompts()), 4).tokens
    best = [max(group, key=lambda row: penalised(row, 0.7)) for group in groups(drawn, 4)]
    assert list(batch.tokens) == best
    assert made.spent.completions == 16 and made.spent.policy_forwards == 0  # nothing is scored that is not trained on
    expected = torch.cat([-full_logps(made.model.policy, row) for row in best])
    assert_close(create("raft").loss(batch)[batch.mask], expected, atol=1e-5, rtol=0)


PLAIN = '''
from dataclasses import dataclass
from alignbench import Paired

@dataclass(frozen=True)
class Plain(Paired):
    """A margin of log-probs, weighted by a mean over the whole batch."""

    paper = "none: for a test"
    needs = frozenset({"pairs"})
    scale: float = 1.0

    def batches(self, engine):
        for pairs in engine.pairs():
            scored = engine.score(pairs.chosen)
            yield pairs.with_extra(weight=scored.logps.sum(1).mean().expand(len(pairs)))

    def loss(self, batch):
        return self.scale * batch.extra["weight"] * (batch.rejected.logp - batch.chosen.logp)
'''


def test_any_paired_loss_serves_and_what_it_needs_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(PLAIN)
    objective = create(f"online_dpo:loss_type={file}+scale=3")
    (inner,) = objective.uses()
    assert (type(inner).__name__, inner.scale) == ("Plain", 3.0)
    assert objective.needs == {"sampling", "reward"}
    assert create(f"online_dpo:loss_type={file}:reward=gold").needs == {"sampling", "gold"}
    made = serving()
    made.sources.reference = None
    with torch.no_grad():
        batch = next(objective.batches(made))
        assert isinstance(batch, Pairs)
        weight = batch.chosen.logp.mean()
        expected = 3 * weight * (batch.rejected.logp - batch.chosen.logp)
        assert_close(objective.loss(batch), expected, atol=1e-4, rtol=1e-5)
    before = parse_objectives(f"online_dpo:loss_type={file}")[0].source
    file.write_text(PLAIN.replace("rejected.logp -", "rejected.logp / 2 -"))
    assert parse_objectives(f"online_dpo:loss_type={file}")[0].source != before


def test_beta_is_that_of_the_paired_loss_unless_it_is_set_there(tmp_path: Path) -> None:
    def beta(spec: str) -> float:
        found: float = create(spec).uses()[0].beta
        return found

    assert beta("online_dpo") == create("dpo").beta
    assert beta("online_dpo:beta=0.7") == 0.7
    assert beta("online_dpo:loss_type=dpo+beta=0.3") == 0.3
    assert beta("online_dpo:loss_type=dpo+beta=0.3:beta=0.7") == 0.3
    assert beta("online_dpo:loss_type=dpo+label_smoothing=0.2:beta=0.7") == 0.7
    (tmp_path / "plain.py").write_text(PLAIN)
    assert not hasattr(create(f"online_dpo:loss_type={tmp_path / 'plain.py'}:beta=0.7").uses()[0], "beta")


@pytest.mark.parametrize(
    ("loss_type", "message"),
    [
        ("dpoo", r"unknown objective 'dpoo', did you mean 'dpo'\? \(known: .*\)\."),
        ("kto", "learns from no pairs: name a paired objective."),
        ("online_dpo", "learns from no pairs: name a paired objective."),
        ("reward_model", "learns from no pairs: name a paired objective."),
        ("dpo+beta=-1", r"DPO: beta=-1 must be above 0\."),
        ("dpo+gamma=1", "dpo has no field 'gamma'.*"),
        ("dpo+beta=0.1/0.2", "'dpo:beta=0.1/0.2' makes 2 objectives .*"),
        ("dpo+steps=3", ".*steps is a training field.*"),
    ],
)
def test_a_loss_type_that_is_none_is_refused_when_it_is_made(loss_type: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^OnlineDPO: loss_type='{loss_type.replace('+', '[+]')}':? {message}$"):
        parse_objectives(f"online_dpo:loss_type={loss_type}")
