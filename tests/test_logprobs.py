"""Log-probabilities: prompts shared against plainly, which path a model takes, and what must not matter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from alignbench import Tokens
from alignbench.logprobs import LanguageModel, Path, head_of, path, path_from_config, probe, shared_forward
from alignbench.logprobs.forward import ChunkedForward, FullForward
from alignbench.models import Policy
from tests.small import BOS, EOS, FAMILIES, GROUPED, full_logps, gradient, ids, language_model, off, policy, rows

Pass = Callable[[Policy, Sequence[Tokens]], FullForward]
SHARING = [
    "llama",
    "llama-eager",
    "gpt2",
    "gpt-neox",
    "opt",
    "qwen2",
    "mistral",
    "gemma2",
    "gemma2-cap",
    "cohere",
    "granite",
]
DOUBLE = ["llama", "gpt2", "gpt-neox", "opt", "qwen2", "mistral"]
PLAIN = ["mistral-window", "gemma2-window", "bloom", "falcon-alibi"]


def scoring(path: Path) -> Pass:
    return lambda model, rows: path.score(model, rows, head_of(model.model))


def shared(model: Policy, rows: Sequence[Tokens]) -> FullForward:
    return scoring(Path(True))(model, rows)


PASSES: list[Pass] = [
    scoring(path) for path in (Path(True), Path(True, tiles=False), Path(False), Path(False, chunked=False))
]


def flat(model: Policy, rows: Sequence[Tokens]) -> Tensor:
    return torch.cat([full_logps(model, row) for row in rows])


def values_and_gradient(model: Policy, compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """The log-probs, and the gradient of a sum of them in which each has a weight of its own."""
    logps = compute()
    weights = torch.randn(len(logps), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (logps * weights.to(logps.dtype)).sum().backward()
    return logps.detach(), gradient(model.model.parameters())


@pytest.mark.parametrize(
    ("family", "dtype", "tolerance"),
    [(f, torch.float32, 1e-5) for f in SHARING] + [(f, torch.float64, 1e-9) for f in DOUBLE],
)
def test_a_shared_prompt_changes_neither_values_nor_gradient(family: str, dtype: torch.dtype, tolerance: float) -> None:
    model = policy(family, dtype=dtype)
    expected = values_and_gradient(model, lambda: flat(model, rows()))
    assert expected[0].std() > 0.4, "the distributions are too flat to tell anything"
    for forward in PASSES:
        logps, slope = values_and_gradient(model, lambda forward=forward: forward(model, rows()).logps)  # type: ignore[misc]
        assert logps.dtype == dtype
        assert off(logps, expected[0]) < tolerance
        assert off(slope, expected[1]) < tolerance


@pytest.mark.parametrize("family", PLAIN)
def test_the_plain_path_is_right_where_the_shared_one_is_not(family: str) -> None:
    model = policy(family)
    expected = values_and_gradient(model, lambda: flat(model, rows()))
    logps, slope = values_and_gradient(model, lambda: scoring(Path(False))(model, rows()).logps)
    assert off(logps, expected[0]) < 1e-5
    assert off(slope, expected[1]) < 1e-5


@pytest.mark.parametrize("forward", PASSES)
def test_a_state_precedes_each_token_and_one_follows_the_last(forward: Pass) -> None:
    model = policy()
    states = forward(model, rows()).states.split([len(row.completion) + 1 for row in rows()])
    for row, found in zip(rows(), states, strict=True):
        sequence = torch.tensor([row.prompt + row.completion])
        hidden = model.model(input_ids=sequence, output_hidden_states=True).hidden_states[-1][0]
        assert off(found, hidden[len(row.prompt) - 1 :]) < 1e-5


def test_rotary_positions_that_depend_on_the_batch_see_every_sequence_alone() -> None:
    model, first = policy("llama-dynamic"), Tokens((BOS,), (5,))
    found = probe(model, rows())
    assert found == Path(False, "dynamic rotary positions beyond their original length", alone=True)

    def alone(row: Tokens) -> Tensor:
        full_logps(model, first)  # shorter than the original length: what was read before is forgotten
        return full_logps(model, row)

    expected = values_and_gradient(model, lambda: torch.cat([alone(row) for row in rows()]))
    logps, slope = values_and_gradient(model, lambda: scoring(found)(model, rows()).logps)
    assert off(logps, expected[0]) < 1e-5 and off(slope, expected[1]) < 1e-5
    together = scoring(Path(False))(model, rows()).logps
    assert off(together, expected[0]) > 1e-3, "in one batch they would come out the same"


# What must not matter.


@pytest.mark.parametrize("forward", PASSES)
def test_neither_the_batch_nor_its_order_nor_padding_matters(forward: Pass) -> None:
    model, eight = policy(), rows()[:8]
    alone = [forward(model, [row]).logps for row in eight]
    assert off(forward(model, eight).logps, torch.cat(alone)) < 1e-5
    order = random.Random(1).sample(range(8), 8)
    assert off(forward(model, [eight[i] for i in order]).logps, torch.cat([alone[i] for i in order])) < 1e-5
    long = Tokens((BOS, *ids(random.Random(2), 20)), ids(random.Random(3), 30))
    padded = forward(model, [*eight, long]).logps[: sum(len(row.completion) for row in eight)]
    assert off(padded, torch.cat(alone)) < 1e-5


@pytest.mark.parametrize("forward", PASSES)
def test_neighbours_do_not_matter(forward: Pass) -> None:
    """Not the other completions of the same prompt, nor the prompts that are packed into the same row."""
    model = policy()
    for kept in range(len(rows())):
        source, row = random.Random(kept), rows()[kept]
        others = {prompt: (BOS, *ids(source, len(prompt) - 1)) for prompt in {r.prompt for r in rows()}}
        others[row.prompt] = row.prompt
        mixed = [
            r if i == kept else replace(r, prompt=others[r.prompt], completion=ids(source, len(r.completion)))
            for i, r in enumerate(rows())
        ]
        found = forward(model, mixed).logps.split([len(r.completion) for r in mixed])[kept]
        assert off(found, full_logps(model, row)) < 1e-5


def test_a_repeated_row_and_an_end_token_in_the_prompt_are_scored_like_any_other() -> None:
    model, row = policy(), Tokens((BOS, 9, EOS, 11), (12, EOS))
    twice = shared(model, [row, row]).logps
    assert off(twice, flat(model, [row, row])) < 1e-5


def test_packs_change_nothing_and_keep_to_the_limit() -> None:
    whole, packed = language_model(), language_model(max_tokens=20)
    packs = packed.packs(rows())
    assert sorted(i for pack in packs for i in pack) == list(range(len(rows())))
    assert len(packs) > 2
    assert all(len(pack) == 1 or packed.tokens([rows()[i] for i in pack]) <= 20 for pack in packs)
    wide = language_model(max_tokens=30).packs(rows())  # room for every group: no prompt is read twice
    assert all(
        len({j for j, pack in enumerate(wide) for i in pack if rows()[i].prompt == r.prompt}) == 1 for r in rows()
    )
    with torch.no_grad():
        one, several = whole.forward(rows()), packed.forward(rows())
    assert isinstance(one, ChunkedForward) and not isinstance(several, ChunkedForward)
    for name in ("logps", "states", "entropy", "collision"):
        assert off(getattr(several, name), getattr(one, name)) < 1e-5


def test_with_a_gradient_there_is_one_pass() -> None:
    assert isinstance(language_model(max_tokens=1).forward(rows()), ChunkedForward)


def test_the_tokens_of_a_pass_are_those_it_reads() -> None:
    completions, prompts = 4 + 7 + 1 + 2 + 5 + 5 + 3 + 8 + 2 + 6, [3, 9, 1, 6]
    assert language_model().tokens(rows()) == completions + sum(prompts)
    assert language_model(shared=False).tokens(rows()) == completions + 3 * 3 + 9 + 2 * 1 + 4 * 6


# Which path a model takes.


@pytest.mark.parametrize("family", SHARING)
def test_the_shared_path_where_it_is_right(family: str) -> None:
    assert probe(policy(family), rows()) == Path(True)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("mistral-window", "sequences of 14 tokens pass the sliding window of 8"),
        ("gemma2-window", "sequences of 14 tokens pass the sliding window of 8"),
        ("bloom", "ALiBi positions"),
        ("falcon-alibi", "ALiBi positions"),
    ],
)
def test_the_plain_path_where_the_shared_one_is_wrong(family: str, why: str) -> None:
    model = policy(family)
    found = probe(model, rows())
    assert not found.shared and found.chunked
    assert found.why.startswith(why)
    assert str(found) == f"plain ({found.why})"
    scores = LanguageModel(model, found).forward(rows()).logps
    assert off(scores, flat(model, rows())) < 1e-5


@pytest.mark.parametrize("family", ["gemma2-cap", "cohere", "granite"])
def test_the_probe_sees_logits_that_are_changed_in_a_way_we_do_not_know(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = policy(family)
    head = head_of(model.model)
    assert head is not None
    monkeypatch.setattr(path, "head_of", lambda model: replace(head, scale=1.0, cap=None))
    found = probe(model, rows())
    assert not found.shared and not found.chunked and found.why.startswith("the shared pass differs by")
    assert off(LanguageModel(model, found).forward(rows()).logps, flat(model, rows())) < 1e-5


def test_a_model_with_an_attention_of_its_own_reads_rows_under_a_mask() -> None:
    model = policy("gpt-neo")
    assert probe(model, rows()) == Path(True, tiles=False)
    with pytest.raises(RuntimeError, match="attention of its own"):
        shared(model, rows()[:3])


def test_a_head_that_is_more_than_a_linear_layer_is_left_to_the_model() -> None:
    model = policy()
    linear = model.model.get_output_embeddings()
    model.model.set_output_embeddings(torch.nn.Sequential(linear, torch.nn.Tanh()))
    model.model.get_output_embeddings().weight = linear.weight
    found = probe(model, rows())
    assert found == Path(False, "its head is more than a linear layer", chunked=False)
    assert off(LanguageModel(model, found).forward(rows()).logps, flat(model, rows())) < 1e-5


def test_a_window_that_no_sequence_passes_leaves_the_shared_path() -> None:
    short = [row for row in rows() if len(row.prompt) + len(row.completion) <= 8]
    assert {len(row.prompt) + len(row.completion) for row in short} >= {6, 7}
    assert probe(policy("mistral-window"), short) == Path(True)
    config = FAMILIES["mistral-window"]()
    assert path_from_config(config, 8).shared
    assert not path_from_config(config, 9).shared


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "longest", "shared"),
    [
        (hf.LlamaConfig(**GROUPED), 10**6, True),
        (hf.Qwen2Config(**GROUPED, use_sliding_window=False, sliding_window=8), 60, True),
        (hf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=8, max_window_layers=1), 60, False),
        (hf.LlamaConfig(**GROUPED, rope_parameters=DYNAMIC), 64, True),
        (hf.LlamaConfig(**GROUPED, rope_parameters=DYNAMIC), 65, False),
        (hf.LlamaConfig(**GROUPED, rope_parameters=YARN), 60, True),
        (hf.Phi3Config(**GROUPED, rope_parameters=LONG, original_max_position_embeddings=32), 32, True),
        (hf.Phi3Config(**GROUPED, rope_parameters=LONG, original_max_position_embeddings=32), 33, False),
        (SimpleNamespace(use_sliding_window=False, sliding_window=8), 60, True),
        (hf.FalconConfig(alibi=False), 60, True),
        (hf.MptConfig(), 60, False),
    ],
)
def test_the_path_that_a_configuration_allows(config: object, longest: int, shared: bool) -> None:
    allowed = path_from_config(config, longest)
    assert (allowed.shared, bool(allowed.why)) == (shared, not shared)


def test_the_probe_sees_what_the_configuration_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "path_from_config", lambda config, longest: Path(True))
    short = [Tokens((BOS, 5 + i), (9, 10 + i, EOS)) for i in range(6)]
    long = Tokens((BOS, *ids(random.Random(0), 9)), ids(random.Random(1), 5))
    window = policy("mistral-window")
    assert probe(window, short).shared
    assert "differs" in probe(window, [*short, long]).why  # a short probe passes a window: the longest row does not
    assert probe(policy("bloom"), short).why.startswith("the model refused the shared pass: ")


def test_the_probe_shares_prompts_even_where_the_data_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    probed: dict[tuple[int, ...], set[tuple[int, ...]]] = {}

    def recording(policy: Policy, rows: Sequence[Tokens], *others: Any) -> ChunkedForward:
        for row in rows:
            probed.setdefault(row.prompt, set()).add(row.completion)
        return shared_forward(policy, rows, *others)

    monkeypatch.setattr(path, "shared_forward", recording)
    assert probe(policy(), [Tokens((BOS, 5 + i), (9, 10 + i, EOS)) for i in range(6)]).shared
    assert len(probed) >= 4
    assert all(len(completions) > 1 for completions in probed.values())
