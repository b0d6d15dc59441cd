"""What is known to be wrong before anything is trained: what this data cannot serve, models that cannot be read."""

from __future__ import annotations

from ..errors import InputError
from ..evaluate.exact import word_ids
from ..models import RewardModel, load_policy
from ..plugins import find
from ..pretrained import check_same_ids, fingerprint_of, load_config, load_tokenizer
from . import capability
from .judging import context_of
from .policies import check_options
from .world import World

_NEEDS = {
    "pairs": "the data hold labelled completions, and pairs cannot be made of them",
    "rankings": "the data hold labelled completions, and ranked lists cannot be made of them",
    "gold": "this benchmark has no gold reward",
    "reward": "a reward model is trained from pairs, which the data do not hold; give --reward-model PATH",
}
_JUDGE_NEEDS = {
    "gold": "this benchmark has no gold reward; use another judge, `reward` say",
    "reward": "it is trained from pairs, which the data do not hold; use --judge lm:PATH",
    "lm": "this benchmark trains no judge of its own; name a model, lm:PATH",
}


def check_needs(world: World) -> None:
    """Refuse objectives and judges that this benchmark cannot serve. Raises `InputError`."""
    # Of a ranked list pairs are made, and a pair is a list of two.
    pairs, gold = world.benchmark.kind != "labels", world.benchmark.has_gold
    there = {"pairs": pairs, "rankings": pairs, "gold": gold, "reward": pairs or bool(world.config.reward_model)}
    for spec in world.specs:
        if spec.plugin.trains != "policy":
            raise InputError(f"{spec.text} trains a {spec.plugin.trains} model, not a policy: it is a stage, no row.")
        if "demonstrations" in spec.plugin.needs:
            raise InputError(
                f"{spec.text} learns from demonstrations, which come in another order than the preferences: it makes "
                f"the starting model (--sft) and is no row of the table."
            )
        missing = sorted(need for need in spec.plugin.needs if not there.get(need, True))
        if missing:
            raise InputError(f"{spec.text} needs {missing[0]}: {_NEEDS[missing[0]]}.")
    if world.config.best_of and not there["reward"]:
        raise InputError(f"--best-of: {_NEEDS['reward']}, or leave the option out.")
    used = world.config.best_of or world.config.tuning_prompts  # of a tuned run the trials are checked as well
    if world.config.reward_model and not used and not any("reward" in spec.plugin.needs for spec in world.specs):
        raise InputError("--reward-model: none of the objectives optimises a reward model; leave the option out.")
    _check_tuning_prompts(world)
    if not world.config.judges:
        raise InputError("the data hold no pairs to train a judge from: name one, --judge lm:PATH or reward:PATH.")
    taught = world.config.reward_model and fingerprint_of(world.config.reward_model)
    scoring = [argument for name, argument in world.config.judges if "reward" in find("judge", name).needs]
    if taught and taught in [fingerprint_of(argument) for argument in scoring if argument]:
        raise InputError(
            "--judge names the very model of --reward-model: no objective may be judged by its own teacher."
        )
    there = {"gold": gold, "reward": pairs, "lm": world.stages.judge_lessons is not None}
    for name, argument in world.config.judges:
        missing = sorted(need for need in find("judge", name).needs if not there.get(need, True))
        if missing and not argument:
            raise InputError(f"judge {name}: {_JUDGE_NEEDS[missing[0]]}.")


def _check_tuning_prompts(world: World) -> None:
    wanted = world.config.held_back
    there = len(world.benchmark.prompts("eval")) if wanted else 0
    if there < 2 * wanted:
        raise InputError(f"--tune-prompts {wanted} is more than half of the {there} evaluation prompts: give fewer.")


def check_models(world: World) -> None:
    """Load once each model that the user names besides the starting one, so that a bad one shows before the training.

    Raises:
        InputError: one cannot be loaded, or the reference reads other token ids than the model that is trained.
    """
    config = world.config
    if config.model:
        load_config(config.model), load_tokenizer(config.model)
        if world.enumeration is not None:
            word_ids(world.enumeration, load_tokenizer(config.model))
    check_options(config, world.stages.model)
    if config.reference:
        reference = load_policy(config.reference)
        if config.model:  # else the tokenizer is yet to be made, and the data stage holds the reference to it
            check_same_ids(reference.tokenizer, load_tokenizer(config.model), config.reference)
        sizes = [getattr(reference.model.config, "vocab_size", None)]
        sizes += [getattr(load_config(config.model), "vocab_size", None)] if config.model else []
        if None not in sizes and len(set(sizes)) > 1:
            raise InputError(
                f"reference {config.reference}: it gives another number of logits than {config.model}, so no KL can be "
                f"computed; give a reference of the same vocabulary size."
            )
    if config.reward_model:
        RewardModel.load(config.reward_model)
    capability.check(world)
    context = context_of(config, world.benchmark.gold, {})
    for name, argument in config.judges:
        cls = find("judge", name)
        if argument or not cls.needs:
            cls.open(argument, context).check()
