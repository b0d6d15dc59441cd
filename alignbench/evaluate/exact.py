"""Every completion of a world that can be enumerated: log-probabilities under a policy, scores of a reward model.

Completions are in lexicographic order of the words, the first position slowest: that of `Enumeration.reward`. What they
share is read once, so that 20,736 completions of each of 8 prompts take half a second, and a second to be scored (one
core, 2 layers, 64 wide).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..batch import Tokens
from ..benchmark import Enumeration
from ..encoding import Encoder
from ..errors import InputError
from ..exact import ExactWorld
from ..logprobs import LanguageModel
from ..models import RewardModel, computing

ROWS = 2**16  # tokens that the trunk of a reward model reads at once


def word_ids(enumeration: Enumeration, tokenizer: object) -> list[int]:
    """The ids of the world's words.

    Raises:
        InputError: the tokenizer reads anything else than these words, or its completions may end early: then the
            probabilities of the enumerated completions would not sum to 1.
    """
    encoder = Encoder(tokenizer)  # type: ignore[arg-type]
    if not encoder.fixed_length or set(encoder.tokenizer.get_vocab()) != set(enumeration.words):
        raise InputError(
            f"the model reads other tokens than the {len(enumeration.words)} words of this benchmark, in which every "
            f"completion is enumerated: leave --model out, or name a model that a run of this benchmark has made."
        )
    return [ids[0] for ids in encoder.ids(enumeration.words)]


def exact_world(enumeration: Enumeration, ref: Tensor) -> ExactWorld:
    """The world with `ref [P, N]`, log pi_ref of every completion, as `log_probs` gives it."""
    if ref.shape != enumeration.reward.shape:
        raise ValueError(f"reference {tuple(ref.shape)}, reward {tuple(enumeration.reward.shape)}")
    return ExactWorld(enumeration.reward, ref.double(), enumeration.beta)


@torch.no_grad()
def log_probs(model: LanguageModel, prompts: Sequence[Tokens], words: Sequence[int], length: int) -> Tensor:
    """log pi(y | x) of each completion of `length` words, `[P, len(words) ** length]` float64, nats.

    Through the path that scores the model everywhere else. The distribution over the word that follows a beginning is
    read once, whatever follows: V^0 + ... + V^(T-1) of them for each prompt.
    """
    found = torch.zeros(len(prompts), 1, dtype=torch.float64)
    beginnings: list[tuple[int, ...]] = [()]
    for _ in range(length):
        # The last word of a beginning and one that is never read make a row; what comes before them is shared.
        rows = [Tokens(x.prompt + start[:-1], (*start[-1:], words[0])) for x in prompts for start in beginnings]
        following = _following(model, rows, words).view(len(prompts), len(beginnings), len(words))
        found = (found[:, :, None] + following).flatten(1)
        beginnings = [(*start, word) for start in beginnings for word in words]
    return found


def _following(model: LanguageModel, rows: Sequence[Tokens], words: Sequence[int]) -> Tensor:
    """log p of each word in the place of the last token of each row, `[len(rows), len(words)]` float64."""
    found = torch.empty(len(rows), len(words), dtype=torch.float64)
    for pack in model.packs(rows):
        part = [rows[i] for i in pack]
        forward = model.path.score(model.policy, part, model.head)
        logps = forward.log_softmax(slice(None)).cpu()
        last = torch.tensor([len(row.completion) for row in part]).cumsum(0) - 1
        found[pack] = logps[last][:, list(words)].double()
    return found


@torch.no_grad()
def reward_scores(model: RewardModel, prompts: Sequence[Tokens], words: Sequence[int], length: int) -> Tensor:
    """The reward model's score of each completion, `[P, len(words) ** length]` float64.

    A decoder reads all completions with one beginning in one sequence, each word seeing what it would see alone; an
    encoder reads every completion by itself.
    """
    if not hasattr(model.model, "score"):
        rows = [[*x.prompt, *y] for x in prompts for y in _sequences(words, length).tolist()]
        return model.score(rows).double().view(len(prompts), -1)
    last = min(length, 2)
    stems = [[*x.prompt, *y] for x in prompts for y in _sequences(words, length - last).tolist()]
    sizes = [len(stem) for stem in stems]
    if len(set(sizes)) > 1:  # prompts of unequal length: one at a time
        parts = [reward_scores(model, [x], words, length) for x in prompts]
        return torch.cat(parts)
    tree = _Tree(sizes[0], torch.tensor(words), last)
    ids = torch.cat([torch.tensor(stems), tree.words.expand(len(stems), -1)], 1)
    step = max(1, ROWS // ids.shape[1])
    scores = [_leaves(model, part, tree) for part in ids.split(step)]
    return torch.cat(scores).double().view(len(prompts), -1)


def _sequences(words: Sequence[int], length: int) -> Tensor:
    """`[len(words) ** length, length]` in lexicographic order."""
    if length == 0:
        return torch.zeros(1, 0, dtype=torch.long)
    return torch.cartesian_prod(*[torch.tensor(words)] * length).view(-1, length)


class _Tree:
    """A stem of `stem` tokens and behind it every sequence of `depth` words, as a tree: V + ... + V^depth tokens.

    `words [n]` and their `positions [stem + n]`; `bias [1, 1, L, L]`: 0 where a token sees another, its ancestors and
    itself, -inf elsewhere.
    """

    def __init__(self, stem: int, words: Tensor, depth: int) -> None:
        parents: list[int] = []
        levels: list[int] = []
        above = [stem - 1]
        self.words = words.repeat(sum(len(words) ** d for d in range(depth)))
        for level in range(depth):
            first = stem + len(parents)
            parents += [parent for parent in above for _ in words]
            levels += [stem + level] * (len(above) * len(words))
            above = list(range(first, stem + len(parents)))
        self.leaves = len(above)
        self.positions = torch.tensor([*range(stem), *levels])
        seen = torch.eye(stem + len(parents), dtype=torch.bool)
        seen[:stem, :stem].logical_or_(torch.ones(stem, stem, dtype=torch.bool).tril())
        for token, parent in enumerate(parents, start=stem):
            seen[token] |= seen[parent]
        self.bias = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[None, None]


def _leaves(model: RewardModel, ids: Tensor, tree: _Tree) -> Tensor:
    """The score at each leaf of each row, `[len(ids), leaves]`."""
    trunk = getattr(model.model, model.model.base_model_prefix)
    weight = next(model.model.parameters())
    with computing(weight.device, model.dtype):
        states = trunk(
            input_ids=ids.to(weight.device),
            position_ids=tree.positions.to(weight.device).expand(ids.shape),
            attention_mask=tree.bias.to(weight).expand(len(ids), -1, -1, -1),
            use_cache=False,
        ).last_hidden_state
    logits = model.model.score(states[:, -tree.leaves :].float())
    score: Tensor = logits[..., 0] if logits.shape[-1] == 1 else logits[..., 1] - logits[..., 0]
    return score.cpu()
