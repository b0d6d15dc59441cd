"""What the reference writes after the evaluation prompts, and how samples are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..batch import Tokens
from ..evaluate.measure import decode
from ..judges.reward import reward_scores
from ..models import RewardModel
from ..records import Completion, Prompt
from ..results import Json, derive, whole_folder, write_jsonl
from ..sampling import sample
from .stages import Report, write_cost
from .world import World

CANDIDATES = 4096  # samples that best-of-n holds at once


def reference_samples(world: World, seed: int, report: Report) -> None:
    """The reference's own completions of the evaluation prompts, which every policy of this seed is held against."""
    for temperature in missing_samples(world, seed):
        started = time.perf_counter()
        report(0.0, f"sampling at temperature {temperature:g}")
        rows = sample(
            world.reference.policy,
            world.prompt_tokens(world.eval_prompts),
            derive(seed, "reference samples"),
            world.benchmark.max_new_tokens,
            temperature,
        )
        file = world.reference_samples(seed, temperature)
        with whole_folder(file.parent) as partial:
            write_jsonl(partial / file.name, sample_rows(world, rows))
            write_cost(partial, started)


def missing_samples(world: World, seed: int) -> list[float]:
    """The temperatures at which the reference has not been sampled yet."""
    wanted = (1.0, *world.config.temperatures)
    return [t for t in wanted if not world.reference_samples(seed, t).exists()]


def best_of(world: World, seed: int, report: Report) -> None:
    """Best-of-n of the reference, by the reward model that online objectives of this seed optimise.

    The n are nested: the best of 4 is chosen from the first four samples of the best of 16. Another list of n is drawn
    anew.
    """
    started, most = time.perf_counter(), max(world.config.best_of)
    prompts, model = world.prompt_tokens(world.eval_prompts), world.reward_model(seed)
    part = max(1, CANDIDATES // most)
    drawn: list[list[tuple[Tokens, float]]] = []
    for start in range(0, len(prompts), part):
        report(start / len(prompts), f"best of {most}: prompt {start + 1} of {len(prompts)}")
        asked = [row for row in prompts[start : start + part] for _ in range(most)]
        purpose = derive(seed, f"best of n/{start}")
        rows = sample(world.reference.policy, asked, purpose, world.benchmark.max_new_tokens)
        scored = list(zip(rows, reward_of(world, model)(rows), strict=True))
        drawn += [scored[i : i + most] for i in range(0, len(scored), most)]
    with whole_folder(world.stage("best_of", seed)) as partial:
        for n in world.config.best_of:
            best = [max(candidates[:n], key=lambda candidate: candidate[1]) for candidates in drawn]
            lines = sample_rows(world, [row for row, _ in best])
            scored_lines = [line | {"score": score} for line, (_, score) in zip(lines, best, strict=True)]
            write_jsonl(partial / f"{n}.jsonl", scored_lines)
        write_cost(partial, started)


def reward_of(world: World, model: RewardModel) -> Callable[[Sequence[Tokens]], list[float]]:
    """The run's own reward model reads the policy's ids; a user's reads the text, with a tokenizer of its own."""
    if not world.config.reward_model:
        return lambda rows: model.score([row.prompt + row.completion for row in rows]).tolist()
    return lambda rows: reward_scores(model, *texts(world, rows))


def sample_rows(world: World, rows: Sequence[Tokens]) -> list[Json]:
    """Samples of the evaluation prompts as lines of a file, with the rewards that no policy was trained on."""
    prompts, texts = world.eval_prompts, [decode(world.tokenizer, row) for row in rows]
    gold, judge = world.benchmark.gold(prompts, texts), world.judge_reward
    proxy = None if judge is None else judge.score([row.prompt + row.completion for row in rows]).tolist()
    return [
        {
            "prompt_id": row.prompt_id,
            "prompt": prompt.text,
            "asked": prompt,
            "completion": text.text,
            "ended": text.ended,
            "length": len(row.completion),
            "reward": None if gold is None else gold[i],
            "proxy_reward": None if proxy is None else proxy[i],
        }
        for i, (prompt, text, row) in enumerate(zip(prompts, texts, rows, strict=True))
    ]


def texts(world: World, rows: Sequence[Tokens]) -> tuple[list[Prompt], list[Completion]]:
    """Prompts of the run, and what was sampled after them, as text."""
    return [world.prompts_by_id[row.prompt_id] for row in rows], [decode(world.tokenizer, row) for row in rows]
