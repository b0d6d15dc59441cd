"""Benchmark `files`: the user's own preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from alignbench import (
    Benchmark,
    Count,
    Demonstration,
    Fraction,
    InputError,
    Kind,
    Objective,
    Pair,
    Positive,
    Preferences,
    Prompt,
    Ranking,
    Sampler,
    SmallModel,
    Split,
    Stages,
    Training,
)
from alignbench.data import Records, check_disjoint, describe_skipped, distinct_prompts, read_records
from alignbench.data import split_by_prompt as deal

from ._rates import PRETRAINED, Rates

# A model of about a million weights made from scratch on the data, with AdamW in batches of 32. Demonstrations: on 550
# short transcripts of Anthropic's harmless-base set, seven passes at 3e-3 reach 5.10 nats a held-out token, at 1e-3
# 5.36. Offline: from there, two passes of DPO at 1e-4 order .59 of the held-out pairs rightly and move log pi(y | x) by
# -5.7 (chosen) and -8.4 nats (rejected). Online and reward model: not measured; the first as offline, the second as on
# the embedded benchmark.
SCRATCH = Rates(demonstrations=3e-3, reward=1e-3, offline=1e-4, online=1e-4)


@dataclass(frozen=True)
class Files(Benchmark):
    """The user's own preferences from a file, a data set folder or a hub id; nobody knows a true reward.

    The prompts are dealt out by a hash: `judge_share` of them to the model that judges, `eval_share` to the evaluation
    and the rest to training, unless `eval_data` brings evaluation data of its own. `split` and `eval_split` name a
    split of a folder or hub data set. Without a model that the user names a small one is made from scratch, whose shape
    is given by `vocabulary`, `layers`, `width` and `context`, and which has learning rates of its own.

    Raises:
        InputError: on first use of the data, where they cannot be read or share prompts with `eval_data`.
    """

    question: ClassVar[str] = "Which reply is the better one: more helpful, honest and harmless?"
    on_policy: ClassVar[bool] = False
    location_fields: ClassVar[tuple[str, ...]] = ("data", "eval_data")

    data: str = ""
    eval_data: str = ""
    split: str = ""
    eval_split: str = ""
    eval_share: Fraction = 0.1
    # Nine of ten replies of the harmless-base set are shorter, in tokens of the small model.
    max_new_tokens: Count = 128
    # From scratch a model needs passes; one that knows the language already needs one (`sft_epochs=1`).
    sft_epochs: Positive = 8.0
    reward_epochs: Positive = 3.0
    vocabulary: Count = 4000
    layers: Count = 3
    width: Count = 128
    context: Count = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval_split and not self.eval_data:
            raise InputError("files: eval_split names a split of eval_data: give that too.")
        if self.judge_share + self._eval_share >= 1:
            raise InputError("files: judge_share and eval_share leave nothing to train on: lower one of them.")

    @property
    def kind(self) -> Kind:
        return self._data.kind

    def notes(self) -> dict[str, object]:
        """For each source how many records it holds and which are skipped, each with its line, field and reason; of
        ranked lists also the completions that are left out."""
        sources = {"data": self._data} | ({"eval_data": self._held_out} if self._held_out else {})
        return {
            name: {
                "source": records.source,
                "kind": records.kind,
                "records": records.total,
                "summary": describe_skipped(records.skipped, records.total),
                "skipped": [skipped._asdict() for skipped in records.skipped],
                **({"left_out": [left._asdict() for left in records.left_out]} if records.left_out else {}),
            }
            for name, records in sources.items()
        }

    def remarks(self) -> list[str]:
        sources = [self._data, *([self._held_out] if self._held_out else [])]
        return [f"{records.source}: {remark}." for records in sources for remark in records.remarks]

    def stages(self) -> Stages:
        shape = SmallModel("bytes", self.vocabulary, self.layers, self.width, context=self.context)
        return Stages("sft", "reward_model", shape, self._corpus)

    def demonstrations(self) -> Sequence[Demonstration]:
        shown = []
        for record in self._part("train"):
            if isinstance(record, Pair):
                shown.append(Demonstration(record.prompt, record.chosen))
            elif isinstance(record, Ranking):
                shown.append(Demonstration(record.prompt, record.completions[0]))
            elif record.desirable:
                shown.append(Demonstration(record.prompt, record.completion))
        if not shown:
            raise InputError(f"{self.data} labels no training completion as desirable: there is nothing to imitate.")
        return shown

    def preferences(self, split: Split, sample: Sampler) -> Preferences:
        """The labels of the file; `sample` is not used, because the file brings its own completions."""
        return self._part(split)

    def prompts(self, split: Split) -> Sequence[Prompt]:
        return distinct_prompts(self._part(split), "order")

    def training(self, objective: type[Objective]) -> Training:  # type: ignore[type-arg]
        rates = PRETRAINED if self.pretrained else SCRATCH
        if objective.trains == "reward":
            return Training(learning_rate=rates.reward)
        if "sampling" in objective.needs:
            return Training(learning_rate=rates.online)
        if "demonstrations" in objective.needs:
            return Training(learning_rate=rates.demonstrations)
        return Training(learning_rate=rates.offline)

    def fingerprint(self) -> str:
        return "+".join(source.fingerprint for source in (self._data, self._held_out) if source)

    @property
    def _eval_share(self) -> float:
        return 0.0 if self.eval_data else self.eval_share

    # The data are read once. A cell in another process gets what was read, so a file that is changed meanwhile does
    # not give two cells different data.

    @cached_property
    def _data(self) -> Records:
        if not self.data:
            raise InputError("files: no data are named: give a file, a data set folder or a hub id with `--data`.")
        return read_records(self.data, self.split or None)

    @cached_property
    def _held_out(self) -> Records | None:
        if not self.eval_data:
            return None
        held_out = read_records(self.eval_data, self.eval_split or None)
        if held_out.kind != self._data.kind:
            raise InputError(
                f"{self.data} holds {self._data.kind} and {self.eval_data} {held_out.kind}: give one kind."
            )
        check_disjoint(self._data, held_out)
        return held_out

    @cached_property
    def _parts(self) -> dict[Split, Preferences]:
        judged, evaluated = self.judge_share, self._eval_share
        shares: dict[Split, float] = {"judge": judged, "eval": evaluated, "train": 1 - judged - evaluated}
        parts: dict[Split, Preferences] = {**deal(self._data.records, shares, "split")}
        if self._held_out:
            parts["eval"] = self._held_out.records
        return parts

    def _part(self, split: Split) -> Preferences:
        part = self._parts[split]
        if not part:
            raise InputError(
                f"{self.data} leaves no record for the {split} split: give more prompts, another judge_share or "
                "eval_share, or eval_data of its own."
            )
        return part

    def _corpus(self) -> list[str]:
        texts: list[str] = []
        for record in self._part("train"):
            texts += [record.prompt.text, *(reply.text for reply in record.completions)]
        return texts
