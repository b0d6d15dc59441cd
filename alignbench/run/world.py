"""Everything that the jobs of a run share: resolved plug-ins, keys, folders, data, models. Cheap to make anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..batch import Tokens
from ..benchmark import Benchmark, Enumeration, Probe, Split, Stages
from ..errors import InputError
from ..logprobs import LanguageModel
from ..logprobs import Path as ScoringPath
from ..models import DTYPES, Policy, RewardModel
from ..objective import Training
from ..plugins import Spec, find, recreate
from ..pretrained import adapter_base, fingerprint_of, load_config, load_tokenizer
from ..records import Completion, Preferences, Prompt
from ..results import Json, derive, digest, read_json, read_jsonl, slug
from ..tokens import Dataset, encode_prompt, tokenize
from .config import Config
from .policies import open_cell, open_policy
from .prompts import evaluation_prompts, tasks_key
from .rows import from_rows, judged_pairs

SPLITS: tuple[Split, ...] = ("train", "judge", "eval")
# Fields of a benchmark that only the evaluation reads: changing them trains nothing again.
EVALUATION_FIELDS = ("eval_prompts", "curve_points", "curve_prompts", "device")


@lru_cache(maxsize=4)
def world_of(config: Config) -> World:
    """The world of a configuration, made once in a process."""
    return World(config)


class World:
    """The plan behind one `Config`: which stage has which key, where it lies, and how to load it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        files = {spec: (Path(path), source) for spec, path, source in config.files}
        self.specs: list[Spec] = [recreate(text, files.get(text, (None, ""))[0]) for text in config.objectives]
        for spec in self.specs:
            if spec.text in files and spec.source != files[spec.text][1]:
                raise InputError(f"{spec.path} was edited while the run was using it: run the same command again.")
        self.benchmark_class = find("benchmark", config.benchmark)
        self.benchmark: Benchmark = self.benchmark_class(**dict(config.benchmark_fields))
        self.enumeration: Enumeration | None = self.benchmark.exact()
        self.probes: tuple[Probe, ...] = tuple(self.benchmark.probes())
        self.stages: Stages = self.benchmark.stages()
        self.supervised = recreate(self.stages.supervised)
        self.reward_objective = recreate(self.stages.reward)

    # keys: each a hash of everything that the stage depends on

    @cached_property
    def identity(self) -> Json:
        """What decides training, in words: a folder of results belongs to one identity."""
        # Where data lie decides nothing: what they hold is in the benchmark's fingerprint.
        left_out = {*EVALUATION_FIELDS, *self.benchmark.evaluation_fields, *self.benchmark.location_fields}
        kept = {f.name: getattr(self.benchmark, f.name) for f in fields(self.benchmark) if f.name not in left_out}
        small = f"small, from scratch ({digest(self.stages.model)})"
        return {
            "benchmark": self.config.benchmark,
            **{f"benchmark field {name}": value for name, value in kept.items()},
            "benchmark data and code": self.benchmark.fingerprint(),
            "model": fingerprint_of(self.config.model) if self.config.model else small,
            "fine-tuned first": self.config.sft,
            "reference": self.config.reference and fingerprint_of(self.config.reference),
            "reward model": self.config.reward_model and fingerprint_of(self.config.reward_model),
            "budget": self.config.budget or "completions",
            "device": self.config.device,
            "adapter": self.config.lora or "none",
            "dtype": self.config.dtype,
        }

    @cached_property
    def keys(self) -> dict[str, str]:
        """Key of each stage; per-seed stages are keyed once more by their seed."""
        identity = self.identity
        read = ("model", "fine-tuned first")
        supervised = [identity[name] for name in identity if name.startswith("benchmark") or name in read]
        # Only where it is set, as with the adapter of a cell: keys from before there were these options stay.
        supervised += [self.config.dtype] if self.config.dtype != "float32" else []
        training = self.training(self.supervised)
        start = digest("start", supervised, training, self.supervised.source)
        data = digest("data", start, identity["reference"])
        reward = digest("reward", data, self.training(self.reward_objective), self.reward_objective.source)
        scoring = (self.config.device, _versions(), self.config.dtype)
        caches = [digest("cache", data, *scoring, wide) for wide in (False, True)]
        judge_reward = digest(reward, "judge")
        judge_lm = digest("lm", start, self.stages.judge_training)
        optimised = digest(reward, identity["reward model"])
        own_samples = digest("own samples", data, self.eval_key, judge_reward)
        return {
            "start": start,
            "data": data,
            # The wider one, with the completions under other prompts as well, serves everybody where it is there.
            "cache": caches[self.unpaired or self._stage_folder("cache", caches[True]).exists()],
            "reward": optimised,
            "judge_reward": judge_reward,
            "judge_lm": judge_lm,
            "reference_samples": own_samples,
            "best_of": digest("best of", own_samples, optimised, self.config.best_of),
            "held_out": digest("held out", data, self.benchmark.eval_prompts),
            "tasks": digest("tasks", self._capability_key),
            "capability": digest("capability", data, self._capability_key),
            "doctor": digest("doctor", data, bool(self.config.model)),
            "probes": digest("probes", data, self.probes, self.benchmark.max_new_tokens, *scoring),
            "exact": digest("exact", data, self.identity["benchmark data and code"], *scoring),
            "exact_reward": digest("exact reward", optimised, self.identity["benchmark data and code"], *scoring),
        }

    @property
    def unpaired(self) -> bool:
        """Whether some objective reads completions under other prompts, so that those are cached as well."""
        return any("labels" in spec.plugin.needs for spec in self.specs)

    @cached_property
    def prompts_key(self) -> str | None:
        """What the evaluation's prompts are, where a field of the benchmark may name others; not where they lie."""
        return digest(self.benchmark.prompts("eval")) if self.benchmark.evaluation_fields else None

    @cached_property
    def eval_key(self) -> str:
        special = [n for n in (self.config.tuning_prompts, self.config.held_back, self.prompts_key) if n]
        return digest(self.benchmark.eval_prompts, self.benchmark.max_new_tokens, *special)

    def stage(self, name: str, seed: int | None = None) -> Path:
        """Where a stage lies."""
        key = self.keys[name] if seed is None else digest(self.keys[name], seed)
        return self._stage_folder(name, key)

    def _stage_folder(self, name: str, key: str) -> Path:
        return self.config.stages_folder / f"{name}-{key}"

    def cell(self, spec: Spec) -> Path:
        """The folder of an objective's cells, without the seed."""
        needed = [self.keys["data"]]
        if "reward" in spec.plugin.needs:
            needed.append(self.keys["reward"])
        needed += [self.config.lora] if self.config.lora else []
        key = digest(spec.text, spec.params, self.training(spec), spec.source, needed, self.config.budget)
        return self.config.folder / "cells" / f"{slug(spec.text)}-{key}"

    @cached_property
    def samples_key(self) -> str:
        """Key of a cell's samples and of what is measured on them."""
        return digest(self.eval_key, self.identity["benchmark data and code"], self.keys["judge_reward"])

    @cached_property
    def _capability_key(self) -> str:
        return digest("lm-eval", self.config.dtype, tasks_key(self.config.lm_eval, self.benchmark))

    @property
    def capability_name(self) -> str:
        """The file of a cell's result of lm-eval, in the folder of its seed."""
        return f"capability-{self._capability_key}.json"

    def samples_name(self, temperature: float = 1.0) -> str:
        """The file of a cell's samples, in the folder of its seed."""
        return f"samples-{self.samples_key}{'' if temperature == 1 else f'-T{temperature:g}'}.jsonl"

    def reference_samples(self, seed: int, temperature: float = 1.0) -> Path:
        """The file of the reference's own samples."""
        key = digest(self.keys["reference_samples"], seed)
        key = key if temperature == 1 else digest(key, temperature)
        return self._stage_folder("reference_samples", key) / "samples.jsonl"

    def training(self, spec: Spec) -> Training:
        """The benchmark's settings for this kind of objective, with what the spec itself sets."""
        defaults = self.benchmark.training(type(spec.plugin))
        return Training(**{**asdict(defaults), **spec.overrides})

    # models

    @cached_property
    def makes_start(self) -> bool:
        """Whether a stage makes the starting model: small, fine-tuned, or an adapter merged to carry another one."""
        config = self.config
        return not config.model or config.sft or bool(config.lora and adapter_base(config.model))

    @property
    def start_source(self) -> Path | str:
        """The model that every cell starts from."""
        return self.stage("start") if self.makes_start else self.config.model

    @property
    def reference_source(self) -> Path | str:
        return self.config.reference or self.start_source

    def load(self, source: Path | str) -> LanguageModel:
        """A fresh copy of a causal language model, with the path that the data stage found for this run."""
        return self._scored(open_policy(source, self.config))

    def _scored(self, policy: Policy) -> LanguageModel:
        return LanguageModel(policy, ScoringPath(**self.data_info["path"]), self.config.max_tokens)

    def trainee(self, seed: int, finished: Path | None = None) -> LanguageModel:
        """The model of a cell, to be trained, or with `finished` the policy that the cell has left in that folder."""
        if self.config.lora and not self.config.reference:
            self.__dict__.pop("reference", None)  # of an earlier job in this process: it is no longer needed
        return self._scored(open_cell(self.config, self.start_source, derive(seed, "adapter"), finished))

    def reference_of(self, model: LanguageModel) -> LanguageModel:
        """What a cell's model is held against: its own weights with the adapter off where that is the reference, so
        that no second model is in memory, else the live reference."""
        if not self.config.lora or self.config.reference:
            return self.reference
        return self._scored(model.policy.reference())

    @cached_property
    def reference(self) -> LanguageModel:
        """The live reference: loaded by the first who needs it, kept for the later jobs of this process."""
        model = self.load(self.reference_source)
        model.policy.model.requires_grad_(False)
        return model

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.start_source)

    @cached_property
    def context(self) -> int:
        config = load_config(self.start_source)
        limit = int(getattr(config, "max_position_embeddings", None) or 2**20)
        if self.benchmark.max_new_tokens >= limit:
            raise InputError(
                f"max_new_tokens={self.benchmark.max_new_tokens} leaves no room for a prompt in the model's context "
                f"of {limit} tokens; set it lower in --benchmark."
            )
        return limit

    def reward_model(self, seed: int) -> RewardModel:
        """The reward model that online objectives of this seed optimise."""
        source = self.config.reward_model or self.stage("reward", seed)
        return RewardModel.load(source, self.config.device, DTYPES[self.config.dtype])

    @cached_property
    def judge_reward(self) -> RewardModel | None:
        """The judge's reward model, or None where the data hold no pairs to train one from."""
        if self.benchmark.kind == "labels":
            return None
        return RewardModel.load(self.stage("judge_reward"), self.config.device)

    # data

    @cached_property
    def data_info(self) -> Json:
        return read_json(self.stage("data") / "info.json")

    @lru_cache(maxsize=8)  # noqa: B019  (one World lives as long as its process)
    def records(self, split: Split) -> Preferences:
        """The labelled records of a split, as the data stage wrote them."""
        return from_rows(read_jsonl(self.stage("data") / f"{split}.jsonl"))

    @lru_cache(maxsize=8)  # noqa: B019
    def dataset(self, split: Split) -> Dataset:
        return self.tokenized(self.records(split))

    def tokenized(self, records: Preferences) -> Dataset:
        """Every prompt leaves room for `max_new_tokens`, so that online objectives sample from the very same."""
        return tokenize(records, self.tokenizer, self.context, self.benchmark.max_new_tokens)

    @cached_property
    def eval_prompts(self) -> tuple[Prompt, ...]:
        """The prompts of the evaluation, as `evaluation_prompts` says."""
        return evaluation_prompts(self.benchmark, self.config, self._fits, self.context)

    def _fits(self, prompt: Prompt) -> bool:
        try:
            encode_prompt(prompt, self.tokenizer, self.context, self.benchmark.max_new_tokens)
        except InputError:
            return False
        return True

    def prompt_tokens(self, prompts: Sequence[Prompt]) -> list[Tokens]:
        """Prompts as the model reads them, with room for a completion."""
        reserve = self.benchmark.max_new_tokens
        return [encode_prompt(prompt, self.tokenizer, self.context, reserve) for prompt in prompts]

    @cached_property
    def chosen(self) -> dict[str, Completion]:
        """For an evaluation prompt, the completion that held-out annotators preferred."""
        return {pair.prompt.text: pair.chosen for pair in judged_pairs(self.records("eval"))}

    @cached_property
    def prompts_by_id(self) -> dict[int, Prompt]:
        asked = zip(self.prompt_tokens(self.eval_prompts), self.eval_prompts, strict=True)
        return {row.prompt_id: prompt for row, prompt in asked} | dict(self.dataset("train").prompt_texts)


def _versions() -> tuple[str, str]:
    import torch
    import transformers

    return torch.__version__, transformers.__version__
