"""What one step computes: the same in any split of the batch, and the same as plain full logits give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from alignbench import Completions, Engine, Experience, Labelled, Objective, Tokens, create
from alignbench.logprobs import LanguageModel, Path
from alignbench.mismatched import mismatched_rows
from alignbench.models import Policy
from alignbench.plugins import available
from alignbench.train import accumulate, micro_batches
from tests.small import dataset, engine, full_logps, gradient, language_model, off, policy, reward_model

OBJECTIVES = sorted(available("objective"))


def step(
    spec: str, max_tokens: int, dtype: torch.dtype = torch.float32, **settings: Any
) -> tuple[float, dict[str, float], Tensor, int, int]:
    """One batch of an objective: loss, metrics, gradient (the head's too), the parts it was split into, its items."""
    model = LanguageModel(policy(dtype=dtype), Path(True))
    # The batch itself is drawn in the same way; only what is done with it is split.
    serving = engine(model=model, batch_size=8, budget=1000, rewards=reward_model(), **settings)
    objective = create(spec)
    torch.manual_seed(0)
    head = objective.init(serving)
    serving.head = head = None if head is None else head.to(dtype)
    with torch.no_grad():
        batch = next(iter(objective.batches(serving)))
    model.max_tokens = max_tokens
    loss, metrics = accumulate(objective, batch, serving)
    parameters = [*model.policy.model.parameters(), *(head.parameters() if head is not None else ())]
    return loss, metrics, gradient(iter(parameters)), len(micro_batches(batch, model)), len(batch)


@pytest.mark.filterwarnings("ignore:KTO")
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 3e-6)])
def test_one_part_of_8_equals_8_parts_of_1(name: str, dtype: torch.dtype, tolerance: float) -> None:
    whole, single, several = step(name, 10_000, dtype), step(name, 1, dtype), step(name, 40, dtype)
    assert (whole[3], single[3]) == (1, whole[4])
    assert 1 < several[3] < whole[4]
    # In float64 what is left is the reference, which is kept in float32; in float32 the order of the sums.
    for split in (single, several):
        assert off(split[2], whole[2]) < tolerance
        assert split[0] == pytest.approx(whole[0], rel=1e-5, abs=1e-5)
        assert split[1] == pytest.approx(whole[1], rel=1e-4, abs=1e-5)


class Drifts(Objective[Labelled]):
    """Notes the drift that each part of a batch sees."""

    paper = "none"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "reference"})
    seen: ClassVar[list[list[float]]] = []

    def batches(self, engine: Engine) -> Iterator[Labelled]:
        return engine.labelled()

    def loss(self, batch: Labelled) -> Tensor:
        self.seen.append(batch.mismatched_log_ratio.tolist())
        return batch.completions.logp


def test_the_drift_of_a_batch_is_the_same_in_all_its_parts() -> None:
    Drifts.seen.clear()
    model = language_model(max_tokens=1)
    serving = engine(model=model, batch_size=8, budget=8)
    batch = next(serving.labelled())
    accumulate(Drifts(), batch, serving)
    assert len(Drifts.seen) == 8
    assert all(seen == Drifts.seen[0] for seen in Drifts.seen)
    whole = next(engine(batch_size=8, budget=8).labelled())
    assert Drifts.seen[0] == pytest.approx(whole.mismatched_log_ratio.tolist(), rel=1e-4, abs=1e-5)


# Against plain full logits: one row at a time, log-softmax, and the formula of the paper.


def log_ratio(model: Policy, reference: Policy, row: Tokens) -> Tensor:
    with torch.no_grad():
        ref = full_logps(reference, row).sum()
    return full_logps(model, row).sum() - ref


def test_dpo_agrees_with_plain_full_logits() -> None:
    data, beta = dataset(), 0.1
    model, reference = policy(seed=0), policy(seed=1)
    total = torch.zeros(())
    for chosen, rejected in data.pairs:
        margin = log_ratio(model, reference, chosen) - log_ratio(model, reference, rejected)
        total = total - logsigmoid(beta * margin) / len(data.pairs)
    total.backward()
    expected = gradient(model.model.parameters())
    serving = engine(data, batch_size=len(data.pairs), budget=1000)
    loss, _ = accumulate(create(f"dpo:beta={beta}"), next(serving.pairs()), serving)
    assert loss == pytest.approx(total.item(), rel=1e-5)
    assert off(gradient(serving.model.policy.model.parameters()), expected) < 1e-5


@pytest.mark.parametrize(("seeds", "drifts"), [((0, 1), True), ((1, 0), False)])
def test_kto_agrees_with_plain_full_logits(seeds: tuple[int, int], drifts: bool) -> None:
    """Where the policy has drifted, and where the drift is negative and clamped."""
    data, beta, good, bad = dataset(), 0.05, 1.2, 0.9
    model, reference = (policy(seed=seed) for seed in seeds)
    with torch.no_grad():
        drift = torch.stack([log_ratio(model, reference, row) for row in mismatched_rows(data)]).mean().item()
    assert (drift > 1) == drifts
    total = torch.zeros(())
    for row, desirable in data.as_labelled():
        reward = beta * (log_ratio(model, reference, row) - max(0.0, drift))
        weight, value = (good, torch.sigmoid(reward)) if desirable else (bad, torch.sigmoid(-reward))
        total = total + weight * (1 - value) / (2 * len(data.pairs))
    total.backward()
    expected = gradient(model.model.parameters())
    start, count = language_model(seeds[0]), 2 * len(data.pairs)
    serving = engine(data, model=start, reference_seed=seeds[1], batch_size=count, budget=1000)
    batch = next(serving.labelled())
    kto = create(f"kto:beta={beta}:desirable_weight={good}:undesirable_weight={bad}")
    loss, _ = accumulate(kto, batch, serving)
    assert batch.mismatched_log_ratio.mean().item() == pytest.approx(drift, rel=1e-4)
    assert loss == pytest.approx(total.item(), rel=1e-5)
    assert off(gradient(serving.model.policy.model.parameters()), expected) < 1e-5


class Reinforce(Objective[Experience]):
    """Hands its scored samples on as they are, without selecting from them."""

    paper = "none"
    needs: ClassVar[frozenset[str]] = frozenset({"sampling"})

    def batches(self, engine: Engine) -> Iterator[Experience]:
        for prompts in engine.prompts():
            samples = engine.score(engine.sample(prompts))
            yield Experience(samples, samples.logps, samples.mask * 1.0)

    def loss(self, batch: Experience) -> Tensor:
        return -batch.advantages * (batch.completions.logps - batch.old_logps).exp()


@pytest.mark.parametrize("max_tokens", [1, 1000])
def test_samples_that_were_scored_are_scored_anew_in_the_loss(max_tokens: int) -> None:
    serving = engine(model=language_model(max_tokens=max_tokens), batch_size=8, budget=8)
    with torch.no_grad():
        batch = next(Reinforce().batches(serving))
    loss, _ = accumulate(Reinforce(), batch, serving)
    assert loss == pytest.approx(-1, abs=1e-6)  # every ratio is 1
    found = gradient(serving.model.policy.model.parameters())
    n = sum(len(row.completion) for row in batch.completions.tokens)
    torch.stack([-full_logps(serving.model.policy, row).sum() / n for row in batch.completions.tokens]).sum().backward()
    assert off(found, gradient(serving.model.policy.model.parameters())) < 1e-5


def test_metrics_are_reduced_like_the_loss() -> None:
    """A [B] metric over the sequences that count (not NaN), a [B, T] metric over tokens."""

    class Measured(Objective[Completions]):
        paper = "none"
        needs: ClassVar[frozenset[str]] = frozenset({"demonstrations"})

        def batches(self, engine: Engine) -> Iterator[Completions]:
            return engine.demonstrations()

        def loss(self, batch: Completions) -> Tensor:
            return -batch.logps

        def metrics(self, batch: Completions) -> dict[str, Tensor]:
            odd = batch.length % 2 == 1
            return {
                "odd": torch.where(odd, batch.length.float(), math.nan),
                "token": batch.mask.cumsum(1).float(),
                "never": torch.full_like(batch.logp, math.nan),
            }

    for max_tokens in (1, 1000):
        serving = engine(model=language_model(max_tokens=max_tokens), batch_size=8, budget=8)
        batch = next(serving.demonstrations())
        lengths = batch.length.tolist()
        _, metrics = accumulate(Measured(), batch, serving)
        odd = [n for n in lengths if n % 2]
        tokens = [t for n in lengths for t in range(1, n + 1)]
        assert 0 < len(odd) < 8
        assert metrics == pytest.approx({"odd": sum(odd) / len(odd), "token": sum(tokens) / len(tokens)})
