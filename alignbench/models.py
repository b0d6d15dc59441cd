"""Load and save policies, references, adapters and reward heads; make small models from scratch."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .encoding import FIXED_LENGTH, Encoder
from .errors import InputError
from .fused import fuse_activations
from .pretrained import check_vocabulary, load_model, load_tokenizer

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


@dataclass(frozen=True)
class SmallModel:
    """A causal language model to train from scratch (a Llama of `transformers`) and the tokenizer it reads with.

    `tokenizer`: "words" splits on white space, so that text and ids correspond one to one; "bytes" is byte-level BPE;
    "symbols" are the words of the corpus and nothing else, no begin and no end: all completions are as long as a run
    samples them, and their probabilities sum to 1.
    """

    tokenizer: Literal["words", "bytes", "symbols"] = "bytes"
    vocabulary: int = 2000
    layers: int = 3
    width: int = 128
    heads: int = 4
    context: int = 512


@dataclass
class Policy:
    """A causal language model of transformers with its tokenizer, in evaluation mode: dropout is off for good.

    `dtype` is what the passes compute in; weights, log-softmax and the optimizer's state are float32 throughout.
    `adapter` is the wrapper of peft around `model` where an adapter is trained: the reference is then the same model
    with its adapter off, and `adapter_off` is true of that view of it.
    """

    model: Any
    tokenizer: Any
    dtype: torch.dtype = torch.float32
    adapter: Any = None
    adapter_off: bool = False

    def __post_init__(self) -> None:
        from transformers import GenerationConfig

        self.model.eval()
        fuse_activations(self.model)
        self.model.generation_config = GenerationConfig()  # a folder's sampling defaults must never leak into ours

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Where passes run: under autocast to `dtype`, and with the adapter off in a reference view."""
        with self.without_adapter() if self.adapter_off else nullcontext(), computing(self.device, self.dtype):
            yield

    def reference(self) -> Policy:
        """A view of the same weights whose passes are those of the model before its adapter: no copy is made."""
        assert self.adapter is not None, "a policy without an adapter is no reference of its own"
        return replace(self, adapter_off=True)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Within it the model is the one that the adapter was put on. For passes without gradient."""
        trained = [(p, p.requires_grad) for p in self.model.parameters()]
        try:
            with self.adapter.disable_adapter():
                yield
        finally:
            for parameter, flag in trained:  # peft turns them all off, and on again whatever they were
                parameter.requires_grad_(flag)

    @property
    def hidden_size(self) -> int:
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def context(self) -> int:
        """The longest sequence the model can read, in tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2**20)

    @property
    def end(self) -> int:
        """What fills places that nobody looks at: the end token, or where completions have a fixed length any other."""
        return int(self.tokenizer.eos_token_id or 0)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The tokens at which a completion ends: `end`, and a chat template's own end of a turn; none where all
        completions have the same length."""
        return Encoder(self.tokenizer).end_ids

    def save(self, folder: Path) -> None:
        """Write a folder that `load_policy` and transformers read; of an adapter, the one that peft reads.

        It says at which tokens a completion ends: other programs that generate with it would else never stop.
        """
        self.model.generation_config.eos_token_id = list(self.ends) or None
        if self.adapter is None:
            self.model.save_pretrained(folder)
        else:  # the embedding is never adapted, and to learn that by itself peft would ask the hub
            self.adapter.save_pretrained(folder, save_embedding_layers=False)
        self.tokenizer.save_pretrained(folder)


def computing(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to `dtype`; nothing in float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def quiet() -> None:
    """Keep progress bars and notices of transformers and its hub client out of a run's output; errors still show."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def small_tokenizer(corpus: Sequence[str], shape: SmallModel) -> Any:
    """A tokenizer trained on `corpus`, with begin, end, pad and unknown tokens of its own; of symbols, without any."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BOS, EOS, UNKNOWN] if shape.tokenizer != "symbols" else []
    if shape.tokenizer != "bytes":
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN) if special else models.WordLevel())
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer: Any = trainers.WordLevelTrainer(vocab_size=shape.vocabulary, special_tokens=special)
    else:
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=shape.vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    # A special token written out in the text would be learned a second time, under another id.
    written_out = re.compile("|".join(map(re.escape, special)) or "(?!)")
    tokenizer.train_from_iterator((written_out.sub(" ", text) for text in corpus), trainer)
    named: dict[str, Any] = {FIXED_LENGTH: True}
    if special:
        begin = tokenizer.token_to_id(BOS)
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, begin)])
        named = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=shape.context, **named
    )


def small_config(shape: SmallModel, **tokens: Any) -> Any:
    """The configuration of a Llama of the given shape; `tokens`: the size of its vocabulary and its special ids."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        **tokens,
    )


def small_model(tokenizer: Any, shape: SmallModel, seed: int) -> Policy:
    """A Llama of the given shape with random weights; the same seed gives the same weights."""
    from transformers import LlamaForCausalLM

    config = small_config(
        shape,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Policy(LlamaForCausalLM(config), tokenizer)


def load_policy(source: str | Path, device: str | torch.device = "cpu") -> Policy:
    """A causal language model from a local folder or a hub id, in float32, from safetensors only.

    A folder that holds a peft adapter is merged into its base model.

    Raises:
        InputError: the folder lacks a configuration, safetensors weights or a tokenizer, the weights do not fit, or
            the vocabulary of the tokenizer is larger than the model's.
    """
    from transformers import AutoModelForCausalLM

    model = load_model(AutoModelForCausalLM, source)
    tokenizer = load_tokenizer(source)
    check_vocabulary(model, tokenizer, source)
    return Policy(model.to(device), tokenizer)


class RewardModel:
    """A sequence classifier of transformers with one output (its reward) or two (the log-odds of the second).

    The reward is read at the last real token, the end token where there is one: found by counting, never by looking
    for padding, because padding is often the end token itself. `dtype` is what the trunk of a decoder computes in.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str, dtype: torch.dtype = torch.float32) -> None:
        self.model = model.eval()
        fuse_activations(model)
        self.tokenizer = tokenizer
        self.name = name
        self.dtype = dtype
        if model.config.num_labels not in (1, 2):
            raise InputError(f"reward model {name}: it has {model.config.num_labels} outputs, one or two can be read.")

    @classmethod
    def load(
        cls, source: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> RewardModel:
        from transformers import AutoModelForSequenceClassification

        model = load_model(AutoModelForSequenceClassification, source)
        tokenizer = load_tokenizer(source)
        check_vocabulary(model, tokenizer, source)
        return cls(model.to(device), tokenizer, str(source), dtype)

    @torch.no_grad()
    def score(self, rows: Sequence[Sequence[int]], max_tokens: int = 16384) -> Tensor:
        """The reward of each token sequence, `[B]` float32 on the CPU; rows of like length run together."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        scores = torch.zeros(len(rows))
        while order:
            size = max(1, min(len(order), max_tokens // max(1, len(rows[order[-1]]))))
            part, order = order[-size:], order[:-size]
            scores[part] = self._score([list(rows[i]) for i in part]).float().cpu()
        return scores

    def _score(self, rows: list[list[int]]) -> Tensor:
        device = next(self.model.parameters()).device
        lengths = torch.tensor([len(row) for row in rows], device=device)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        pad = 0 if pad is None else pad  # of a fixed length: whatever it is, it is masked
        width = int(lengths.max())
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        mask = (torch.arange(width, device=device)[None] < lengths[:, None]).long()
        if hasattr(self.model, "score"):  # a decoder: trunk, then a linear head at the last real token
            trunk = getattr(self.model, self.model.base_model_prefix)
            with computing(device, self.dtype):
                states = trunk(input_ids=ids, attention_mask=mask).last_hidden_state
            logits = self.model.score(states[torch.arange(len(rows), device=device), lengths - 1].float())
        else:  # an encoder pools by itself, and its attention mask keeps padding out
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        score: Tensor = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return score

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def as_reward_model(policy: Policy, head: nn.Linear, name: str) -> RewardModel:
    """The trunk of `policy` with `head [1, D]` on top, as a sequence classifier that `from_pretrained` reads."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(policy.model.config)
    config.num_labels = 1
    config.pad_token_id = policy.tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForSequenceClassification.from_config(config)
    prefix = policy.model.base_model_prefix
    getattr(model, prefix).load_state_dict(getattr(policy.model, prefix).state_dict())
    with torch.no_grad():
        model.score.weight.copy_(head.weight)
    return RewardModel(model.to(policy.device), policy.tokenizer, name, policy.dtype)
