"""An objective under examination: what its batches and losses are at a point, computed once for all checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..batch import Completions, Experience, Labelled, Pairs, Ranked, Tokens
from ..objective import Objective
from ..plugins import Spec
from .outcomes import Failed
from .plain import PROMPTS, PlainEngine
from .points import NEAR, ORDINARY, Point

MOST = 4  # batches that a check looks at
WHOLE = (tuple(range(PROMPTS)),)


@dataclass(frozen=True)
class Looked:
    """A loss on (part of) a batch: `part` as the training loop would have selected it, `loss` unreduced.

    Raises:
        Failed: what `loss` returned is not a tensor of one loss an item, or of one a token.
    """

    part: Any
    loss: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Tensor):
            raise Failed(f"`loss` returns {_kind(self.loss)}: return a tensor, one loss an item or one a token.")
        shapes = (len(self.part),), tuple(self.part.mask.shape)
        if tuple(self.loss.shape) not in shapes:
            raise Failed(
                f"`loss` returns shape {list(self.loss.shape)} for a batch of {len(self.part)} items of {shapes[1][1]} "
                f"tokens: return {list(shapes[0])} or {list(shapes[1])} and leave the mean to the training loop."
            )

    @property
    def masked(self) -> Tensor:
        """The loss with 0 off the mask, as the loop reduces it."""
        return self.loss.masked_fill(~self.part.mask, 0) if self.loss.dim() == 2 else self.loss

    @property
    def items(self) -> list[Tensor]:
        """What each item contributes: its loss, or those of its tokens, `[T]`."""
        if self.loss.dim() == 1:
            return list(self.loss[:, None])
        return [loss[mask] for loss, mask in zip(self.loss, self.part.mask, strict=True)]


@dataclass(frozen=True)
class Served:
    """The first batches that an objective makes of a plain engine's streams."""

    objective: Objective[Any]
    engine: PlainEngine
    batches: list[Any]

    def look(self, batch: Any, rows: Sequence[int] | None = None) -> Looked:
        """The loss on some items of a batch, selected afresh as the training loop does before it asks for it."""
        with self.reading(batch):
            part = batch.select(list(range(len(batch))) if rows is None else list(rows))
            with torch.enable_grad():
                loss = self.objective.loss(part)
        return Looked(part, loss)

    def metrics(self, batch: Any, rows: Sequence[int] | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The metrics of some items, as the loop asks for them. Raises `Failed` where they are no dict of tensors."""
        with self.reading(batch), torch.no_grad():
            part = batch.select(list(range(len(batch))) if rows is None else list(rows))
            found = self.objective.metrics(part)
        if not isinstance(found, dict):
            raise Failed(f"`metrics` returns {_kind(found)}: return a dict of tensors [B] or [B, T].")
        for name, value in found.items():
            if not isinstance(value, Tensor):
                raise Failed(f"`metrics` returns {_kind(value)} for {name}: return a tensor [B] or [B, T].")
        return part, found

    @contextmanager
    def reading(self, batch: Any) -> Iterator[None]:
        """A rollout is read as the policy is after some steps on it, all else as it is now."""
        self.engine.table.moved = isinstance(batch, Experience)
        try:
            yield
        finally:
            self.engine.table.moved = False

    def gradients(self, looked: Looked, of: Tensor | None = None) -> dict[Tokens, tuple[Tensor, Tensor]]:
        """For each sequence of the table the gradient of the summed loss (or of `of`) in its log-probs and values."""
        table, moved = self.engine.table, isinstance(looked.part, Experience)
        table.moved = moved
        leaves = {row: table.learned(row) for row in table.leaves}
        table.moved = False
        flat = [leaf for pair in leaves.values() for leaf in pair]
        total = looked.masked.sum() if of is None else of.sum()
        if not total.requires_grad:
            return {row: (torch.zeros_like(a), torch.zeros_like(b)) for row, (a, b) in leaves.items()}
        grads = torch.autograd.grad(total, flat, retain_graph=True, allow_unused=True)
        found = [torch.zeros_like(x) if g is None else g for x, g in zip(flat, grads, strict=True)]
        return dict(zip(leaves, zip(found[::2], found[1::2], strict=True), strict=True))


def _kind(value: Any) -> str:
    """The type of a value, as a sentence names it."""
    return "nothing" if value is None else type(value).__name__


class Subject:
    """An objective, how it was given, and what was served to it at each point."""

    def __init__(self, given: Spec | Objective[Any]) -> None:
        self.spec = given if isinstance(given, Spec) else None
        self.objective: Objective[Any] = given.plugin if isinstance(given, Spec) else given
        self.name = given.name if isinstance(given, Spec) else type(given).__name__
        self.memory: dict[Any, Any] = {}

    @property
    def default(self) -> Objective[Any]:
        """With default hyper-parameters, which is what a class declares of itself."""
        return type(self.objective)()

    def served(self, point: Point, plan: Sequence[Sequence[int]] = WHOLE, **options: Any) -> Served:
        """The first batches at a point; the same ones each time."""
        key = (point.name, tuple(map(tuple, plan)), *sorted((name, str(value)) for name, value in options.items()))
        if key not in self.memory:
            self.memory[key] = serve(self.objective, point, plan, **options)
        found: Served = self.memory[key]
        return found


def with_defaults(objective: Objective[Any]) -> Objective[Any] | None:
    """The same kind of objective with default hyper-parameters; None where a field has no default."""
    cls = type(objective)
    if any(field.init and field.default is field.default_factory is MISSING for field in fields(cls)):  # type: ignore[arg-type]
        return None
    return cls()


def ordinary(subject: Subject) -> bool:
    """Whether the losses and their gradients are finite at ordinary log-probs and near the reference; True as well
    where they cannot be told, which is what other checks are for."""
    if "ordinary" not in subject.memory:
        try:
            subject.memory["ordinary"] = all(_finite(subject.served(point)) for point in (ORDINARY, NEAR))
        except (Exception, SystemExit):  # noqa: BLE001 - the code of a plug-in may raise anything
            subject.memory["ordinary"] = True
    return bool(subject.memory["ordinary"])


def _finite(served: Served) -> bool:
    for batch in served.batches:
        looked = served.look(batch)
        grads = [grad for pair in served.gradients(looked).values() for grad in pair]
        if not all(bool(torch.isfinite(part).all()) for part in (looked.masked, *grads)):
            return False
    return True


def serve(objective: Objective[Any], point: Point, plan: Sequence[Sequence[int]] = WHOLE, **options: Any) -> Served:
    """Run `batches` over a fresh plain engine, without gradient, as the training loop does.

    Raises:
        Failed: there is no batch, or one is not of a kind that the loop can split.
    """
    engine = PlainEngine(point, plan, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine.table.head = objective.init(engine)
    with torch.no_grad():
        batches = list(islice(objective.batches(engine), MOST))
    if not batches:
        raise Failed("`batches` yields nothing, although the engine has data: yield at least one batch.")
    for batch in batches:
        if not all(hasattr(batch, name) for name in ("mask", "rows", "select", "__len__")):
            raise Failed(f"`batches` yields {type(batch).__name__}: yield what the engine serves, or a batch like it.")
    return Served(objective, engine, batches)


def sides(looked: Looked, served: Served) -> Iterator[tuple[str, Tokens, Tensor | None]]:
    """The sequences of a batch by kind, as `moves` names them; of a rollout with the tokens `[T]` bool of that kind."""
    part = looked.part
    if isinstance(part, Pairs):
        yield from (("chosen", row, None) for row in part.chosen.tokens)
        yield from (("rejected", row, None) for row in part.rejected.tokens)
    elif isinstance(part, Labelled):
        for row, good in zip(part.completions.tokens, part.desirable.tolist(), strict=True):
            yield "desirable" if good else "undesirable", row, None
    elif isinstance(part, Ranked):
        for rows in part.rows:
            yield "best", rows[0], None
            yield "worst", rows[-1], None
    elif isinstance(part, Experience):
        clear = 0.1 * part.advantages[part.mask].abs().max()
        for row, advantages, mask in zip(part.completions.tokens, part.advantages, part.mask, strict=True):
            yield "positive", row, advantages[mask] > clear
            yield "negative", row, advantages[mask] < -clear
    elif isinstance(part, Completions):
        yield from (("all", row, None) for row in part.tokens)
