"""The model and the tokens of a comparison, made once and given to every contender alike."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from ..batch import Tokens
from ..data import read_records
from ..errors import InputError
from ..models import SmallModel, quiet, small_tokenizer
from ..plugins import recreate
from ..pretrained import load_config, load_tokenizer
from ..records import Pair, Preferences, Ranking
from ..results import Json
from ..tokens import Dataset, tokenize
from .settings import SHAPES, Settings

VOCABULARY, CONTEXT = 50_257, 1024  # GPT-2's, whatever the tokenizer learns from the data
EMBEDDED = "reviews"  # the benchmark whose texts serve where no data are given
SEED = 0


@dataclass(frozen=True)
class Prepared:
    """Where the model lies, and the data of exactly the rounds that are run, in the order in which they are run."""

    model: Path
    reward: Path | None
    dataset: Dataset
    facts: Json


def prepare(settings: Settings, folder: Path) -> Prepared:
    """Make or check the model, and draw and tokenise the data.

    Raises:
        InputError: the data cannot be read, do not suit the objective or are too few; the model cannot be loaded.
    """
    quiet()
    records = _records(settings)
    if settings.model in SHAPES:
        source = folder / "model"
        tokenizer = _make_model(settings.model, records, source)
    else:
        source = Path(settings.model)
        tokenizer = load_tokenizer(source)
    config = load_config(source)
    context = int(getattr(config, "max_position_embeddings", None) or 2**20)
    if settings.online and settings.max_new_tokens >= context:
        raise InputError(f"--max-new-tokens {settings.max_new_tokens} fills the model's context of {context} tokens.")
    whole = tokenize(records, tokenizer, context, settings.max_new_tokens if settings.online else 0)
    dataset = _enough(settings, whole)
    reward = _make_reward(config, tokenizer, folder / "reward") if "reward" in settings.spec.plugin.needs else None
    return Prepared(source, reward, dataset, _facts(settings, dataset, config))


def _records(settings: Settings) -> Preferences:
    """The records in a fixed random order: a file may be sorted by length. Of a ranked list these are its pairs."""
    found: list[Any] = list(read_records(settings.data).records if settings.data else _embedded())
    if isinstance(found[0], Ranking):
        found = [pair for ranking in found for pair in ranking.pairs]
    if settings.paired and not isinstance(found[0], Pair):
        raise InputError(f"--data {settings.data}: {settings.spec.text} needs pairs and the file holds single labels.")
    Random(SEED).shuffle(found)
    records: Preferences = found
    return records


def _embedded() -> list[Pair]:
    """Each text of the embedded benchmark against the next one's completion: real lengths, no meaning."""
    shown = recreate(EMBEDDED, kind="benchmark").plugin.demonstrations()
    following = [*shown[1:], shown[0]]
    pairs = [Pair(one.prompt, one.completion, two.completion) for one, two in zip(shown, following, strict=True)]
    return [pair for pair in pairs if pair.chosen.text != pair.rejected.text]


def _texts(records: Preferences) -> list[str]:
    texts: list[str] = []
    for record in records:
        texts += [record.prompt.text, *(completion.text for completion in record.completions)]
    return texts


def _make_model(name: str, records: Preferences, folder: Path) -> Any:
    """A GPT-2 of that shape with random weights, and a byte-level tokenizer trained on the data."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = SHAPES[name]
    tokenizer = small_tokenizer(_texts(records), SmallModel("bytes", vocabulary=VOCABULARY, context=CONTEXT))
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.width // 64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _make_reward(config: Any, tokenizer: Any, folder: Path) -> Path:
    """A sequence classifier of the policy's shape with random weights: what a rollout is scored with."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(config)
    config.num_labels = 1
    config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _enough(settings: Settings, whole: Dataset) -> Dataset:
    """The first records, as many as the rounds take, the one that warms up among them."""
    items = (1 + settings.steps) * settings.batch_size
    # A labelled batch takes both completions of a pair, one after the other.
    halved = whole.kind == "pairs" and not settings.paired and not settings.online
    needed = -(-items // 2) if halved else items
    held = len(whole.pairs) or len(whole.labelled)
    if held < needed:
        raise InputError(
            f"{settings.data or 'the embedded data'}: {held} usable records, and {settings.steps} timed batches after "
            f"one that warms up take {needed}: lower --steps or --batch-size."
        )
    pairs, labelled = whole.pairs[:needed], whole.labelled[:needed]
    kept = {row.prompt_id for row in _rows(pairs, labelled)}
    prompts = tuple(prompt for prompt in whole.prompts if prompt.prompt_id in kept)
    return replace(whole, pairs=pairs, labelled=labelled, prompts=prompts)


def _rows(pairs: Sequence[tuple[Tokens, Tokens]], labelled: Sequence[tuple[Tokens, bool]]) -> list[Tokens]:
    return [row for pair in pairs for row in pair] + [row for row, _ in labelled]


def _facts(settings: Settings, dataset: Dataset, config: Any) -> Json:
    rows = _rows(dataset.pairs, dataset.labelled)
    return {
        "source": settings.data or f"texts of the benchmark {EMBEDDED}",
        "records": len(dataset.pairs) or len(dataset.labelled),
        "mean_prompt_tokens": sum(len(row.prompt) for row in rows) / len(rows),
        "mean_completion_tokens": sum(len(row.completion) for row in rows) / len(rows),
        "vocabulary": config.get_text_config().vocab_size,
        "fingerprint": dataset.fingerprint,
    }
