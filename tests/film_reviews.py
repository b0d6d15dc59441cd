"""Small film reviews for the benchmark `imdb`, and a classifier of them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers as hf

from alignbench.models import SmallModel, small_tokenizer
from alignbench.plugins import find

GOOD, BAD = ("lovely", "moving", "clever", "funny"), ("dull", "tedious", "clumsy", "stale")
PLAIN = (
    *("the", "film", "story", "cast", "scene", "plot", "camera", "music", "ending", "script", "actor", "hero", "and"),
    *("with", "of", "in", "its", "a"),
)


def write(folder: Path, count: int = 400, seed: int = 0) -> Path:
    """Reviews of 5 to 14 words, two of them of the review's own opinion."""
    rng = Random(seed)
    folder.mkdir(exist_ok=True)
    for name, opinions in (("pos", GOOD), ("neg", BAD)):
        drawn = [[*rng.choices(PLAIN, k=rng.randint(3, 12)), *rng.sample(opinions, 2)] for _ in range(count // 2)]
        lines = [" ".join(rng.sample(words, len(words))) for words in drawn]
        (folder / f"rt-polarity.{name}").write_text("\n".join(lines), encoding="utf-8")
    return folder


def made(source: Path, **values: Any) -> Any:
    return find("benchmark", "imdb")(source=str(source), **values)


def named(folder: Path, kind: str = "roberta", **config: Any) -> str:
    """A small classifier with random weights, as transformers saves it."""
    shape = SmallModel(vocabulary=300, context=32)
    tokenizer = small_tokenizer([" ".join([*PLAIN, *GOOD, *BAD])] * 3, shape)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 34, "initializer_range": 0.5,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, **config,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.RobertaForSequenceClassification(hf.RobertaConfig(**sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
