"""A tiny model with an engine around it, and a toy that any objective can solve in seconds.

In the toy, completions that begin with one token are the better ones: in pairs, labels and lists, in the reward, and
demonstrations begin with it. All objectives of a kind train on it with the same settings.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..batch import Completions, Labelled, Pairs, Prompts, Ranked, Tokens
from ..engine import Budget, LocalEngine, Sources
from ..logprobs import LanguageModel, Path
from ..models import Policy, SmallModel, small_model, small_tokenizer
from ..objective import Objective, Training
from ..reference import Reference
from ..tokens import Dataset

Batch = TypeVar("Batch")
VOCABULARY, CONTEXT, GOOD, BAD = 24, 32, 10, 20
SHAPE = SmallModel("words", vocabulary=VOCABULARY, layers=1, width=32, heads=2, context=CONTEXT)
OFFLINE = Training(learning_rate=5e-3, batch_size=16, warmup_steps=2, steps=40)
ONLINE = Training(learning_rate=1e-2, batch_size=32, warmup_steps=2, steps=40)


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    return small_tokenizer([" ".join(f"w{i:02}" for i in range(VOCABULARY - 4))], SHAPE)


def language_model(seed: int = 0, sharpness: float = 1.0) -> LanguageModel:
    """A Llama of one layer with random weights, `sharpness` times as large as usual where they make the logits."""
    policy: Policy = small_model(tokenizer(), SHAPE, seed)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(sharpness)
    return LanguageModel(policy, Path(True, ""))


def dataset(count: int, seed: int) -> Dataset:
    """Pairs of completions of two to four tokens: the chosen ones begin with `GOOD`, the rejected ones with `BAD`."""
    source = random.Random(seed)
    end = tokenizer().eos_token_id

    def words(length: int) -> tuple[int, ...]:
        return tuple(source.randrange(4, VOCABULARY) for _ in range(length))

    pairs = []
    for number in range(count):
        prompt = (tokenizer().bos_token_id, *words(2))
        good, bad = (Tokens(prompt, (first, *words(source.randint(1, 3)), end), number) for first in (GOOD, BAD))
        pairs.append((good, bad))
    prompts = tuple(Tokens(good.prompt, (), good.prompt_id) for good, _ in pairs)
    return Dataset("pairs", tuple(pairs), (), prompts, {}, CONTEXT, 0, ())


@lru_cache(maxsize=1)
def training_pairs() -> Dataset:
    return dataset(64, seed=0)


@lru_cache(maxsize=1)
def held_out() -> Dataset:
    return dataset(16, seed=99)


class Recording(LocalEngine):
    """An engine that writes down what it is asked for, in the words of `needs`, and keeps warnings to itself."""

    def __init__(self, model: LanguageModel, sources: Sources, training: Training, budget: Budget) -> None:
        super().__init__(model, sources, training, budget, seed=0)
        self.used: set[str] = set()
        self.streams: dict[str, list[int]] = {}  # the prompts that each stream has served, by its name

    def warn(self, message: str) -> None:
        pass

    def pairs(self) -> Iterator[Pairs]:
        self.used.add("pairs")
        return self._noted("pairs", super().pairs())

    def labelled(self) -> Iterator[Labelled]:
        self.used.add("labels")
        return self._noted("labelled", super().labelled())

    def rankings(self) -> Iterator[Ranked]:
        self.used.add("rankings")
        return self._noted("rankings", super().rankings())

    def demonstrations(self) -> Iterator[Completions]:
        self.used.add("demonstrations")
        return self._noted("demonstrations", super().demonstrations())

    def prompts(self, n: int = 1) -> Iterator[Prompts]:
        return self._noted("prompts", super().prompts(n))

    def _noted(self, name: str, stream: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            before = len(self.consumed)
            batch = next(stream, None)
            if batch is None:
                return
            self.streams.setdefault(name, []).extend(self.consumed[before:])
            yield batch

    def sample(self, prompts: Prompts, n: int = 1, greedy: bool = False) -> Completions:
        self.used.add("sampling")
        samples = super().sample(prompts, n, greedy)
        if self.sources.max_new_tokens > 1:
            return samples
        # Nothing of one token is cut short: an objective that drops what has no end has something to learn from.
        return Completions.from_rows([replace(row, ended=True) for row in samples.tokens], self)

    def reward(self, samples: Completions, source: str = "model") -> Tensor:
        self.used.add("reward" if source == "model" else "gold")
        return super().reward(samples, source)

    def reference(self, rows: Sequence[Tokens]) -> Tensor:
        self.used.add("reference")
        return super().reference(rows)


def recording(objective: Objective[Any]) -> Recording:
    """An engine for a few steps, with a sharp model and another one as the reference, if that is declared."""
    sources = _sources(live(language_model(1, 8.0)) if "reference" in objective.needs else None, 6)
    return Recording(language_model(0, 8.0), sources, Training(batch_size=4), Budget(10_000))


def toy(objective: Objective[Any]) -> Recording:
    """An engine to train with on the toy; the model at the start is the reference."""
    online = "sampling" in objective.needs
    sources = _sources(live(language_model()), 1 if online else 6)
    return Recording(language_model(), sources, ONLINE if online else OFFLINE, Budget(1_000_000))


def _sources(reference: Reference | None, max_new_tokens: int) -> Sources:
    data = training_pairs()
    return Sources(
        dataset=data,
        demonstrations=[good for good, _ in data.pairs],
        reference=reference,
        reward=begins_well,
        gold=begins_well,
        max_new_tokens=max_new_tokens,
    )


def begins_well(rows: Sequence[Tokens]) -> list[float]:
    """The toy's reward: 4 for a completion that begins with the good token."""
    return [4.0 * (row.completion[0] == GOOD) for row in rows]


def live(model: LanguageModel) -> Reference:
    """A reference that is not cached."""

    def logps(rows: Sequence[Tokens]) -> Tensor:
        with torch.no_grad():
            return model.forward(rows).logps

    return Reference(logps)


def first_token(model: LanguageModel) -> tuple[float, float]:
    """The mean probability that a completion of a held-out prompt begins with the good token, and with the bad one."""
    prompts = torch.tensor([chosen.prompt for chosen, _ in held_out().pairs])
    with torch.no_grad():
        p = model.policy.model(input_ids=prompts).logits[:, -1].softmax(-1).mean(0)
    return float(p[GOOD]), float(p[BAD])


def held_out_accuracy(engine: LocalEngine) -> float:
    """The share of held-out pairs of which the head gives the chosen completion the higher value after its end."""
    chosen, rejected = zip(*held_out().pairs, strict=True)
    with torch.no_grad():
        pairs = Pairs.from_rows(chosen, rejected, engine)
        good, bad = (side.values.gather(1, side.length[:, None]).squeeze(1) for side in (pairs.chosen, pairs.rejected))
    return float((good > bad).float().mean())
