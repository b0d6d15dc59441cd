"""TRL's side: its own trainers, tokenisation, collators and `compute_loss`; none of its formulas is written here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alignbench import Experience, Tokens
from alignbench.mismatched import mismatched_rows
from alignbench.tokens import Dataset
from tests import small

from . import world
from .world import Answer

EXPERIMENTAL = {"CPO": "cpo", "ORPO": "orpo", "OnlineDPO": "online_dpo"}


def trl(kind: str, what: str) -> Any:
    """The trainer or the configuration of a kind, wherever this release keeps it."""
    folder = f"trl.experimental.{EXPERIMENTAL[kind]}" if kind in EXPERIMENTAL else "trl"
    return getattr(importlib.import_module(folder), kind + what)


def offline(kind: str, data: Dataset, scratch: Path, same_mismatched: bool = False, **settings: Any) -> Answer:
    """The whole of the data as one batch of the trainer `kind`.

    `same_mismatched` gives KTO our mismatched completions in place of those that its trainer has paired.
    """
    given = _texts(kind, data)
    trainer = _trainer(kind, given, scratch, batch=len(data.as_labelled()) if kind == "KTO" else len(given), **settings)
    rows = [trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]
    if same_mismatched:
        others = dict(zip((row for row, _ in data.as_labelled()), mismatched_rows(data), strict=True))
        known = {(row.prompt, row.completion): other.completion for row, other in others.items()}
        rows = [{**row, "KL_completion_ids": list(known[_key(row)])} for row in rows]
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))
    assert sorted(_read(inputs)) == sorted(_expected(kind, data)), "TRL reads other tokens"
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return _answer(loss, trainer)


def online(
    kind: str, scratch: Path, moved: bool, penalty: float = 1.0, met: Experience | None = None, **settings: Any
) -> Answer:
    """One batch of samples, sampled by the policy, met after it has `moved` on, or before.

    Only the sampler is exchanged, for one that gives the world's samples. TRL has no `penalty` for a completion without
    an end, so its reward function takes it off. With `met`, its completions and its `advantages [B, T]` take the place
    of TRL's own.
    """
    rows = world.samples() if met is None else met.completions.tokens
    each = world.SAMPLES if met is None else 1
    world.model("reference").save_pretrained(scratch / "reference")  # TRL loads it from where the policy came from

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        scores = world.reward([Tokens((), tuple(ids)) for ids in completion_ids])
        return [s - penalty * (small.EOS not in ids) for s, ids in zip(scores, completion_ids, strict=True)]

    given = [{"prompt": world.text(row.prompt)} for row in rows]
    # More than one step on a batch of samples: else TRL takes the policy of now for the one that sampled.
    several = {"num_generations": max(each, 2), "num_iterations": 2}
    trainer = _trainer(kind, given, scratch, len(rows), reward_funcs=reward, **several, **settings)
    trainer.current_gradient_accumulation_steps = 1  # the loop of training sets it
    drawn = [list(row.completion) for row in rows]
    trainer._generate_single_turn = lambda *_: (drawn, None) if kind == "GRPO" else drawn
    inputs = trainer._generate_and_score_completions(given)
    assert sorted(_sampled(inputs)) == sorted(row.prompt + row.completion for row in rows), "TRL reads other tokens"
    if met is not None:
        inputs["advantages"] = met.advantages
    trainer.model.load_state_dict(world.weights("moved" if moved else "policy"))
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return _answer(loss, trainer)


def online_pairs(scratch: Path, moved: bool, **settings: Any) -> Answer:
    """The step of the trainer that draws two completions of each prompt and ranks them by their reward."""
    rows = world.samples()
    first, second = rows[0 :: world.SAMPLES], rows[1 :: world.SAMPLES]

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        ids = [[token for token in row if token != small.PAD] for row in completion_ids]
        return world.reward([Tokens((), tuple(row)) for row in ids])

    given = [{"prompt": world.text(row.prompt)} for row in first]
    trainer = _trainer("OnlineDPO", given, scratch, len(given), reward_funcs=reward, **settings)
    prompts = [list(row.prompt) for row in (*first, *second)]
    completions = [list(row.completion) for row in (*first, *second)]
    trainer._generate = lambda *_: (*_padded(prompts, "left"), *_padded(completions, "right"), None)
    trainer.model.load_state_dict(world.weights("moved" if moved else "policy"))
    loss = trainer.training_step(trainer.model, {"prompt": [row["prompt"] for row in given]})
    return _answer(loss, trainer)


def _padded(rows: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask, `[B, T]`."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, small.PAD, side)
    ones = [torch.ones(len(row), dtype=torch.long) for row in rows]
    return ids, torch.nn.utils.rnn.pad_sequence(ones, True, 0, side)


def _sampled(inputs: dict[str, Tensor]) -> Iterator[tuple[int, ...]]:
    """The sequences in a scored batch of samples, without padding."""
    sides = (inputs[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"))
    for prompt, there, completion, drawn in zip(*sides, strict=True):
        yield (*prompt[there.bool()].tolist(), *completion[drawn.bool()].tolist())


def _key(row: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(row["prompt_ids"]), tuple(row["completion_ids"])


def _texts(kind: str, data: Dataset) -> list[dict[str, Any]]:
    """The data as text: prompt and completions; a space between them, which the tokenizer drops."""
    rows = []
    for chosen, rejected in data.pairs:
        prompt = world.text(chosen.prompt)
        sides = {"chosen": " " + world.text(chosen.completion), "rejected": " " + world.text(rejected.completion)}
        rows.append({"prompt": prompt, "completion": sides["chosen"]} if kind == "SFT" else {"prompt": prompt, **sides})
    return rows


def _expected(kind: str, data: Dataset) -> list[tuple[int, ...]]:
    pairs = [chosen for chosen, _ in data.pairs] if kind == "SFT" else [row for row, _ in data.as_labelled()]
    return [row.prompt + row.completion for row in pairs]


def _read(inputs: dict[str, Tensor]) -> Iterator[tuple[int, ...]]:
    """The sequences in a collated batch, without padding."""
    for name in ("", "chosen_", "rejected_"):
        if f"{name}input_ids" in inputs:
            pairs = zip(inputs[f"{name}input_ids"], inputs[f"{name}attention_mask"], strict=True)
            yield from (tuple(ids[mask.bool()].tolist()) for ids, mask in pairs)


def _trainer(
    kind: str, rows: Sequence[dict[str, Any]], scratch: Path, batch: int, reward_funcs: Any = None, **settings: Any
) -> Any:
    datasets: Any = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    arguments = trl(kind, "Config")(
        output_dir=str(scratch),
        per_device_train_batch_size=batch,
        bf16=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    policy = world.classifier() if kind == "Reward" else world.model("policy")
    policy.config._name_or_path = str(scratch / "reference")
    further = {"ref_model": world.model("reference")} if kind in ("DPO", "KTO", "OnlineDPO") else {}
    if reward_funcs is not None:
        further["reward_funcs"] = reward_funcs
    made = trl(kind, "Trainer")(
        model=policy,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(list(rows)),
        processing_class=small.tokenizer(),
        **further,
    )
    made.model.train()
    return made


def _answer(loss: Tensor, trainer: Any) -> Answer:
    gradient = {name: given.grad for name, given in trainer.model.named_parameters() if given.grad is not None}
    return Answer(float(loss.detach()), gradient)
