"""The gold reward of the benchmark `imdb`: a sentiment classifier's log-odds that a review is positive.

    reward(x, y) = log p(positive | x y) - log p(negative | x y)

of the whole review, prompt and completion with one space between them. The classifier is a sequence classifier that the
user names, or a logistic regression made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol

from alignbench import InputError
from alignbench.models import RewardModel

from ._imdb_source import Document

WORD = r"\w[\w']*"
LONGEST = 512  # tokens of a review that a named classifier reads, as many as those of the BERT family have places for


class Classifier(Protocol):
    def score(self, texts: Sequence[str]) -> list[float]:
        """The log-odds that each text is positive, nats."""
        ...


class WordClassifier:
    """Logistic regression on words and pairs of neighbouring words.

    A feature is whether a word is there, times log((1 + n) / (1 + n_word)) + 1, over the Euclidean norm of all of the
    review's features: a word said twice counts once, and length by itself is worth nothing. So it is neither a sum over
    words nor a mean: a review of k neutral and one strong word is worth about 1 / sqrt(k + 1) of that word alone.
    Words outside its vocabulary count nothing, whether they are words of the language or not.

    Of 3,000 to 5,000 sentences of rt-polarity, C = 10 and 20 (of 5 to 40) gave the least log-loss on others, .52 to
    .49; counts without the norm were right on a hundredth less of them.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        words = TfidfVectorizer(ngram_range=(1, 2), binary=True, token_pattern=WORD)
        # liblinear: its sums are in one order, whatever library and number of threads there are for linear algebra.
        self._pipeline: Any = make_pipeline(words, LogisticRegression(C=10.0, solver="liblinear"))
        self._pipeline.fit([document.text for document in documents], [document.positive for document in documents])

    def score(self, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        odds: list[float] = self._pipeline.decision_function(list(texts)).tolist()
        return odds


class NamedClassifier:
    """A sequence classifier of transformers, with two classes or with one output that is the log-odds itself.

    Which class is positive is read from the names of its labels; without names (LABEL_0, LABEL_1) it is the second.

    Raises:
        InputError: the model cannot be loaded, has more outputs than two, or names no class positive.
    """

    def __init__(self, source: str, device: str = "cpu") -> None:
        self._model = RewardModel.load(source, device)
        self._sign = _sign(self._model.model.config, source)
        config, tokenizer = self._model.model.config, self._model.tokenizer
        # RoBERTa counts its places from 2 and says how many there are with those.
        places = int(getattr(config, "max_position_embeddings", None) or LONGEST + 2) - 2
        self._longest = min(LONGEST, places, tokenizer.model_max_length)

    def score(self, texts: Sequence[str]) -> list[float]:
        encoded = self._model.tokenizer(
            list(texts), truncation=True, max_length=self._longest, return_attention_mask=False
        )
        scores: list[float] = (self._sign * self._model.score(encoded["input_ids"])).tolist()
        return scores


def _sign(config: Any, source: str) -> int:
    """1 where the second class is the positive one, -1 where the first is."""
    if config.num_labels == 1:
        return 1
    names = [str(config.id2label[i]).lower() for i in range(2)]
    if names == ["label_0", "label_1"]:
        return 1
    positive = [name.startswith("pos") for name in names]
    if sum(positive) != 1:
        raise InputError(
            f"classifier {source}: its labels are {' and '.join(names)}, and which is positive is unknown: name one "
            "of them positive in its config.json (id2label)."
        )
    return 1 if positive[1] else -1


class Accuracy(NamedTuple):
    """The share of labelled reviews that a classifier is right on, with its 95 % interval (Wilson's)."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n} others"


def accuracy(classifier: Classifier, documents: Sequence[Document]) -> Accuracy:
    scores = classifier.score([document.text for document in documents])
    right = sum((score > 0) == document.positive for score, document in zip(scores, documents, strict=True))
    n, z = len(documents), NormalDist().inv_cdf(0.975)
    share = right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Accuracy(share, middle - half, middle + half, n)
