"""The contract of a benchmark: data, a true reward if there is one, a judge's question, a model and a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

from torch import Tensor

from .models import SmallModel
from .objective import Count, Fraction, Objective, Range, Training, check_fields
from .records import Completion, Demonstration, Kind, Preferences, Prompt

Split = Literal["train", "judge", "eval"]


class Sampler(Protocol):
    """Draws completions from the reference model: `n` for each prompt, temperature 1, from a stream of its own."""

    def __call__(self, prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]: ...


@dataclass(frozen=True)
class Stages:
    """What a benchmark trains besides the cells.

    `model` is built when the user gives none, with a tokenizer trained on `corpus`; `supervised` and `reward` are the
    specs of the objectives that make the starting model and the reward models. `judge_lessons` are the phases of a
    curriculum on which a small `lm` judge is trained, in the judge's own prompt, by `judge_training`; None where there
    is no such judge.
    """

    supervised: str
    reward: str
    model: SmallModel
    corpus: Callable[[], Sequence[str]]
    judge_lessons: Callable[[], Sequence[Sequence[Demonstration]]] | None = None
    judge_training: Training = field(default_factory=Training)


@dataclass(frozen=True)
class Enumeration:
    """A world whose completions can all be enumerated: `length` of `words` after each of `prompts`, no end token.

    `reward [P, V ** length]` is the gold reward in float64, completions in lexicographic order of `words` (the first
    position is the slowest); `beta` is the price of the KL in the objective J that policies are held against.
    """

    prompts: tuple[Prompt, ...]
    words: tuple[str, ...]
    length: int
    beta: float
    reward: Tensor


@dataclass(frozen=True)
class Probe:
    """A question whose answer is followed apart from the evaluation: did training change what it should, and only that?

    `group` names the kind of question ("identity", "unrelated"), `answer` is the completion whose log-prob is followed.
    """

    group: str
    prompt: Prompt
    answer: Completion


@dataclass(frozen=True)
class Benchmark(ABC):
    """A frozen dataclass whose fields are sizes and budget, settable in a spec (`reviews:pairs=500`).

    `epochs` passes over the training preferences are the budget of every objective: all train on the same number of
    completions. `sft_epochs` and `reward_epochs` are the passes of the stages. During training `curve_points`
    evaluations, evenly spaced, are made on the first `curve_prompts` prompts. Each method is deterministic: called
    twice it returns the same.

    Two fields follow the options of a run, and no spec sets them: `pretrained` is true where the user names a model,
    for which other learning rates are right, and `device` is where a benchmark runs a model of its own.

    `on_policy` says whether `preferences` draws from the reference. `temperatures` are those besides 1 at which a run
    samples where the user names none. `evaluation_fields` names the benchmark's own fields that only the evaluation
    reads: changing one trains nothing again. `location_fields` names those that say where data or models lie: what
    these hold must be in `fingerprint`, and moving them changes nothing.
    """

    question: ClassVar[str]
    on_policy: ClassVar[bool] = True
    temperatures: ClassVar[tuple[float, ...]] = ()
    evaluation_fields: ClassVar[tuple[str, ...]] = ()
    location_fields: ClassVar[tuple[str, ...]] = ()

    eval_prompts: Count = 256
    max_new_tokens: Count = 64
    epochs: Annotated[float, Range(0, low_open=True)] = 1.0
    sft_epochs: Annotated[float, Range(0, low_open=True)] = 1.0
    reward_epochs: Annotated[float, Range(0, low_open=True)] = 1.0
    judge_share: Fraction = 0.2
    pretrained: bool = field(default=False, metadata={"option": "--model"})
    device: str = field(default="cpu", metadata={"option": "--device"})
    curve_points: Annotated[int, Range(0)] = 4
    curve_prompts: Count = 64

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__.lower())

    @property
    def kind(self) -> Kind:
        """What `preferences` gives: pairs, single completions with a label, or ranked lists."""
        return "pairs"

    @property
    def has_gold(self) -> bool:
        """Whether `gold` knows the true reward."""
        return type(self).gold is not Benchmark.gold

    def notes(self) -> dict[str, object]:
        """Facts about the data for `run.json` (records skipped and why, say)."""
        return {}

    def remarks(self) -> list[str]:
        """What a user should know about the data before anything is trained: records skipped and why."""
        return []

    @abstractmethod
    def stages(self) -> Stages:
        """The small model made when the user names none, and the judge trained for the run."""

    @abstractmethod
    def demonstrations(self) -> Sequence[Demonstration]:
        """What supervised fine-tuning imitates."""

    @abstractmethod
    def preferences(self, split: Split, sample: Sampler) -> Preferences:
        """Labelled data of a split; `sample` draws from the reference, so that pairs may be the model's own.

        "train" is for objectives, "judge" for the reward model that judges, "eval" for held-out labels: their prompts
        are disjoint.
        """

    @abstractmethod
    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Distinct prompts of a split, in an order of which any prefix is a fair sample."""

    def gold(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float] | None:
        """The true reward of each completion, or None where nobody knows it."""
        return None

    def exact(self) -> Enumeration | None:
        """Every completion there is, with its true reward, where they can be enumerated; else None."""
        return None

    def defaults(self, objective: type[Objective]) -> Mapping[str, object]:  # type: ignore[type-arg]
        """Values of an objective's own fields that hold in this benchmark where the user sets none; the spec shows
        them. They may depend on which fields there are, never on whose they are."""
        return {}

    def probes(self) -> Sequence[Probe]:
        """Questions whose answers are followed apart from the evaluation; none of their prompts is trained on."""
        return ()

    def probe_scores(self, probe: Probe, completion: Completion) -> Mapping[str, float]:
        """What an answer to a probe is worth, 0 to 1 each, by names that are the same for all probes of a group
        (`{"new": 1.0, "old": 0.0}`)."""
        return {}

    def lm_eval_tasks(self, folder: Path) -> Path | None:
        """Write the benchmark's own tasks of lm-eval (YAML and data, the same each time) into `folder`, and return it;
        None where it has none."""
        return None

    @abstractmethod
    def training(self, objective: type[Objective]) -> Training:  # type: ignore[type-arg]
        """The default training settings for a kind of objective, told by its `needs` and `trains`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of everything the data depend on besides the fields: code, and what lies at `location_fields`."""
