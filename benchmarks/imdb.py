"""Benchmark `imdb`: controlled sentiment generation of the DPO paper."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import combinations, cycle, islice
from pathlib import Path
from random import Random
from typing import Annotated, Any, ClassVar

from alignbench import (
    Benchmark,
    Completion,
    Count,
    Demonstration,
    Fraction,
    InputError,
    NonNegative,
    Objective,
    Pair,
    Positive,
    Prompt,
    Range,
    Sampler,
    SmallModel,
    Split,
    Stages,
    Training,
)
from alignbench.pretrained import fingerprint_of

from ._imdb_gold import Accuracy, Classifier, NamedClassifier, WordClassifier, accuracy
from ._imdb_parts import PARTS, SHORTEST, Part, begins_like, cut, deal, joined, openings
from ._imdb_source import Corpus, Document, read_documents
from ._rates import PRETRAINED, beta_for, even

FROM_SCRATCH = Training(learning_rate=1e-3, batch_size=16, warmup_steps=20)
FINE_TUNING = Training(learning_rate=1e-3, batch_size=32, warmup_steps=20)
OFFLINE = Training(learning_rate=2.5e-4, batch_size=32, warmup_steps=10)
ONLINE = Training(learning_rate=2.5e-4, batch_size=32, warmup_steps=10)
SMALL_PROMPTS, PAPER_PROMPTS = 600, 25_000  # prompts whose completions are compared, where the user does not say
BATCH, WARMUP = 64, 150  # of the paper
# Reviews that the classifier is tried on; a named one takes a second for each on a CPU.
TRIED, TRIED_ON_NAMED = 5000, 100
CLASSIFIED = 10_000  # reviews that the classifier is trained on at most: of IMDb's length, for some seconds


@dataclass(frozen=True)
class IMDb(Benchmark):
    """Film reviews: go on favourably (section 6.1 and appendix C.1 of arXiv:2305.18290), on IMDb or another set.

    A prompt is the first 2 to 8 words of a review (tokens in the paper), a completion the rest. The reference is
    fine-tuned on reviews and writes `samples` completions of each training prompt; all of their pairs, 6 of 4, are
    preferences, and the better one is the one of higher gold reward. With `noise` above 0, each of two annotators
    prefers the first with probability sigmoid((g_1 - g_2) / noise), by himself; the first one's vote is the label.
    Equal and empty completions, and those of equal reward, make no pair.

    The gold reward is the log-odds of positive by a sentiment classifier: `classifier` is a hub id or folder
    (siebert/sentiment-roberta-large-english in the paper); without one, a logistic regression on words is trained on a
    part of the reviews that nothing else reads, and how often it is right on the others is said first (see
    `_imdb_gold`). No learner sees it, but every learner of preferences can find out what it likes: strong words, of
    which it wants nothing to be said well. A high reward at a high KL is no better text: read the samples.

    `source` is what `_imdb_source.read_documents` reads: the hub's stanfordnlp/imdb, a folder in its layout or in that
    of aclImdb or rt-polarity. Every review, whatever split it is in there, is dealt by a hash of its text to one of
    four parts: `classifier_share` to the classifier, `judge_share` to the judge, `eval_share` to the evaluation, and
    the rest to the language models. A classifier that is named reads no reviews: its share is theirs as well. Opening
    words that are in two parts are prompts of one.

    `train_prompts` and `judge_prompts` are how many prompts are sampled from; 0: 600 by a small model from scratch, and
    by a named one all there are, 25,000 at most as in the paper. A model from scratch reads `scratch_reviews` reviews,
    the same ones again where there are fewer.

    Raises:
        InputError: on first use of the data, where they cannot be read, bear one label only or are too few.
    """

    question: ClassVar[str] = "Which review speaks better of its film?"
    temperatures: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75)
    location_fields: ClassVar[tuple[str, ...]] = ("source", "classifier")

    # Of the small model's own samples on rt-polarity, one in twenty is longer.
    max_new_tokens: Count = 48
    reward_epochs: Positive = 3.0
    judge_share: Fraction = 0.1
    source: str = "stanfordnlp/imdb"
    classifier: str = ""
    classifier_share: Fraction = 0.3
    eval_share: Fraction = 0.08
    beta: Positive = 0.1
    samples: Annotated[int, Range(2)] = 4
    noise: NonNegative = 0.0
    train_prompts: Annotated[int, Range(0)] = 0
    judge_prompts: Annotated[int, Range(0)] = 0
    eval_pairs: Count = 256
    scratch_reviews: Count = 25_000
    vocabulary: Count = 6000
    layers: Count = 2
    width: Count = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier_share + self.judge_share + self.eval_share >= 1:
            raise InputError(
                "imdb: classifier_share, judge_share and eval_share leave no review to train on: lower one of them."
            )

    # data

    def stages(self) -> Stages:
        shape = SmallModel("bytes", self.vocabulary, self.layers, self.width, heads=4, context=160)
        return Stages("sft", "reward_model", shape, lambda: [document.text for document in self._parts["train"]])

    def demonstrations(self) -> Sequence[Demonstration]:
        """The reviews of the language models' part, from their third word on; those that begin like a prompt of the
        judge's or the evaluation's are left out."""
        held_out = {prompt.text for split in ("judge", "eval") for prompt in self._prompts[split]}
        parts = (document for document in self._parts["train"] if not begins_like(document, held_out))
        shown = [Demonstration(*cut(document, SHORTEST)) for document in parts]
        return shown if self.pretrained else list(islice(cycle(shown), self.scratch_reviews))

    def prompts(self, split: Split) -> Sequence[Prompt]:
        return self._prompts[split]

    def preferences(self, split: Split, sample: Sampler) -> Sequence[Pair]:
        """All pairs of the samples of a prompt; one pair of each of the evaluation's, so that a judge is held against
        as many prompts as pairs."""
        evaluated = split == "eval"
        prompts = self.prompts(split)[: self._count(split)]
        drawn = sample(prompts, 2 if evaluated else self.samples, split)
        rewards = iter(self._rewards(prompts, drawn))
        rng = Random(f"annotators/{split}")
        return [
            pair
            for prompt, completions in zip(prompts, drawn, strict=True)
            for pair in self._compared(prompt, completions, list(islice(rewards, len(completions))), rng)
        ]

    def _count(self, split: Split) -> int:
        if split == "eval":
            return self.eval_pairs
        asked = self.train_prompts if split == "train" else self.judge_prompts
        return asked or (PAPER_PROMPTS if self.pretrained else SMALL_PROMPTS)

    def _rewards(self, prompts: Sequence[Prompt], drawn: Sequence[Sequence[Completion]]) -> list[float]:
        asked = [(prompt, completion) for prompt, some in zip(prompts, drawn, strict=True) for completion in some]
        return self.gold([prompt for prompt, _ in asked], [completion for _, completion in asked])

    def _compared(
        self, prompt: Prompt, completions: Sequence[Completion], rewards: Sequence[float], rng: Random
    ) -> Iterator[Pair]:
        # The same text twice would make the same pairs twice.
        distinct = {y.text: (y, g) for y, g in zip(completions, rewards, strict=True) if y.text.strip()}
        for (one, g_1), (two, g_2) in combinations(distinct.values(), 2):
            if g_1 == g_2:
                continue
            votes = [rng.random() < _sigmoid((g_1 - g_2) / self.noise) for _ in range(2)] if self.noise else []
            first = votes[0] if votes else g_1 > g_2
            chosen, rejected = (one, two) if first else (two, one)
            yield Pair(prompt, chosen, rejected, votes=tuple(vote == first for vote in votes))

    def gold(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """The classifier's log-odds of positive, nats, for the whole reviews."""
        return self._classifier.score([joined(x, y) for x, y in zip(prompts, completions, strict=True)])

    # settings

    def defaults(self, objective: type[Objective[Any]]) -> Mapping[str, object]:
        """This benchmark's beta, wherever there is a field of that name and a reference that it can be a price for."""
        return beta_for(objective, self.beta)

    def training(self, objective: type[Objective[Any]]) -> Training:
        """One rule for all: every step of a policy reads as many completions, whoever makes them.

        A model that the user names is trained as appendix B of the paper says: batches of 64 pairs (128 labels, which
        read as many completions), RMSprop, 1e-6, linear warm-up over 150 steps, or over a tenth of less than 1,500;
        as everywhere here, the rate then falls linearly. The rates of everything but offline objectives are those of
        `_rates.py`.
        """
        needs = objective.needs
        if objective.trains == "reward":
            settings, rate = FINE_TUNING, PRETRAINED.reward
        elif "demonstrations" in needs:
            settings, rate = FROM_SCRATCH, PRETRAINED.demonstrations
        elif "sampling" in needs:
            settings, rate = ONLINE, PRETRAINED.online
        else:
            settings, rate = OFFLINE, PRETRAINED.offline
        if self.pretrained:
            settings = Training(learning_rate=rate, batch_size=BATCH)
            if rate == PRETRAINED.offline:
                steps = int(self._pairs_at_most * self.epochs / BATCH)
                settings = replace(settings, optimizer="rmsprop", warmup_steps=min(WARMUP, steps // 10))
        return settings if objective.trains == "reward" or "demonstrations" in needs else even(settings, objective)

    @property
    def _pairs_at_most(self) -> int:
        return math.comb(self.samples, 2) * len(self.prompts("train")[: self._count("train")])

    # what is said of the data

    def notes(self) -> dict[str, object]:
        return {
            "source": self.source,
            "documents": {part: len(self._parts[part]) for part in PARTS},
            "left_out": self._corpus.left_out,
            "classifier": {
                "of": self.classifier or "words",
                "accuracy": self._accuracy._asdict(),
                "trained_on": None if self.classifier else len(self._lessons),
            },
        }

    def remarks(self) -> list[str]:
        of = f"{self.classifier}, which" if self.classifier else "a classifier of words that"
        trained = "" if self.classifier else f", trained on {len(self._lessons)} reviews held out for it"
        return [*self._corpus.remarks, f"the gold reward is that of {of} is right on {self._accuracy}{trained}."]

    def fingerprint(self) -> str:
        """Of the reviews, the code that deals them out, and the classifier."""
        hashed = hashlib.sha256()
        for document in sorted(self._corpus.documents):
            hashed.update(f"{document.positive}\0{document.text}\n".encode())
        folder = Path(__file__).parent
        for name in ("imdb.py", "_imdb_gold.py", "_imdb_parts.py", "_imdb_source.py"):
            hashed.update((folder / name).read_bytes())
        made_by = fingerprint_of(self._named) if self.classifier else version("scikit-learn")
        return hashlib.sha256(f"{hashed.hexdigest()} {made_by}".encode()).hexdigest()[:16]

    # each read or made once

    @cached_property
    def _corpus(self) -> Corpus:
        return read_documents(self.source)

    @cached_property
    def _parts(self) -> dict[Part, list[Document]]:
        shares: dict[Part, float] = {
            "classifier": 0.0 if self.classifier else self.classifier_share,
            "judge": self.judge_share,
            "eval": self.eval_share,
        }
        parts = deal(self._corpus.documents, shares)
        if not self.classifier and len({document.positive for document in parts["classifier"]}) < 2:
            raise InputError(
                f"imdb: {self.source} leaves no reviews of both labels to train a classifier on "
                f"({len(parts['classifier'])} of {len(self._corpus.documents)}): give more, a higher classifier_share, "
                "or a classifier."
            )
        return parts

    @cached_property
    def _prompts(self) -> dict[Split, list[Prompt]]:
        found = openings(self._parts)
        for split, prompts in found.items():
            if not prompts:
                raise InputError(
                    f"imdb: {self.source} leaves no prompt for the {split} split ({len(self._corpus.documents)} "
                    "reviews in all): give more of them, or other shares."
                )
        return found

    @cached_property
    def _classifier(self) -> Classifier:
        if self.classifier:
            return NamedClassifier(self._named, self.device)
        return WordClassifier(self._lessons)

    @property
    def _named(self) -> str:
        """The user's own classifier, "~" written out."""
        return os.path.expanduser(self.classifier)  # noqa: PTH111  (the other one raises where there is no such user)

    @property
    def _lessons(self) -> list[Document]:
        """What the classifier of words is trained on."""
        return self._parts["classifier"][:CLASSIFIED]

    @cached_property
    def _accuracy(self) -> Accuracy:
        """On reviews of the evaluation first, then of the other parts that the classifier is not trained on."""
        others = [document for split in self._prompts for document in self._parts[split]]
        return accuracy(self._classifier, others[: TRIED_ON_NAMED if self.classifier else TRIED])


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))
