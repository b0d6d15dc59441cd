"""TRL's trainers on the same tokens in the same order. TRL is imported here only, and only in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

from ..batch import Tokens
from ..mismatched import mismatched_rows
from .arithmetic import size_of
from .contenders import LEARNING_RATE, Met, Run, Task, items, load_apart, load_plain, needed, tokens_of
from .measure import Rounds, Yardstick, now

# The trainer for what an objective needs. Whether its loss is the same one, the first step shows.
TRAINERS = {frozenset({"pairs", "reference"}): "DPO", frozenset({"labels", "reference"}): "KTO"}


def run_trl(task: Task, yardstick: Yardstick, tell: Callable[[str], None]) -> Run:
    """Train with TRL: gradient checkpointing off, its reference live or (contender "trl cached") computed beforehand.

    Everything else is TRL's default, its fused AdamW included, but for what must be alike: tokens, batches and their
    order, loss settings of the same name, learning rate, no dropout, no truncation, precision.
    """
    library: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    name = TRAINERS[task.spec.plugin.needs]
    run = Run(Rounds(yardstick, task.device, tell))
    run.how = f"trl.{name}Trainer {library.__version__}"
    policy, reference = load_apart(task), load_plain(task)
    trainer_class = watched_trainer(getattr(library, f"{name}Trainer"), run, task, tell)
    trainer = trainer_class(
        model=policy.model,
        ref_model=reference.model,
        args=_arguments(task, getattr(library, f"{name}Config")),
        train_dataset=datasets.Dataset.from_list(rows_for_trl(task)),
        processing_class=policy.tokenizer,
    )
    if task.contender == "trl cached":
        trainer.ref_model = None  # as where TRL loads the reference itself: it is not kept when its work is done
    del reference
    transformers: Any = importlib.import_module("transformers")
    trainer.remove_callback(transformers.PrinterCallback)
    run.rounds.begin()
    trainer.train()
    met = [Met(step, batch) for step, batch in enumerate(batches(task))]
    run.tokens = [int(seen) for seen in trainer.tokens_met]
    run.rounds.losses = [float(loss) for loss in trainer.losses]
    assert run.tokens == [tokens_of(batch.rows) for batch in met], "TRL was given other tokens"
    run.reference_flops, run.round_flops = needed(task, size_of(policy.model), None, met)
    return run


def _arguments(task: Task, config_class: Any) -> Any:
    """The configuration; hyper-parameters of the objective go to TRL's setting of the same name, where there is one."""
    known = {field.name for field in fields(config_class)}
    own = {name: value for name, value in task.spec.params.items() if name in known}
    return config_class(
        output_dir=str(task.scratch / "trl"),
        per_device_train_batch_size=task.batch_size,
        max_steps=1 + task.steps,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="linear",
        train_sampling_strategy="sequential",
        max_length=None,
        gradient_checkpointing=False,
        precompute_ref_log_probs=task.contender == "trl cached",
        bf16=task.dtype == "bf16",
        use_cpu=task.device == "cpu",
        dataloader_pin_memory=task.device != "cpu",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **own,
    )


def batches(task: Task) -> list[list[Tokens]]:
    """The sequences of each step, first all chosen and then all rejected where they are pairs."""
    width = task.batch_size
    if task.paired:
        parts = [task.dataset.pairs[i * width : (i + 1) * width] for i in range(1 + task.steps)]
        return [[*(chosen for chosen, _ in part), *(rejected for _, rejected in part)] for part in parts]
    rows = items(task.dataset)
    return [rows[i * width : (i + 1) * width] for i in range(1 + task.steps)]


def rows_for_trl(task: Task) -> list[dict[str, Any]]:
    """The data in TRL's tokenised form: the very ids that our engine reads."""
    if task.paired:
        return [
            {
                "prompt_ids": list(chosen.prompt),
                "chosen_ids": list(chosen.completion),
                "rejected_ids": list(rejected.completion),
            }
            for chosen, rejected in task.dataset.pairs
        ]
    labelled, others = task.dataset.as_labelled(), mismatched_rows(task.dataset)
    return [
        {
            "prompt_ids": list(row.prompt),
            "completion_ids": list(row.completion),
            "KL_completion_ids": list(other.completion),
            "label": desirable,
        }
        for (row, desirable), other in zip(labelled, others, strict=True)
    ]


def watched_trainer(trainer_class: Any, run: Run, task: Task, tell: Callable[[str], None]) -> Any:
    """The trainer with our ids in place of its own tokenisation, and a clock. What it computes is untouched."""
    callback: Any = importlib.import_module("transformers").TrainerCallback

    class Clock(callback):  # type: ignore[misc]
        """Ends a round where an optimizer step ends."""

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            run.rounds.end_step(state.global_step, 0.0)

    class Watched(trainer_class):  # type: ignore[misc]
        """Notes losses and tokens, and times the precomputed reference."""

        def __init__(self, **given: Any) -> None:
            self.losses: list[torch.Tensor] = []
            self.tokens_met: list[torch.Tensor] = []
            super().__init__(**given)
            self.add_callback(Clock())

        def _prepare_dataset(self, dataset: Any, *given: Any) -> Any:
            return dataset  # it is tokenised

        def _precompute_ref_logps(self, dataset: Any, *given: Any) -> Any:
            tell("reference pass")
            first = [dataset[i] for i in range(min(task.batch_size, len(dataset)))]
            self.compute_ref_log_probs(self.ref_model, self._prepare_inputs(self.data_collator(first)))  # warms up
            started = now(task.device)
            found = super()._precompute_ref_logps(dataset, *given)
            run.reference_seconds = now(task.device) - started
            return found

        def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            loss = super().compute_loss(model, inputs, *given, **named)
            self.losses.append(loss.detach())
            self.tokens_met.append(inputs["attention_mask"].sum())
            return loss

    return Watched
