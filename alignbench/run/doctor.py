"""What will hurt in the training data, found before anything is trained on them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial as with_arguments

from ..doctor import examine
from ..doctor.findings import named, placed, plural
from ..encoding import Encoder
from ..pretrained import load_config, load_tokenizer
from ..records import Completion, Preferences, Prompt
from ..results import read_json, whole_folder, write_json
from .stages import Report, write_cost
from .world import World

FILE = "doctor.json"
SHOWN = 4  # places that a line names


def doctor(world: World, report: Report) -> None:
    """Examine the training records, with the true reward of their completions where somebody knows it.

    Records that are the model's own samples are there after the data stage. Others need no model, and are examined
    before there is one: with the tokenizer of the model that the user names.
    """
    started = time.perf_counter()
    report(0.0, "looking at the training data")
    own = world.benchmark.on_policy
    records = world.records("train") if own else world.benchmark.preferences("train", _nobody)
    look = with_arguments(examine, records, gold=_gold(world, records))
    if own or not world.makes_start:
        found = look(Encoder(world.tokenizer), world.context, world.benchmark.max_new_tokens)
    elif model := world.config.model:  # what is trained first is this one: it has the same tokenizer
        context = getattr(load_config(model), "max_position_embeddings", None)
        found = look(Encoder(load_tokenizer(model)), context, world.benchmark.max_new_tokens)
    else:
        found = look()
    with whole_folder(world.stage("doctor")) as partial:
        write_json(partial / FILE, found.json())
        write_cost(partial, started)


def findings(world: World) -> list[str]:
    """What there is to look at in the data, worst first, a line each, with the first of the records that it concerns.

    The line that tells them apart from what is fine comes first; none where all is fine.
    """
    found = read_json(world.stage("doctor") / FILE)
    told = [f for f in found["findings"] if f["level"] in ("bad", "look")]
    lines = []
    for each in told:
        where = placed(each, SHOWN)
        lines.append(f"  {named(each['check'])}: {each['said']}{where and f' ({where})'} {each['advice']}")
    first = f"The training data ({found['records']:,} {found['kind']}): {plural(len(told), 'finding')}."
    return [first, *lines] if told else []


def described(world: World) -> str:
    """Where `run.json` says the examination lies."""
    return os.path.relpath(world.stage("doctor") / FILE, world.config.folder)


def _gold(world: World, records: Preferences) -> list[list[float]] | None:
    asked: list[tuple[Prompt, Completion]] = [(r.prompt, y) for r in records for y in r.completions]
    found = world.benchmark.gold([prompt for prompt, _ in asked], [completion for _, completion in asked])
    if found is None:
        return None
    scores = iter(found)
    return [[next(scores) for _ in record.completions] for record in records]


def _nobody(prompts: Sequence[Prompt], n: int, purpose: str) -> list[list[Completion]]:
    raise TypeError("a benchmark that samples its preferences must not say on_policy = False")
