"""Objectives that train on the policy's own samples: rewards, baselines, ratios, prompts, and what they cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from alignbench import Completions, Experience, Tokens, create
from alignbench.engine import LocalEngine
from alignbench.train import accumulate, train
from tests.rollouts import first_batch, gold, groups, penalised, serving, slow_kl

ONLINE = ("rloo", "grpo", "dr_grpo", "online_dpo", "raft", "remax", "ppo")
every = pytest.mark.parametrize("name", ONLINE)


# Rewards, baselines and advantages of a rollout.


def test_rloo_takes_the_kl_off_the_reward_before_the_baseline() -> None:
    made, batch = first_batch("rloo:reward=gold:beta=0.3:missing_end_penalty=0.7:n=3")
    rows = batch.completions.tokens
    assert len(rows) == 12 and {row.ended for row in rows} == {False, True}
    for group in groups(range(12), 3):
        assert len({rows[i].prompt for i in group}) == 1
        priced = [penalised(rows[i], 0.7) - 0.3 * slow_kl(made, rows[i]) for i in group]
        for place, i in enumerate(group):
            others = [r for j, r in enumerate(priced) if j != place]
            expected = priced[place] - sum(others) / 2
            length = len(rows[i].completion)
            assert batch.advantages[i, :length].tolist() == pytest.approx([expected] * length, abs=1e-4)
            assert (batch.advantages[i, length:] == 0).all()
    assert batch.scores.tolist() == pytest.approx(gold(rows), abs=1e-5)  # as the truth gave them, not penalised
    kl = create("rloo").metrics(batch)["kl"]
    assert kl.tolist() == pytest.approx([slow_kl(made, row) for row in rows], abs=1e-4)


def test_at_the_optimum_of_the_priced_reward_every_advantage_of_rloo_is_0() -> None:
    """Where pi = pi*, r - beta log pi/pi_ref is beta log Z, the same for all completions of a prompt."""
    made = serving()
    made.sources.gold = lambda rows: [0.3 * slow_kl(made, row) + len(row.prompt) for row in rows]
    with torch.no_grad():
        batch = next(create("rloo:reward=gold:beta=0.3:missing_end_penalty=0").batches(made))
    assert batch.advantages.abs().max() < 1e-4
    assert batch.scores.std() > 0.5


def test_advantages_of_a_group_worked_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0], [0.1, 0.1, 0.1, 0.1]])
    # Mean 3; squares 4 + 1 + 0 + 9 = 14, over n - 1 = 3: the standard deviation is 2.160247.
    spread = 2.160247 + 1e-4
    grpo = create("grpo").advantages(rewards)
    assert grpo[0].tolist() == pytest.approx([-2 / spread, -1 / spread, 0, 3 / spread], abs=1e-6)
    assert grpo[1:].abs().max() < 1e-3  # rounding is not blown up to an advantage
    assert create("dr_grpo").advantages(rewards)[0].tolist() == [-2, -1, 0, 3]


@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
def test_groups_are_the_samples_of_one_prompt_and_rewards_are_without_kl(name: str) -> None:
    _, batch = first_batch(f"{name}:reward=gold:missing_end_penalty=0.7:n=4")
    rows = {row: float(a) for row, a in zip(batch.completions.tokens, batch.advantages[:, 0], strict=True)}
    by_prompt: dict[tuple[int, ...], list[Tokens]] = {}
    for row in batch.completions.tokens:  # in the order of an inner epoch, groups are apart
        by_prompt.setdefault(row.prompt, []).append(row)
    assert len(by_prompt) == 4
    for group in by_prompt.values():
        rewards = [penalised(row, 0.7) for row in group]
        mean, spread = statistics.mean(rewards), statistics.stdev(rewards) + 1e-4 if name == "grpo" else 1.0
        assert [rows[row] for row in group] == pytest.approx([(r - mean) / spread for r in rewards], abs=1e-4)


def test_remax_takes_off_the_reward_of_the_greedy_completion() -> None:
    made, batch = first_batch("remax:reward=gold:beta=0.3:missing_end_penalty=0.7")
    for i, row in enumerate(batch.completions.tokens):
        greedy = greedily(made, row)
        reward, baseline = (penalised(y, 0.7) for y in (row, greedy))
        expected = reward - 0.3 * slow_kl(made, row) - baseline
        assert float(batch.advantages[i, 0]) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def greedily(made: LocalEngine, row: Tokens) -> Tokens:
    ids = list(row.prompt)
    for _ in range(5):
        ids.append(int(made.model.policy.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in made.model.policy.ends:
            break
    new = tuple(ids[len(row.prompt) :])
    return Tokens(row.prompt, new, row.prompt_id, new[-1] in made.model.policy.ends)


def test_greedy_completions_count_as_any_other_and_leave_the_random_numbers_alone() -> None:
    with_greedy, without = serving(), serving()
    first, second = next(with_greedy.prompts()), next(without.prompts())
    greedy = with_greedy.sample(first, greedy=True)
    assert greedy.tokens == tuple(greedily(with_greedy, row) for row in first.tokens)
    assert with_greedy.spent.completions == len(first)
    assert with_greedy.spent.sampled_tokens == sum(len(row.completion) for row in greedy.tokens) > 0
    assert with_greedy.spent.tokens == sum(len(row.prompt + row.completion) for row in greedy.tokens)
    assert with_greedy.sample(first).tokens == without.sample(second).tokens  # the random numbers stay where they were
    trained, objective = serving(), create("remax")
    list(train(trained, objective))
    assert trained.spent.completions == 64
    assert len(trained.consumed) == 32


# Losses.


def experience(length: Sequence[int] = (3, 1, 2), seed: int = 0) -> tuple[Experience, Tensor, Tensor]:
    """Random log-probs now, in the reference and when sampled, in float64; also the leaves of now and the reference."""
    draw = torch.Generator().manual_seed(seed)
    width = max(length)
    mask = torch.arange(width)[None] < torch.tensor(length)[:, None]
    logps, ref, old = (
        -3 * torch.rand((len(length), width), generator=draw, dtype=torch.float64) - 0.1 for _ in range(3)
    )
    logps.requires_grad_()
    ref.requires_grad_()
    advantages = torch.randn(len(length), generator=draw, dtype=torch.float64)[:, None] * mask
    scores = torch.zeros(len(length), dtype=torch.float64)
    completions = Completions.of(logps, ref, mask, entropy=torch.ones_like(old))
    return Experience(completions, old * mask, advantages, scores=scores), logps, ref


def slow_tokens(batch: Experience, i: int, clip: float, beta: float) -> list[float]:
    """Equation 3 of the GRPO paper for the tokens of one completion, as losses, in plain numbers."""
    found = []
    logps, refs = batch.completions.logps.detach(), batch.completions.ref_logps.detach()
    for t in range(int(batch.completions.length[i])):
        now, ref = float(logps[i, t]), float(refs[i, t])
        rho, a = math.exp(now - float(batch.old_logps[i, t])), float(batch.advantages[i, t])
        inside = min(max(rho, 1 - clip), 1 + clip)
        found.append(-min(rho * a, inside * a) + beta * (math.exp(ref - now) - (ref - now) - 1))
    return found


def test_grpo_and_dr_grpo_against_the_formula_token_by_token() -> None:
    batch, _, _ = experience()
    tokens = [slow_tokens(batch, i, 0.1, 0.3) for i in range(3)]
    fields = "clip=0.1:beta=0.3"
    sequence = create(f"grpo:{fields}").loss(batch)
    assert sequence.tolist() == pytest.approx([statistics.mean(row) for row in tokens], abs=1e-12)
    total = create(f"dr_grpo:{fields}").loss(batch)
    assert total.tolist() == pytest.approx([sum(row) for row in tokens], abs=1e-12)
    token = create(f"grpo:{fields}:normaliser=token").loss(batch)
    assert token.shape == batch.mask.shape
    assert token[batch.mask].tolist() == pytest.approx([x for row in tokens for x in row], abs=1e-12)
    assert (token[~batch.mask] == 0).all()


def test_the_normaliser_decides_what_the_loop_divides_by() -> None:
    """Two normalisers of one rollout after the policy has moved: mean of means, and mean over all tokens."""
    made, batch = first_batch("grpo:reward=gold")
    with torch.no_grad():
        made.model.policy.model.get_output_embeddings().weight.mul_(1.2)
    for normaliser in ("sequence", "token"):
        objective = create(f"grpo:beta=0.3:normaliser={normaliser}")
        whole = batch.select(range(len(batch)))
        with torch.no_grad():
            tokens = [slow_tokens(whole, i, 0.2, 0.3) for i in range(len(batch))]
        flat = [x for row in tokens for x in row]
        expected = sum(flat) / len(flat) if normaliser == "token" else statistics.mean(map(statistics.mean, tokens))
        assert accumulate(objective, batch, made)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["rloo", "remax"])
def test_reinforce_weighs_the_whole_completion(name: str) -> None:
    batch, logps, ref = experience()
    loss = create(name).loss(batch)
    weights = batch.advantages[:, 0]
    expected = [-float(a) * sum(row[mask].tolist()) for a, row, mask in zip(weights, logps, batch.mask, strict=True)]
    assert loss.tolist() == pytest.approx(expected, abs=1e-12)
    loss.sum().backward()
    assert_close(logps.grad, -batch.advantages)  # 0 behind the end as well
    assert ref.grad is None  # the KL is in the advantage, fixed when the completion was drawn


@pytest.mark.parametrize("spec", ["grpo:beta=0", "dr_grpo:beta=0", "rloo", "remax"])
def test_descending_the_loss_makes_what_was_good_likelier(spec: str) -> None:
    batch, logps, _ = experience()
    near = replace(batch, old_logps=logps.detach() * batch.mask)  # as in the first inner epoch
    create(spec).loss(near).sum().backward()
    assert logps.grad is not None
    assert ((logps.grad * near.advantages)[batch.mask] < 0).all()
    assert (logps.grad[~batch.mask] == 0).all()


def test_the_kl_in_the_loss_pulls_towards_the_reference_and_clipping_stops_the_rest() -> None:
    batch, logps, ref = experience()
    create("grpo:beta=1").loss(replace(batch, advantages=torch.zeros_like(batch.advantages))).sum().backward()
    assert logps.grad is not None and ref.grad is not None
    above = (logps > ref)[batch.mask]
    assert ((logps.grad[batch.mask] > 0) == above).all() and above.any() and not above.all()
    one = torch.ones(1, 1, dtype=torch.float64)
    for change, advantage, moves in ((0.3, 1, False), (0.3, -1, True), (-0.3, 1, True), (-0.3, -1, False)):
        now = (-one).requires_grad_()
        given = Experience(Completions.of(now, -one, one > 0), -one - change, advantage * one)
        create("dr_grpo:beta=0").loss(given).sum().backward()
        assert now.grad is not None
        assert bool(now.grad != 0) == moves  # rho is 1.35 or .74, outside the clip


@pytest.mark.parametrize("spec", ["grpo:beta=1", "grpo:normaliser=token", "dr_grpo", "rloo", "remax", "ppo"])
@pytest.mark.parametrize("far", [1e3, 1e4])
def test_ratios_that_explode_are_finite_in_value_and_gradient(spec: str, far: float) -> None:
    corners = torch.tensor([[a, b, c, d] for a in (0, -far) for b in (0, -far) for c in (0, -far) for d in (-1.0, 1.0)])
    now, ref, old, advantages = (column[:, None].clone() for column in corners.unbind(1))
    now.requires_grad_()
    completions = Completions.of(now, ref, torch.ones(16, 1), values=torch.zeros(16, 2))
    loss = create(spec).loss(Experience(completions, old, advantages, old, old, scores=old[:, 0]))
    assert torch.isfinite(loss).all() and torch.isfinite(loss.sum())
    loss.sum().backward()
    assert now.grad is not None and torch.isfinite(now.grad).all()
    if spec == "grpo:beta=1":  # what the policy has lost altogether, the reference still brings back
        lost = (now[:, 0] < 0) & (ref[:, 0] == 0) & (old[:, 0] < 0)
        assert lost.any() and (now.grad[lost] < 0).all()


# The loop: ratios, inner epochs, prompts, budgets.


@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
def test_the_ratio_of_every_first_inner_epoch_is_1(name: str) -> None:
    _, batch = first_batch(f"{name}:inner_epochs=2")
    figures = create(name).metrics(batch)
    assert (figures["ratio"][batch.mask] - 1).abs().max() < 1e-6
    made = serving(budget=96, learning_rate=0.01, warmup_steps=0)
    drift = [abs(step.metrics["approx_kl"]) for step in train(made, create(f"{name}:inner_epochs=2:n=4"))]
    assert len(drift) == 12
    assert max(drift[0::2]) < 1e-6
    assert min(drift[1::2]) > 1e-4


@pytest.mark.parametrize(("inner_epochs", "minibatches"), [(1, 1), (2, 1), (2, 4)])
def test_an_inner_epoch_sees_every_sample_once(inner_epochs: int, minibatches: int) -> None:
    made = serving(budget=16)
    with torch.no_grad():
        spec = f"grpo:n=4:inner_epochs={inner_epochs}:minibatches={minibatches}"
        batches = list(create(spec).batches(made))
    assert [len(batch) for batch in batches] == [16 // minibatches] * (inner_epochs * minibatches)
    rows = [row for batch in batches for row in batch.completions.tokens]
    seen = [sorted(map(repr, rows[i : i + 16])) for i in range(0, len(rows), 16)]
    assert all(epoch == seen[0] for epoch in seen)


@every
def test_prompts_come_in_the_common_order_and_the_budget_counts_every_sample(name: str) -> None:
    offline = serving(budget=32)
    list(offline.pairs())
    n = {"ppo": 1}.get(name, 2)  # of ReMax one sample and the greedy completion
    made = serving(budget=32)
    steps = list(train(made, create(name if name in ("ppo", "remax") else f"{name}:n={n}")))
    assert made.consumed[: len(offline.consumed)] == offline.consumed[: len(made.consumed)]
    assert made.spent.completions == 32 == steps[-1].completions
    assert len(made.consumed) == 32 // n


@every
def test_the_gold_reward_needs_no_reward_model_and_the_other_way_round(name: str) -> None:
    by_model, by_gold = create(name), create(f"{name}:reward=gold")
    assert "reward" in by_model.needs and "gold" not in by_model.needs
    assert by_gold.needs == by_model.needs - {"reward"} | {"gold"}
    assert by_model.needs == type(by_model).needs
    without_model, without_gold = serving(rewards=None, budget=16), serving(budget=16)
    without_gold.sources.gold = None
    for made, objective in ((without_model, by_gold), (without_gold, by_model)):
        if "reference" not in objective.needs:
            made.sources.reference = None
        assert list(train(made, objective))


@pytest.mark.parametrize(("spec", "each"), [("rloo:n=4", 4), ("grpo:n=8", 8), ("raft:n=4", 4), ("remax", 2)])
def test_not_even_the_first_rollout_passes_the_budget(spec: str, each: int) -> None:
    made = serving(budget=16, batch_size=12)
    list(train(made, create(spec)))
    assert made.spent.completions == 16
    assert len(made.consumed) == 16 // each
