"""The models and data that cells share, each made once, by the one training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ..batch import Tokens
from ..benchmark import Split
from ..engine import Budget, LocalEngine, Sources
from ..judges.length import length
from ..logprobs import LanguageModel, probe
from ..logprobs import Path as ScoringPath
from ..mismatched import mismatched_rows
from ..models import Policy, as_reward_model, small_model, small_tokenizer
from ..objective import Training
from ..plugins import Spec
from ..pretrained import check_same_ids
from ..records import Completion, Demonstration, Pair, Prompt
from ..reference import build_cache
from ..results import Json, derive, read_jsonl, whole_folder, write_json, write_jsonl
from ..tokens import Dataset, tokenize_demonstrations
from ..train import Step, train
from .policies import open_policy, prepare, sampler
from .rows import as_row, from_rows, judged_pairs
from .world import SPLITS, World

Report = Callable[[float, str], None]
SHARED_SEED = 0  # stages made once per run: the data and the models that every seed starts from


def start(world: World, report: Report) -> None:
    """The starting model: small and from scratch, or the user's, fine-tuned on the demonstrations; or the user's as it
    is, an adapter merged into its base model to carry another one."""
    started, folder, shape = time.perf_counter(), world.stage("start"), world.stages.model
    if world.config.model:
        policy = open_policy(world.config.model, world.config)
    else:
        report(0.0, "tokenizer")
        tokenizer = small_tokenizer(world.stages.corpus(), shape)
        policy = small_model(tokenizer, shape, derive(SHARED_SEED, "weights"))
        policy.model.to(world.config.device)
        prepare(policy, world.config)
    if world.config.model and not world.config.sft:
        with whole_folder(folder) as partial:
            policy.save(partial)
            write_cost(partial, started)
        return
    demonstrations = world.benchmark.demonstrations()
    spec, training = world.supervised, world.training(world.supervised)
    with whole_folder(folder) as partial:
        info = _supervise(world, policy, demonstrations, spec, training, world.benchmark.sft_epochs, report)
        policy.save(partial)
        write_json(partial / "train.json", {**info, "parameters": _size(policy.model)})
        write_cost(partial, started)


def judge_lm(world: World, report: Report) -> None:
    """The benchmark's small language-model judge, from the starting model, by a curriculum."""
    assert world.stages.judge_lessons is not None
    started = time.perf_counter()
    policy = open_policy(world.start_source, world.config)
    lessons = world.stages.judge_lessons()
    training = world.stages.judge_training
    log: list[Json] = []
    with whole_folder(world.stage("judge_lm")) as partial:
        for phase, items in enumerate(lessons):
            info = _supervise(
                world, policy, items, world.supervised, training, 1.0,
                lambda f, text, phase=phase: report((phase + f) / len(lessons), text),  # type: ignore[misc]
            )  # fmt: skip
            log.append(info)
        policy.save(partial)
        write_json(partial / "train.json", {"phases": log})
        write_cost(partial, started)


def data(world: World, report: Report) -> None:
    """The preference data of every split; pairs may be the reference's own samples."""
    started = time.perf_counter()
    policy = open_policy(world.reference_source, world.config)
    check_same_ids(policy.tokenizer, world.tokenizer, world.reference_source)
    with whole_folder(world.stage("data")) as partial:
        for i, split in enumerate(SPLITS):
            report(i / len(SPLITS), f"{split} preferences")
            records = world.benchmark.preferences(split, sampler(world.benchmark, policy))
            write_jsonl(partial / f"{split}.jsonl", [as_row(record) for record in records])
        # The path is probed on the rows that will be trained on and on the longest sequence that can be sampled, with
        # the model that every cell starts from and with the reference.
        dataset = world.tokenized(from_rows(read_jsonl(partial / "train.jsonl")))
        rows = list(dataset.completions)
        path = probe(policy, [*rows, _longest_sample(world, dataset)])
        if path.shared and world.config.reference:
            path = probe(open_policy(world.start_source, world.config), [*rows, _longest_sample(world, dataset)])
        info = {
            "path": asdict(path),
            "fingerprint": dataset.fingerprint,
            "kind": dataset.kind,
            "train_records": len(dataset.leaders),
            "train_completions": len(dataset.as_labelled()),
            "truncated": dataset.truncated,
            "skipped": len(dataset.skipped),
            "parameters": _size(policy.model),
            "longest": max(len(row.prompt) + len(row.completion) for row in rows),
            **_lists(dataset),
        }
        write_json(partial / "info.json", info)
        write_cost(partial, started)


def _lists(dataset: Dataset) -> Json:
    """What ranked lists hold: their pairs, and the completions in the middle of odd lists, which are in no pair."""
    if not dataset.rankings:
        return {}
    unpaired = len(dataset.completions) - 2 * len(dataset.pairs)
    longest = max(len(ranked) for ranked in dataset.rankings)
    return {"rankings": {"pairs": len(dataset.pairs), "unpaired": unpaired, "longest": longest}}


def _longest_sample(world: World, dataset: Dataset) -> Tokens:
    """The longest prompt that is sampled from, with a completion as long as can be (its own ids, again and again)."""
    prompts = [*world.prompt_tokens(world.eval_prompts), *dataset.prompts]
    prompt = max(prompts, key=lambda row: len(row.prompt)).prompt
    room = min(world.benchmark.max_new_tokens, world.context - len(prompt))
    return Tokens(prompt, (prompt * (room // len(prompt) + 1))[: max(1, room)])


def cache(world: World, report: Report) -> None:
    """Reference log-probs of all training completions, and of the mismatched ones."""
    started = time.perf_counter()
    dataset, reference = world.dataset("train"), world.reference
    rows = list(dataset.completions)
    if world.unpaired and len(dataset.prompts) > 1:  # else nothing can be mismatched, and not everybody asks for it
        rows += mismatched_rows(dataset)
    report(0.1, f"{len(rows)} completions")

    def score(items: Sequence[Tokens]) -> torch.Tensor:
        with torch.no_grad():
            return reference.forward(items).logps

    with whole_folder(world.stage("cache")) as partial:
        write_cost(partial, started, reference_forwards=build_cache(partial, rows, score))


def reward(world: World, seed: int, report: Report) -> None:
    """The reward model that online objectives of this seed optimise, from the training pairs."""
    _reward_model(world, world.stage("reward", seed), "train", derive(seed, "reward model"), report)


def judge_reward(world: World, report: Report) -> None:
    """The reward model that judges, from pairs that no objective sees."""
    _reward_model(world, world.stage("judge_reward"), "judge", derive(SHARED_SEED, "judge reward model"), report)


def held_out(world: World, report: Report) -> None:
    """What people and the true reward say of held-out pairs, as many as there are prompts to evaluate, for judges to be
    held against."""
    started = time.perf_counter()
    pairs = judged_pairs(world.records("eval"))[: world.benchmark.eval_prompts]
    info = {
        "schema": 1,
        "votes": [pair.votes for pair in pairs],
        "gold": _gold_margins(world, pairs),
        "lengths": [(length(pair.chosen.text), length(pair.rejected.text)) for pair in pairs],
    }
    with whole_folder(world.stage("held_out")) as partial:
        write_json(partial / "pairs.json", info)
        write_cost(partial, started)


def _gold_margins(world: World, pairs: Sequence[Pair]) -> list[float] | None:
    prompts: list[Prompt] = [pair.prompt for pair in pairs]
    chosen: list[Completion] = [pair.chosen for pair in pairs]
    first = world.benchmark.gold(prompts, chosen) if pairs else None
    second = world.benchmark.gold(prompts, [pair.rejected for pair in pairs]) if pairs else None
    return None if first is None or second is None else [a - b for a, b in zip(first, second, strict=True)]


def _supervise(
    world: World,
    policy: Policy,
    items: Sequence[Demonstration],
    spec: Spec,
    training: Training,
    epochs: float,
    report: Report,
) -> Json:
    """Train `policy` in place on demonstrations."""
    rows = tokenize_demonstrations(items, policy.tokenizer, policy.context)
    path = probe(policy, rows) if world.config.model else ScoringPath(True)
    model = LanguageModel(policy, path, world.config.max_tokens)
    budget = Budget(max(1, round(len(rows) * epochs)))
    engine = LocalEngine(model, Sources(demonstrations=rows), training, budget, SHARED_SEED)
    return _train(engine, spec, report)


def _reward_model(world: World, folder: Path, split: Split, seed: int, report: Report) -> None:
    started = time.perf_counter()
    pairs = world.dataset(split)
    model = world.load(world.start_source)
    budget = Budget(max(1, round(2 * len(pairs.pairs) * world.benchmark.reward_epochs)))
    spec = world.reward_objective
    engine = LocalEngine(model, Sources(dataset=pairs), world.training(spec), budget, seed)
    with whole_folder(folder) as partial:
        info = _train(engine, spec, report)
        assert isinstance(engine.head, nn.Linear)
        trained = as_reward_model(model.policy, engine.head, folder.name)
        trained.save(partial)
        held = world.dataset("eval").pairs
        rows = [row.prompt + row.completion for pair in held for row in pair]
        scores = trained.score(rows).view(-1, 2) if rows else torch.zeros(0, 2)
        accuracy = float((scores[:, 0] > scores[:, 1]).float().mean()) if rows else None
        write_json(partial / "train.json", {**info, "held_out_accuracy": accuracy, "held_out_pairs": len(held)})
        write_cost(partial, started)


def _train(engine: LocalEngine, spec: Spec, report: Report) -> Json:
    last = None
    for last in train(engine, spec.plugin):
        report(engine.progress, f"step {last.step}  loss {last.loss:.4f}")
    assert isinstance(last, Step)
    return {
        "objective": spec.text,
        "loss": last.loss,
        "metrics": last.metrics,
        "cost": {**engine.spent.cost(), "steps": last.step},
        "settings": engine.training,
    }


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def write_cost(folder: Path, started: float, **counts: int) -> None:
    """`cost.json` of a stage: the seconds of the whole of it, loading included, and what else there is to count."""
    write_json(folder / "cost.json", {"seconds": time.perf_counter() - started, **counts})
