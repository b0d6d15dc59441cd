from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from rich.console import Console

from alignbench import Tokens
from alignbench.speed import measure as instruments
from alignbench.speed import print_summary, resolve
from alignbench.speed.arithmetic import Count, Size, count, forward_flops, rollout_flops, size_of, training_flops
from alignbench.speed.measure import Rounds, Yardstick, resident_peak
from alignbench.speed.summary import summarise
from alignbench.speed.table import as_markdown, blocks
from tests import small

SETTINGS = resolve(against="plain", threads=1)

# --- arithmetic ---


def test_the_size_of_a_model_is_counted() -> None:
    # A layer has 32 x 96 (queries, keys, values), 32 x 32 (output) and twice 32 x 128 (the two of the MLP).
    layer = 32 * 96 + 32 * 32 + 2 * 32 * 128
    assert size_of(small.policy("gpt2").model) == Size(2 * layer, 32 * small.VOCABULARY, 2 * 32)


def test_grouped_queries_are_counted_by_the_width_of_the_queries() -> None:
    loaded = small.policy("llama").model  # 2 layers, 4 heads of 8 for queries and 2 for keys, MLP of 48
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48
    assert size_of(loaded) == Size(2 * layer, 32 * small.VOCABULARY, 2 * 32)


PROMPT = (1, 2, 3)
ROWS = [Tokens(PROMPT, (4, 5)), Tokens(PROMPT, (6,)), Tokens((7,), (8, 9)), Tokens(PROMPT, (6,))]


def test_tokens_and_keys_are_counted_by_hand() -> None:
    # Two prompts of 3 and 1 tokens, three different completions of 2, 1 and 2. Keys: the prompts 1 + 2 + 3 and 1, the
    # completions (3 + 1) + (3 + 2), (3 + 1) and (1 + 1) + (1 + 2).
    assert count(ROWS) == Count(read=4 + 5, predicted=5, pairs=7 + 9 + 4 + 5)
    assert count(ROWS, prompts_known=True) == Count(read=5, predicted=5, pairs=9 + 4 + 5)


def test_floating_point_operations_by_hand() -> None:
    size = Size(trunk=100, head=10, attention=3)
    forward = 2 * 100 * 9 + 2 * 10 * 5 + 4 * 3 * 25
    assert forward_flops(size, count(ROWS)) == forward
    assert training_flops(size, ROWS) == 6 * 100 * 9 + 6 * 10 * 5 + 12 * 3 * 25
    mismatched = [Tokens(PROMPT, (8, 9))]  # 2 tokens, 4 + 5 keys, the prompt known
    assert training_flops(size, ROWS, mismatched) == 3 * forward + 2 * 100 * 2 + 2 * 10 * 2 + 4 * 3 * 9
    reward = Size(trunk=7, head=0, attention=2)
    assert rollout_flops(size, reward, ROWS) == 3 * forward + 2 * 7 * 9 + 4 * 2 * 25


# --- instruments ---


def test_steps_on_one_draw_are_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "SIDE", 16)
    clock = iter([0.0, 1.0])  # the yardstick's first product
    monkeypatch.setattr(instruments, "now", lambda _: next(clock))
    yardstick = Yardstick(torch.float32, "cpu")
    # begin; then each step's end, a product that takes half a second, and the next beginning
    times = [10.0, 10.0, 12.0, 12.0, 12.5, 12.5, 15.5, 15.5, 16.0, 16.0, 20.0, 20.0, 20.5, 20.5]
    clock = iter(times)
    rounds = Rounds(yardstick, "cpu", lambda _: None)
    rounds.begin()
    rounds.end_step("one", 0.3)
    rounds.end_step("one", 0.2)
    rounds.end_step("two", 0.1)
    assert rounds.seconds == [2.0 + 3.0, 4.0]
    assert rounds.losses == [0.3, 0.2, 0.1]
    assert yardstick.rates == [2 * 16**3 / 0.5] * 3


def test_the_peak_of_memory_sees_what_was_freed() -> None:
    before = resident_peak()
    block = torch.ones(100 * 2**20 // 4 + (before // 4))
    del block
    assert resident_peak() - before > 90 * 2**20


# --- summary and tables ---


def figures(seconds: float, reference: float = 0.0, loss: float = 0.7, memory: float = 1e9) -> dict[str, Any]:
    """One run of two timed rounds of 4 pairs after one that warms up, 12 pairs of reference."""
    return {
        "losses": [loss, 0.6, 0.5], "tokens": [90, 100, 100], "round_seconds": [50.0, seconds, seconds],
        "round_items": 4, "round_flops": 8 * 12e9, "reference_seconds": reference, "reference_items": 12,
        "reference_flops": 12 * 4e9, "matrix_rates": [50e9, 100e9, 100e9], "peak_memory_bytes": memory,
        "how": "somehow", "phases": {"sample": 0.0, "score": 1.0, "train": 3.0},
    }  # fmt: skip


def summary(**theirs: Any) -> dict[str, Any]:
    runs = {"alignbench": [figures(2.0, 3.0), figures(4.0, 3.0)], "plain": [figures(8.0, **theirs)] * 2}
    return summarise(SETTINGS, runs, {})


def test_rates_and_ratios_by_hand() -> None:
    found = summary(memory=4e9)
    ours, plain = found["contenders"]["alignbench"], found["contenders"]["plain"]
    # Ours: a pair takes 3/12 s of reference and 2/4 or 4/4 s of training; theirs 8/4 s with everything in it.
    assert ours["rate_1"] == {"median": (1 / 0.75 + 1 / 1.25) / 2, "least": 1 / 1.25, "most": 1 / 0.75}
    assert ours["rate_3"]["most"] == 3 / (0.25 + 3 * 0.5)
    assert plain["rate_1"]["median"] == plain["rate_3"]["median"] == 0.5
    assert found["ratios"]["plain"]["rate_1"]["least"] == pytest.approx(2 / 1.25)
    assert found["ratios"]["plain"]["rate_1"]["most"] == pytest.approx(2 / 0.75)
    assert found["ratios"]["plain"]["memory"] == {"median": 0.25, "least": 0.25, "most": 0.25}
    # 16 GFLOP a pair in 0.75 s at best, of 100 GFLOP/s; in training alone 12 in 0.5 s. A live reference is in training.
    assert ours["share"]["most"] == pytest.approx(16 / 0.75 / 100)
    assert ours["training_share"]["most"] == pytest.approx(12 / 0.5 / 100)
    assert plain["training_share"] == plain["share"]
    assert ours["tokens"]["most"] == pytest.approx(200 / 8 / 0.75)


def result_of(found: dict[str, Any]) -> dict[str, Any]:
    data = {"source": "x", "records": 12, "mean_prompt_tokens": 3, "mean_completion_tokens": 4, "vocabulary": 60}
    described = {"objective": "[red]dpo", "model": "tiny", "dtype": "float32", "batch_size": 4, "threads": 1}
    described |= {"steps": 2, "repeats": 2, "online": False, "remarks": ["TRL is not compared."]}
    return {
        "summary": found, "settings": described, "data": data, "hardware": {"device": "cpu"},
        "runs": dict.fromkeys(found["contenders"]), "failed": {},
    }  # fmt: skip


def shown(result: dict[str, Any]) -> str:
    file = io.StringIO()
    print_summary(result, Console(file=file, width=120))
    return file.getvalue()


def test_ratios_come_first() -> None:
    result = result_of(summary())
    first, second, third = blocks(result)
    assert first.columns[0] == "alignbench against" and first.rows[0][:2] == ("plain", "2.13x (1.6x .. 2.67x)")
    assert second.rows[0][3] == "the same"
    assert third.rows[0] == ("pairs/s, one epoch", "1.07 (0.8 .. 1.33)", "0.5")
    for text in (shown(result), as_markdown(result)):
        assert text.index("2.13x (1.6x .. 2.67x)") < text.index("1.07 (0.8 .. 1.33)")
        assert "[red]dpo" in text and "TRL is not compared." in text
    assert f"| {' | '.join(first.rows[0])} |" in as_markdown(result)


@pytest.mark.parametrize("loss", [0.7002, 0.5])
def test_another_loss_is_not_compared(loss: float) -> None:
    found = summary(loss=loss)
    assert found["ratios"]["plain"] is None
    text = shown(result_of(found))
    assert "another loss" in text and "NOT the same" in text and "2.13x" not in text


def test_other_tokens_are_not_compared() -> None:
    runs = {"alignbench": [figures(2.0)], "plain": [{**figures(2.0), "tokens": [91, 100, 100]}]}
    assert summarise(SETTINGS, runs, {})["ratios"]["plain"] is None
