"""Everything that the jobs of a run share: resolved plug-ins, keys, folders, data, models. Cheap to make anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..batch import Tokens
from ..benchmark import Benchmark, Split, Stages
from ..errors import InputError
from ..judge import Judge, JudgeContext
from ..logprobs import LanguageModel
from ..logprobs import Path as ScoringPath
from ..models import DTYPES, Policy, RewardModel
from ..objective import Training
from ..plugins import Spec, find, recreate
from ..plugins.code import source as code_of
from ..pretrained import adapter_base, fingerprint_of, load_config, load_tokenizer
from ..records import Completion, Pair, Preferences, Prompt
from ..results import Json, derive, digest, read_json, read_jsonl, slug
from ..tokens import Dataset, encode_prompt, tokenize
from .config import Config
from .policies import open_cell, open_policy
from .rows import from_rows

SPLITS: tuple[Split, ...] = ("train", "judge", "eval")
# Fields of a benchmark that only the evaluation reads: changing them trains nothing again.
EVALUATION_FIELDS = ("eval_prompts", "curve_points", "curve_prompts")


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
        self.stages: Stages = self.benchmark.stages()
        self.supervised = recreate(self.stages.supervised)
        self.reward_objective = recreate(self.stages.reward)

    # keys: each a hash of everything that the stage depends on

    @cached_property
    def identity(self) -> Json:
        """What decides training, in words: a folder of results belongs to one identity."""
        kept = {
            f.name: getattr(self.benchmark, f.name)
            for f in fields(self.benchmark)
            if f.name not in (*EVALUATION_FIELDS, "data", "eval_data")
        }
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
        return {
            "start": start,
            "data": data,
            # The wider one, with the completions under other prompts as well, serves everybody where it is there.
            "cache": caches[self.unpaired or self._stage_folder("cache", caches[True]).exists()],
            "reward": digest(reward, identity["reward model"]),
            "judge_reward": judge_reward,
            "judge_lm": judge_lm,
            "reference_samples": digest("samples", data, self.eval_key, judge_reward),
            "held_out": digest("held out", data, judge_reward, judge_lm, self._judge_code),
        }

    @property
    def unpaired(self) -> bool:
        """Whether some objective reads completions under other prompts, so that those are cached as well."""
        return any("labels" in spec.plugin.needs for spec in self.specs)

    @cached_property
    def eval_key(self) -> str:
        return digest(self.benchmark.eval_prompts, self.benchmark.max_new_tokens)

    def stage(self, name: str, seed: int | None = None) -> Path:
        """Where a stage lies."""
        key = self.keys[name] if seed is None else digest(self.keys[name], seed)
        return self._stage_folder(name, key)

    def _stage_folder(self, name: str, key: str) -> Path:
        return self.config.folder / "stages" / f"{name}-{key}"

    def cell(self, spec: Spec) -> Path:
        """The folder of an objective's cells, without the seed."""
        needed = [self.keys["data"]]
        if "reward" in spec.plugin.needs:
            needed.append(self.keys["reward"])
        needed += [self.config.lora] if self.config.lora else []
        key = digest(spec.text, spec.params, self.training(spec), spec.source, needed, self.config.budget)
        return self.config.folder / "cells" / f"{slug(spec.text)}-{key}"

    def evaluation_keys(self) -> tuple[str, str]:
        """Key of a cell's samples, and of its verdicts on them."""
        samples = digest(self.eval_key, self.benchmark.fingerprint(), self.keys["judge_reward"])
        return samples, digest(samples, self._judge_code, self.keys["judge_lm"])

    @cached_property
    def _judge_code(self) -> list[object]:
        """Name, argument and code of each judge, and the content of the models that the user names."""
        sources = [code_of(find("judge", name), "alignbench.judge") for name, _ in self.config.judges]
        named = [fingerprint_of(argument) for _, argument in self.config.judges if argument]
        return [self.config.judges, sources, named]

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
        if self.benchmark.kind != "pairs":
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
        """The first `eval_prompts` prompts of the evaluation split that leave room for a completion in the context."""
        fitting = (prompt for prompt in self.benchmark.prompts("eval") if self._fits(prompt))
        kept = tuple(islice(fitting, self.benchmark.eval_prompts))
        if not kept:
            raise InputError(f"no evaluation prompt fits the model's context of {self.context} tokens.")
        return kept

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
        return {r.prompt.text: r.chosen for r in self.records("eval") if isinstance(r, Pair)}

    def prompt_of(self, prompt_id: int) -> Prompt:
        return self._prompts_by_id[prompt_id]

    @cached_property
    def _prompts_by_id(self) -> dict[int, Prompt]:
        return dict(self.dataset("train").prompt_texts)

    # judges

    def judges(self) -> dict[str, Judge]:
        """The judges of this run by name, opened."""
        models = {"reward": self.stage("judge_reward")}
        if self.stages.judge_lessons is not None:
            models["lm"] = self.stage("judge_lm")
        context = JudgeContext(self.benchmark.gold, models, self.config.device)
        return {
            label: find("judge", name).open(argument, context)
            for label, (name, argument) in self.judges_by_name().items()
        }

    def judges_by_name(self) -> dict[str, tuple[str, str]]:
        """Name and argument of each judge by the label that tables show, the headline judge first."""
        return {name + (f":{argument}" if argument else ""): (name, argument) for name, argument in self.config.judges}


def _versions() -> tuple[str, str]:
    import torch
    import transformers

    return torch.__version__, transformers.__version__
