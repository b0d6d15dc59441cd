from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from typer.testing import CliRunner

from alignbench import InputError, SmallModel
from alignbench.cli import app
from alignbench.mismatched import mismatched_rows
from alignbench.models import Policy, small_tokenizer
from alignbench.plugins import recreate
from alignbench.speed import At, Settings, resolve, speed
from alignbench.speed import _run as run_apart
from alignbench.speed import measure as instruments
from alignbench.speed.arithmetic import Size, count, forward_flops, rollout_flops, training_flops
from alignbench.speed.contenders import InOrder, Met, Run, Task, items, needed, run_here
from alignbench.speed.measure import Yardstick
from alignbench.speed.plain import PaddedForward
from alignbench.speed.prepare import prepare
from alignbench.speed.table import as_markdown
from tests import small

WORDS = [f"w{i:02}" for i in range(40)]
HAS_TRL = importlib.util.find_spec("trl") is not None
needs_trl = pytest.mark.skipif(not HAS_TRL, reason="TRL is not installed: it comes with the extra `speed` only")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers of width 32 with a word tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("speed") / "gpt2"
    tokenizer = small_tokenizer([" ".join(WORDS)], SmallModel("words", vocabulary=60, context=64))
    config = hf.GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Policy(hf.GPT2LMHeadModel(config), tokenizer).save(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of unequal lengths."""
    file = tmp_path_factory.mktemp("speed") / "pairs.jsonl"
    texts = [(WORDS[i : i + 3 + i % 4], WORDS[2 * i : 2 * i + 2 + i % 3], WORDS[20 - i : 25 - i]) for i in range(12)]
    names = ("prompt", "chosen", "rejected")
    lines = [json.dumps(dict(zip(names, map(" ".join, text), strict=True))) for text in texts]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def settings(model: Path, pairs: Path, tmp_path: Path) -> Callable[..., Settings]:
    def make(**given: Any) -> Settings:
        chosen: dict[str, Any] = {"against": "plain", "batch_size": 4, "steps": 2, "repeats": 1, "threads": 1}
        chosen |= {"model": str(model), "data": str(pairs), "max_new_tokens": 5, "out": str(tmp_path / "out")}
        return resolve(**{**chosen, **given})

    return make


@pytest.fixture
def task(settings: Callable[..., Settings], tmp_path: Path) -> Callable[..., Task]:
    """The task of one contender, its folder made."""

    def make(contender: str, **given: Any) -> Task:
        of = settings(**given)
        prepared = prepare(of, tmp_path / "prepared")
        scratch = tmp_path / f"scratch-{contender}"
        scratch.mkdir()
        return Task(
            contender, of.spec, prepared.model, prepared.reward, prepared.dataset, of.dtype, of.batch_size, of.steps,
            of.threads, of.max_tokens, of.max_new_tokens, "cpu", scratch,
        )  # fmt: skip

    return make


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "SIDE", 16)


def nothing(_: object) -> None:
    """For whoever reports progress."""


def ran(task: Task) -> Run:
    return run_here(task, Yardstick(torch.float32, "cpu"), nothing)


def test_ours_and_plain_have_equal_losses_in_processes_of_their_own(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    seen: list[At] = []
    result = speed(settings(), seen.append)
    check = result["summary"]["checks"]["plain"]
    assert check["same_loss"] and check["same_tokens"]
    assert check["difference"] < 1e-5
    assert check["difference_later"] < 1e-5  # the gradients of the steps before are the same
    # The policy stands apart from the reference, so that the loss is not log 2, which a wrong reference would show too.
    assert abs(check["first_losses"][0] - math.log(2)) > 10 * result["summary"]["tolerance"]
    for found in result["runs"].values():
        assert [len(run["round_seconds"]) for run in found] == [3]
        assert found[0]["threads"] == 1 and found[0]["omp_num_threads"] == "1"
        assert found[0]["peak_memory_bytes"] > found[0]["bytes_before_the_model"] > 0
        assert found[0]["round_flops"] == result["runs"]["plain"][0]["round_flops"] > 0
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # Ctrl-C works again
    assert seen[-1] == At(6, 6, "repetition 1 of 1: plain", "round 3")
    stored = Path(result["stored"])
    assert json.loads(stored.read_text())["summary"] == json.loads(json.dumps(result["summary"]))
    assert stored.name == "gpt2-dpo-float32.json"
    assert stored.with_suffix(".md").read_text() == as_markdown(result)


@pytest.mark.usefixtures("small_products")
@pytest.mark.parametrize("objective", ["kto", "ppo", "ppo:minibatches=2"])
def test_other_objectives_have_equal_losses(task: Callable[..., Task], objective: str, tmp_path: Path) -> None:
    of = task("alignbench", objective=objective)
    ours = ran(of)
    plain = ran(replace(of, contender="plain"))
    assert ours.tokens == plain.tokens
    assert len(ours.rounds.seconds) == len(plain.rounds.seconds) == 3
    steps = {"kto": 3, "ppo": 6, "ppo:minibatches=2": 12}[objective]
    assert len(ours.rounds.losses) == steps
    assert ours.rounds.losses == pytest.approx(plain.rounds.losses, abs=1e-5)
    assert ours.round_flops == plain.round_flops > 0
    assert (ours.reference_seconds > 0) == (objective == "kto")
    assert plain.reference_seconds == 0
    assert (ours.phases["sample"] > 0) == (objective != "kto")
    assert sum(ours.phases.values()) == pytest.approx(sum(ours.rounds.seconds[1:]), rel=0.05)


@pytest.mark.usefixtures("small_products")
def test_bf16_reaches_the_passes(task: Callable[..., Task]) -> None:
    of = task("plain")
    exact, rounded = ran(of), ran(replace(of, dtype="bf16"))
    assert 1e-7 < abs(exact.rounds.losses[0] - rounded.rounds.losses[0]) < 0.05


def test_the_records_are_served_in_the_order_in_which_they_were_prepared(task: Callable[..., Task]) -> None:
    of = task("alignbench", batch_size=3, steps=3)
    engine = small.engine(of.dataset, batch_size=3, budget=24)
    ordered = InOrder(engine.model, engine.sources, engine.training, engine.budget, 0)
    list(ordered.pairs())
    assert ordered.consumed == [chosen.prompt_id for chosen, _ in of.dataset.pairs]


def test_the_padded_pass_is_each_row_by_itself() -> None:
    policy, rows = small.policy("gpt2"), small.rows()
    with torch.no_grad():
        padded = PaddedForward(policy, rows, with_states=True)
        alone = [small.full_logps(policy, row) for row in rows]
        assert torch.allclose(padded.logps, torch.cat(alone), atol=1e-5)
        assert len(padded.states) == sum(len(row.completion) + 1 for row in rows)
        head = policy.model.get_output_embeddings()
        first = head(padded.states[: len(rows[0].completion)]).log_softmax(-1)
    assert torch.allclose(padded.entropy[: len(first)], -(first.exp() * first).sum(1), atol=1e-5)
    assert torch.allclose(padded.collision[: len(first)], first.exp().square().sum(1).log(), atol=1e-5)


@needs_trl
def test_trl_has_the_same_loss_on_pairs(settings: Callable[..., Settings]) -> None:
    result = speed(settings(against="trl"), nothing)
    assert not result["failed"]
    assert list(result["runs"]) == ["alignbench", "trl", "trl cached"]
    for check in result["summary"]["checks"].values():
        assert check["same_loss"] and check["same_tokens"]
        assert check["difference"] < 1e-5
        assert check["difference_later"] < 1e-5
    seconds = {name: found[0]["reference_seconds"] for name, found in result["runs"].items()}
    assert seconds["alignbench"] > 0 and seconds["trl"] == 0 and seconds["trl cached"] > 0


@needs_trl
@pytest.mark.usefixtures("small_products")
def test_trl_has_the_same_loss_on_labels(task: Callable[..., Task]) -> None:
    of = task("alignbench", objective="kto:beta=0.3:undesirable_weight=0.8")
    found = run_apart(replace(of, contender="trl"), nothing)
    assert isinstance(found, dict), found
    ours = ran(of)
    assert found["losses"] == pytest.approx(ours.rounds.losses, abs=1e-5)
    assert found["tokens"] == ours.tokens


class Deadly:
    """Ends the process that unpickles it, as the kernel does where memory is short."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def test_why_a_contender_failed_is_told(task: Callable[..., Task]) -> None:
    of = task("plain")
    assert "nowhere" in str(run_apart(replace(of, model=Path("nowhere")), nothing))
    assert run_apart(replace(of, dataset=Deadly()), nothing) == (  # type: ignore[arg-type]
        "its process died (exit code 9), most likely for lack of memory"
    )


def test_the_first_draw_is_no_needed_arithmetic_of_the_timed_rounds(task: Callable[..., Task]) -> None:
    size, rows = Size(trunk=100, head=10, attention=3), small.rows()
    of = task("alignbench", objective="ppo")
    met = [Met(1, rows[:1]), Met(1, rows[:1]), Met(2, rows[1:2]), Met(2, rows[1:2])]
    once = rollout_flops(size, size, rows[1:2]) + 2 * training_flops(size, rows[1:2])
    assert needed(of, size, size, met) == (0, once)


def test_mismatched_completions_are_needed_arithmetic(task: Callable[..., Task]) -> None:
    size = Size(trunk=100, head=10, attention=3)
    of = task("alignbench", objective="kto", batch_size=2, steps=2)
    rows, others = items(of.dataset), mismatched_rows(of.dataset)
    met = [Met(2 * step + 2, rows[2 * step : 2 * step + 2]) for step in range(3)]
    trained = training_flops(size, rows[2:4], others[2:4]) + training_flops(size, rows[4:], others[4:])
    assert needed(of, size, None, met) == (forward_flops(size, count([*rows, *others])), trained)


def test_by_default_trl_is_compared_where_it_is_installed(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = True, importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> Any:
        return real(name, package) if name != "trl" else object() if found else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert settings(against="").rivals == ("plain", "trl", "trl cached")
    found = False
    without = settings(against="")
    assert without.rivals == ("plain",)
    assert without.remarks == ("TRL is not compared: TRL is not installed.",)
    with pytest.raises(InputError, match=r"TRL is not installed: pip install 'alignbench\[speed\]'"):
        settings(against="plain,trl")


def test_the_default_objective_trains_on_pairs_against_a_reference(settings: Callable[..., Settings]) -> None:
    spec = settings(objective="").spec
    assert spec.text == recreate("dpo").text
    assert resolve(model="gpt2-small", against="plain").batch_size == 4
    assert resolve(model="tiny", against="plain").batch_size == 8
    assert resolve(model="gpt2-small", objective="kto", against="plain").batch_size == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"against": "plain,verl"}, "--against 'verl' is not known"),
        ({"against": "trl", "objective": "ppo"}, "TRL 1.16 has no trainer for this objective: give --against plain"),
        ({"objective": "sft"}, "must train on pairs, labels or samples, with a reference"),
        ({"objective": "dpo:beta=0.1/0.2"}, "names 2 objectives"),
        ({"objective": "dpo:learning_rate=1e-3"}, "learning_rate is set by this command itself"),
        ({"model": "gpt3"}, "no such folder; give one, or tiny or gpt2-small"),
        ({"dtype": "fp8"}, "must be float32 or bf16"),
        ({"steps": 0}, "--steps 0 must be 1 or more"),
    ],
)
def test_options_that_cannot_be_honoured(settings: Callable[..., Settings], given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        settings(**given)
    assert said in str(error.value)


def test_the_data_must_be_there_and_enough(settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.jsonl is missing"):
        prepare(settings(data="nope.jsonl"), tmp_path)
    with pytest.raises(InputError, match=r"12 usable records, and 3 timed batches after one that warms up take 16"):
        prepare(settings(steps=3), tmp_path)
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"prompt": "w01", "completion": "w02", "label": true}\n', encoding="utf-8")
    with pytest.raises(InputError, match="needs pairs and the file holds single labels"):
        prepare(settings(data=str(labels)), tmp_path)


def test_the_command_says_it_in_one_sentence() -> None:
    done = CliRunner().invoke(app, ["speed", "--against", "verl"])
    assert isinstance(done.exception, InputError)


def test_without_data_the_embedded_texts_serve_and_a_named_model_is_made(tmp_path: Path) -> None:
    of = replace(resolve(against="plain", steps=1, threads=1), batch_size=2)
    prepared = prepare(of, tmp_path)
    assert len(prepared.dataset.pairs) == 4
    config = hf.AutoConfig.from_pretrained(prepared.model)
    assert (config.n_layer, config.n_embd, config.vocab_size) == (4, 256, 50_257)
    assert len(items(prepared.dataset)) == 8
