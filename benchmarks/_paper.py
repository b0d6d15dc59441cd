"""What the tasks of the DPO paper (arXiv:2305.18290) share: official splits, the paper's settings, prompts apart."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple

from alignbench import (
    Benchmark,
    Completion,
    Demonstration,
    InputError,
    Kind,
    LabelledCompletion,
    Objective,
    Pair,
    Positive,
    Prompt,
    Range,
    Sampler,
    Split,
    Training,
)
from alignbench.data import Skipped, describe_skipped, distinct_prompts
from alignbench.data import split_by_prompt as deal
from alignbench.reading import local

from ._layouts import ALL, HELD_OUT
from ._rates import beta_for, even
from .files import Files

BATCH = 64
WARMUP = 150


class Source(NamedTuple):
    """The pairs of one file, and what of it is skipped."""

    path: str
    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...]

    @property
    def total(self) -> int:
        return len(self.pairs) + len(self.skipped)


@dataclass(frozen=True)
class PaperTask(Files):
    """Published pairs with the settings of the DPO paper.

    The test split (else the validation split) is the evaluation; training pairs whose prompt is in it are left out and
    counted. Of the other training prompts `judge_share` are dealt by a hash to the model that judges. A source without
    splits, or with one alone, is dealt out whole, with `eval_share` for the evaluation, which is read nowhere else;
    of a data set on the hub, an official held-out split is never trained on.

    A model that the user names is trained as appendix B says: batches of 64 pairs (and 128 labels, which read the same
    completions), RMSprop, 1e-6, linear warm-up over 150 steps; on fewer than 1,500 steps, over a tenth of them, or the
    rate would never be reached; as everywhere it then falls. The paper does not say how often policies read the data;
    the default of its authors' code (n_epochs in config/config.yaml) is once, and so it is here. Rates of reward
    models, online objectives and demonstrations are not the paper's, which names none, but those of `_rates.py`.

    A small model from scratch has the rates and the shape of `files`, and sees each demonstration `scratch_passes`
    times in every pass. Reward models read their pairs three times as there, or small ones learn nothing from a few
    hundred (`reward_epochs=1` for a large model and much data).
    """

    on_policy: ClassVar[bool] = False
    temperatures: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75)
    location_fields: ClassVar[tuple[str, ...]] = ("source",)
    paper_beta: ClassVar[float]
    apart: ClassVar[str] = "prompt"  # what no two of the parts have in common

    sft_epochs: Positive = 1.0
    scratch_passes: Annotated[int, Range(1)] = 8
    # Of `files`, and replaced by `source`.
    data: str = field(default="", init=False, repr=False)
    eval_data: str = field(default="", init=False, repr=False)
    split: str = field(default="", init=False, repr=False)
    eval_split: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        Benchmark.__post_init__(self)  # not that of `files`: whether eval_share is read is known with the data only
        if self.judge_share >= 1:
            raise InputError(f"{type(self).__name__.lower()}: judge_share leaves nothing to train on: lower it.")

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where the pairs come from, for messages."""

    @abstractmethod
    def _read(self, say: Callable[[str], object]) -> Mapping[str, Sequence[Source]]:
        """The files of each split; of a source without splits, under "all". `say` takes remarks on them."""

    def _group(self, prompt: Prompt) -> str:
        """Pairs of one group are in one part: those of one prompt."""
        return prompt.text

    def _evaluated(self, prompt: Prompt) -> bool:
        """Whether a held-out prompt is one to evaluate on."""
        return True

    @property
    def kind(self) -> Kind:
        return "pairs"

    def defaults(self, objective: type[Objective[Any]]) -> Mapping[str, object]:
        """The beta that the paper gives DPO on this task, to every objective that has such a field and a reference.

        For others than DPO the paper names none. What a beta is worth differs between them (one of mean log-probs is
        another one than PPO's): one value for all is a rule, not a tuning; `--tune` looks for the best of each.
        """
        return beta_for(objective, self.paper_beta)

    def training(self, objective: type[Objective[Any]]) -> Training:
        found = super().training(objective)
        if not self.pretrained:
            return found
        found = replace(found, batch_size=BATCH)
        if objective.trains == "reward" or "demonstrations" in objective.needs:
            return found
        found = even(found, objective)
        if "sampling" in objective.needs:
            return found
        steps = int(len(self._part("train")) * self.epochs / BATCH)
        return replace(found, optimizer="rmsprop", warmup_steps=min(WARMUP, steps // 10))

    def demonstrations(self) -> Sequence[Demonstration]:
        """What `_shown` gives, several times over for a small model from scratch."""
        return list(self._shown()) * (1 if self.pretrained else self.scratch_passes)

    def _shown(self) -> Sequence[Demonstration]:
        """The chosen completions of the training pairs, so that the reference is the paper's Preferred-FT."""
        return [Demonstration(pair.prompt, pair.chosen) for pair in self._part("train")]

    def preferences(self, split: Split, sample: Sampler) -> Sequence[Pair]:
        """The labels of the data set; `sample` is not used. Those of "eval" are in an order whose prefix is fair."""
        return self._part(split)

    def prompts(self, split: Split) -> Sequence[Prompt]:
        found = distinct_prompts(self._part(split), "order")
        if split != "eval":
            return found
        kept = tuple(prompt for prompt in found if self._evaluated(prompt))
        if not kept:
            raise InputError(f"{self.origin}: none of its {len(found)} held-out prompts is one to evaluate on.")
        return kept

    def notes(self) -> dict[str, object]:
        """For each file how many records it holds and which are skipped, with line, field and reason; how many training
        pairs are left out because the evaluation has their prompt or, of dialogues, their first turn."""
        files = [
            {
                "split": split,
                "source": source.path,
                "records": source.total,
                "summary": describe_skipped(source.skipped, source.total),
                "skipped": [skipped._asdict() for skipped in source.skipped],
            }
            for split, sources in self._files.items()
            for source in sources
        ]
        return {"files": files, "shared_prompts": self._dealt[1]}

    def remarks(self) -> list[str]:
        sources = [source for sources in self._files.values() for source in sources if source.skipped]
        said = [*self._found[1]]
        said += [f"{source.path}: {describe_skipped(source.skipped, source.total)}." for source in sources]
        shared = self._dealt[1]
        if shared:
            said.append(
                f"{self.origin}: {shared} training pairs have a {self.apart} of the held-out split and are left out."
            )
        return said

    def fingerprint(self) -> str:
        hashed = hashlib.sha256()
        alone = len(self._files) == 1  # dealt out whole, whatever it is called
        for split, sources in self._files.items():
            for pair in (pair for source in sources for pair in source.pairs):
                row: list[object] = [ALL if alone else split, pair.prompt.text, pair.chosen.text, pair.rejected.text]
                row.append(pair.votes)
                # What decides who reads the pair and how it ends, where these are not as usual.
                row += [group] if (group := self._group(pair.prompt)) != pair.prompt.text else []
                row += [] if pair.chosen.ended and pair.rejected.ended else [pair.chosen.ended, pair.rejected.ended]
                hashed.update(json.dumps(row).encode() + b"\n")
        return hashed.hexdigest()

    @cached_property
    def _found(self) -> tuple[dict[str, list[Source]], list[str]]:
        """The files of each split, and remarks on them."""
        said: list[str] = []
        return {split: list(sources) for split, sources in self._read(said.append).items()}, said

    @property
    def _files(self) -> dict[str, list[Source]]:
        return self._found[0]

    @cached_property
    def _dealt(self) -> tuple[dict[Split, tuple[Pair, ...]], int]:
        """The pairs of each split, and how many training pairs are left out."""
        pairs = {split: [p for source in sources for p in source.pairs] for split, sources in self._files.items()}
        held_out = next((name for name in HELD_OUT if name in pairs), None)
        parts: dict[Split, Sequence[Pair]]
        left_out = 0
        if "train" in pairs and held_out:
            evaluated = pairs[held_out]
            known = {self._group(pair.prompt) for pair in evaluated}
            training = [pair for pair in pairs["train"] if self._group(pair.prompt) not in known]
            left_out = len(pairs["train"]) - len(training)
            shares: dict[Split, float] = {"judge": self.judge_share, "train": 1 - self.judge_share}
            parts = {**self._deal(training, shares), "eval": evaluated}
        elif len(pairs) > 1:
            raise InputError(
                f"{self.origin} has the splits {', '.join(pairs)}: give a train and a test split, or one file without."
            )
        elif held_out and not local(self.origin).exists():
            raise InputError(
                f"{self.origin} on the hub has a {held_out} split and no train split: give one that has both, or a "
                "local file to be dealt out."
            )
        else:
            parts = self._deal(next(iter(pairs.values())), self._shares())
        parts["eval"] = _in_fair_order(parts["eval"])
        return {name: tuple(part) for name, part in parts.items()}, left_out

    def _shares(self) -> dict[Split, float]:
        """Of a source that is dealt out whole."""
        left = 1 - self.judge_share - self.eval_share
        if left <= 0:
            raise InputError(
                f"{self.origin} has no splits of its own, and judge_share and eval_share leave nothing of it to train "
                "on: lower one of them."
            )
        return {"judge": self.judge_share, "eval": self.eval_share, "train": left}

    def _deal(self, pairs: Sequence[Pair], shares: Mapping[Split, float]) -> dict[Split, Sequence[Pair]]:
        """By a hash of their group, which stands for its pairs as a prompt."""
        groups = dict.fromkeys(self._group(pair.prompt) for pair in pairs)
        dealt = deal([LabelledCompletion(Prompt(group), Completion(""), True) for group in groups], shares, "split")
        place = {each.prompt.text: split for split, part in dealt.items() for each in part}
        return {split: [pair for pair in pairs if place[self._group(pair.prompt)] == split] for split in shares}

    def _part(self, split: Split) -> Sequence[Pair]:
        part = self._dealt[0][split]
        if not part:
            raise InputError(
                f"{self.origin} leaves no pair for the {split} split: give more prompts, or another judge_share or "
                "eval_share."
            )
        return part


def _in_fair_order(pairs: Sequence[Pair]) -> list[Pair]:
    """One pair of each prompt, then a second one of those that have more, and so on: a judge that is held against the
    first 256 is held against 256 prompts."""
    order = {prompt: place for place, prompt in enumerate(distinct_prompts(pairs, "order"))}
    seen: Counter[Prompt] = Counter()
    places = []
    for pair in pairs:
        places.append((seen[pair.prompt], order[pair.prompt], pair))
        seen[pair.prompt] += 1
    return [pair for _, _, pair in sorted(places, key=lambda place: place[:2])]
