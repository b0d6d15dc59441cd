"""Which jobs a run has, and which needs which."""

from __future__ import annotations

from dataclasses import dataclass

from ..plugins import find
from .judging import label_of
from .world import World

STAGE_WEIGHTS = {
    "start": 3.0,
    "data": 2.0,
    "cache": 0.3,
    "judge_lm": 2.0,
    "reference_samples": 0.2,
    "held_out": 0.05,
    "doctor": 0.2,
    "probes": 0.1,
    "judging": 0.2,
}


@dataclass(frozen=True)
class Job:
    """A stage (`spec` empty), a cell, or a judge (`spec` is its label) at work on a seed.

    `seed` is -1 where the stage belongs to the whole run, and where a judge is at work on the held-out pairs. It fails
    where one of `needs` has failed; `after` are jobs that have to be over, whatever became of them.
    """

    stage: str
    seed: int = -1
    spec: str = ""
    needs: tuple[Job, ...] = ()
    heavy: bool = False
    after: tuple[Job, ...] = ()

    @property
    def weight(self) -> float:
        """How long it usually takes beside an offline cell; a stage that all wait for leaves the other cores idle."""
        return STAGE_WEIGHTS.get(self.stage, 1.0) * (2.5 if self.stage == "cell" and self.heavy else 1.0)

    @property
    def label(self) -> str:
        seed = "" if self.seed < 0 else f" seed {self.seed}"
        if self.stage == "judging":
            return f"judging by {self.spec}{seed or ' of held-out pairs'}"
        if self.stage == "capability":
            return f"lm-eval of {self.spec or 'the reference'}{seed}"
        return (self.spec or self.stage.replace("_", " ")) + seed


class _Jobs(dict[str, Job]):
    """Jobs by label, each after those it needs."""

    def add(
        self, stage: str, *needs: str, seed: int = -1, spec: str = "", heavy: bool = False, after: tuple[Job, ...] = ()
    ) -> None:
        """`needs` are labels; those of jobs that this run does not have are passed over."""
        known = tuple(self[label] for label in needs if label in self)
        job = Job(stage, seed, spec, known, heavy, after)
        self[job.label] = job


def plan(world: World) -> list[Job]:
    """Every job of the run, each after those it needs; what is on disk already is still listed."""
    jobs = _Jobs()
    _add_stages(jobs, world)
    _add_cells(jobs, world)
    _add_capability(jobs, world)
    _add_judging(jobs, world)
    return list(jobs.values())


def _add_stages(jobs: _Jobs, world: World) -> None:
    """What all cells share, and what those of a seed share."""
    config = world.config
    first: tuple[Job, ...] = ()
    if not world.benchmark.on_policy:
        jobs.add("doctor")  # what there is to know about the data is said before anything is trained
        first = (jobs["doctor"],)
    if world.makes_start:
        jobs.add("start", after=first)
    jobs.add("data", "start", after=first)
    if world.benchmark.on_policy:
        jobs.add("doctor", "data")
    asked = [find("judge", name).needs for name, argument in config.judges if not argument]
    if world.stages.judge_lessons is not None and any("lm" in needs for needs in asked):
        jobs.add("judge_lm", "data", heavy=True)
    if world.benchmark.kind != "labels":
        jobs.add("judge_reward", "data", heavy=True)
    if any("reference" in spec.plugin.needs for spec in world.specs):
        jobs.add("cache", "data")
    if world.probes:
        jobs.add("probes", "data")
    exact = world.enumeration is not None
    if exact:
        jobs.add("exact", "data")
    rewarded = bool(config.best_of) or any("reward" in spec.plugin.needs for spec in world.specs)
    for seed in config.seed_numbers:
        if rewarded and not config.reward_model:
            jobs.add("reward", "data", seed=seed, heavy=True)
            if exact:
                jobs.add("exact_reward", "exact", f"reward seed {seed}", seed=seed)
        jobs.add("reference_samples", "data", "judge reward", seed=seed)
    jobs.add("held_out", "data")


def _add_cells(jobs: _Jobs, world: World) -> None:
    shared = ("data", "judge reward", "judge lm", "cache", "exact")
    for seed in world.config.seed_numbers:
        samples, reward = f"reference samples seed {seed}", f"reward seed {seed}"
        if world.config.best_of:
            jobs.add("best_of", *shared, samples, reward, seed=seed, heavy=True)
        for spec in world.specs:
            own = (reward, f"exact {reward}") if "reward" in spec.plugin.needs else ()
            online = "sampling" in spec.plugin.needs
            jobs.add("cell", *shared, samples, *own, seed=seed, spec=spec.text, heavy=online)


def _add_capability(jobs: _Jobs, world: World) -> None:
    if world.config.lm_eval:
        jobs.add("capability", "data")
        for seed in world.config.seed_numbers:
            for spec in world.specs:
                cell = f"{spec.text} seed {seed}"
                jobs.add("capability", "data", "lm-eval of the reference", cell, seed=seed, spec=spec.text)


def _add_judging(jobs: _Jobs, world: World) -> None:
    """Each judge on each seed, when whatever it is to judge is there or has failed."""
    judged = [job for job in jobs.values() if job.stage in ("cell", "best_of")]
    for name, argument in world.config.judges:
        label = label_of(name, argument)
        needs = ["data", "held out"] + [f"judge {need}" for need in find("judge", name).needs if not argument]
        if not world.config.tuning_prompts:
            jobs.add("judging", *needs, spec=label)
        for seed in world.config.seed_numbers:
            there = tuple(job for job in judged if job.seed == seed)
            jobs.add("judging", *needs, f"reference samples seed {seed}", seed=seed, spec=label, after=there)
