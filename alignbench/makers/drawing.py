"""A model's own samples of many prompts, drawn in fixed blocks, each kept in a file as soon as it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ..batch import Tokens
from ..encoding import Encoder
from ..errors import InputError
from ..evaluate.measure import decode
from ..models import DTYPES, Policy, load_policy
from ..pretrained import fingerprint_of
from ..records import Completion, Prompt
from ..results import Json, derive, digest, read_jsonl, write_jsonl
from ..sampling import sample
from ..tokens import prompt_id
from .sources import Item
from .storing import damaged, stored, whole

BLOCK = 256
"""Samples of a block. A block is what an interrupted run loses at most."""
VERSION = 1  # of what is drawn: samples of another version are drawn anew


class Watcher(Protocol):
    """Who hears how it goes: `show` what is at work, how much of it is done and what is being done; `say` a sentence
    that is to stay."""

    def show(self, work: str, fraction: float, text: str) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled: `n` completions a prompt at `temperature`, of up to `max_new_tokens` tokens.

    `device` and `batch_size` (rows at once) change samples by no more than rounding does, and what has been drawn is
    not drawn again because of them.
    """

    model: str
    n: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    dtype: str = "float32"
    device: str = field(default="cpu", compare=False)
    batch_size: int = field(default=BLOCK, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """The model by its content."""
        return fingerprint_of(self.model)

    @property
    def described(self) -> Json:
        """What a pair says of the model and of how it was sampled."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("model", "device", "batch_size")}
        return {"model": {"name": self.model, "fingerprint": self.fingerprint}, "sampling": kept}


@dataclass(frozen=True)
class Drawn:
    """A prompt and its samples in the order in which they were drawn; none where the model cannot read the prompt, and
    `problem` then says why."""

    item: Item
    samples: tuple[Completion, ...]
    problem: str = ""


@dataclass
class Tally:
    """What a user should know of the samples that pairs are made of. `alike` counts those that repeat an earlier sample
    of their prompt; white space at the ends makes no difference, and empty ones are counted apart."""

    max_new_tokens: int
    samples: int = 0
    cut: int = 0
    empty: int = 0
    alike: int = 0
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, drawn: Drawn) -> None:
        self.samples += len(drawn.samples)
        self.cut += sum(not sample.ended for sample in drawn.samples)
        texts = [text for sample in drawn.samples if (text := sample.text.strip())]
        self.empty += len(drawn.samples) - len(texts)
        self.alike += len(texts) - len(set(texts))
        if drawn.problem:
            self.lines.setdefault(drawn.problem, []).append(drawn.item.line)

    def notes(self, shown: int = 5) -> tuple[str, ...]:
        notes = []
        for problem, lines in self.lines.items():
            more = f" and {len(lines) - shown} more" if len(lines) > shown else ""
            notes.append(f"prompts {problem}: line {', '.join(map(str, lines[:shown]))}{more}.")
        if self.cut:
            tokens = f"{self.max_new_tokens} token{'s' * (self.max_new_tokens != 1)}"
            notes.append(
                f"{self.cut} of {self.samples} samples were cut off after {tokens}, and training "
                "gives them no end token (`ended` of a pair says which): a larger --max-tokens lets them end."
            )
        if self.empty:
            notes.append(f"{self.empty} of {self.samples} samples were empty and are in no pair.")
        return tuple(notes)


class Drawing:
    """The samples of all prompts, in blocks of `BLOCK // n` prompts.

    The random numbers of a block follow from the seed and from which block it is: a run that was interrupted goes on as
    if it had not been, and further prompts at the end of a file leave the samples of whole blocks as they are.
    """

    def __init__(self, items: Sequence[Item], sampling: Sampling, folder: Path) -> None:
        size = max(1, BLOCK // sampling.n)
        self.sampling, self.folder = sampling, folder
        self.blocks = [list(items[start : start + size]) for start in range(0, len(items), size)]

    @cached_property
    def keys(self) -> list[str]:
        """A hash of everything that the samples of each block depend on."""
        how = [VERSION, self.sampling.fingerprint, self.sampling.described["sampling"]]
        return [digest(how, i, [item.prompt for item in block]) for i, block in enumerate(self.blocks)]

    @property
    def missing(self) -> list[int]:
        """The blocks that have not been drawn."""
        with stored(f"--work {self.folder}"):
            return [i for i in range(len(self.blocks)) if not self._file(i).exists()]

    def fill(self, watcher: Watcher) -> None:
        """Draw what is missing. Raises `InputError` where the model cannot be used at all."""
        todo = self.missing
        if not todo:
            return
        if len(todo) < len(self.blocks):
            watcher.say(f"{len(self.blocks) - len(todo)} of {len(self.blocks)} blocks of samples are in {self.folder}.")
        with stored(f"--work {self.folder}"):
            (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        watcher.show("sampling", 0.0, f"loading {self.sampling.model}")
        policy = load_policy(self.sampling.model, self.sampling.device)
        policy.dtype = DTYPES[self.sampling.dtype]
        self._check(policy)
        count, each = sum(map(len, self.blocks)), f"{self.sampling.n} sample{'s' * (self.sampling.n > 1)} each"
        for block in todo:
            before = sum(map(len, self.blocks[:block]))
            watcher.show("sampling", before / count, f"prompt {before + 1} of {count}, {each}")
            drawn = self._drawn(policy, block)
            with stored(f"--work {self.folder}"):
                write_jsonl(self._file(block), drawn)
        watcher.show("sampling", 1.0, f"{count} prompts, {each}")

    def read(self, block: int) -> list[Drawn]:
        """The samples of a block. Raises `InputError` where its file is damaged."""
        items = self.blocks[block]
        with whole(self._file(block)) as file:
            rows = read_jsonl(file)
        if len(rows) != len(items):
            raise damaged(self._file(block))
        return [
            Drawn(item, tuple(Completion(text, ended) for text, ended in row["samples"]), row["problem"])
            for item, row in zip(items, rows, strict=True)
        ]

    def _file(self, block: int) -> Path:
        return self.folder / "samples" / f"{self.keys[block]}.jsonl"

    def _check(self, policy: Policy) -> None:
        asked, context = self.sampling.max_new_tokens, policy.context
        if asked >= context:
            raise InputError(
                f"--max-tokens {asked} leaves no room for a prompt in the model's context of {context} tokens: give "
                "fewer."
            )
        chat = next((item for block in self.blocks for item in block if item.prompt.messages is not None), None)
        if chat is not None and not policy.tokenizer.chat_template:
            raise InputError(
                f"the prompt of line {chat.line} is chat messages, and the tokenizer of {self.sampling.model} has no "
                "chat template: give a chat model, or prompts as text."
            )

    def _drawn(self, policy: Policy, block: int) -> list[Json]:
        """The lines of a block's file."""
        encoder, room = Encoder(policy.tokenizer), policy.context - self.sampling.max_new_tokens
        asked = [_encoded(encoder, item.prompt, room) for item in self.blocks[block]]
        rows = [row for row in asked if isinstance(row, Tokens) for _ in range(self.sampling.n)]
        how = (derive(self.sampling.seed, f"pairs/{block}"), self.sampling.max_new_tokens, self.sampling.temperature)
        drawn = iter(sample(policy, rows, *how, batch_size=self.sampling.batch_size))
        lines: list[Json] = []
        for row in asked:
            texts = [
                decode(policy.tokenizer, next(drawn)) for _ in range(0 if isinstance(row, str) else self.sampling.n)
            ]
            problem = row if isinstance(row, str) else ""
            lines.append({"problem": problem, "samples": [[text.text, text.ended] for text in texts]})
        return lines


def _encoded(encoder: Encoder, prompt: Prompt, room: int) -> Tokens | str:
    """The ids of a prompt, or why the model cannot read it. A prompt is never cut: its pair would be about another."""
    from jinja2.exceptions import TemplateError

    try:
        ids = encoder.prompt_ids([encoder.render_prompt(prompt)])[0]
    except TemplateError:
        return "refused by the chat template"
    if not ids:
        return "without tokens"
    return Tokens(ids, (), prompt_id(prompt)) if len(ids) <= room else "too long for the context"
