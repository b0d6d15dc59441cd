"""Checks of where the gradient of a loss goes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..batch import Completions, Experience, Labelled, Pairs, Ranked
from ..objective import Objective
from .outcomes import Failed, NotApplicable, short
from .points import AT_REFERENCE, NEAR, ORDINARY
from .subject import Served, Subject, serve, sides

EXPECTED = {
    "chosen": "up", "rejected": "down", "desirable": "up", "undesirable": "down", "best": "up", "worst": "down",
    "positive": "up", "negative": "down", "all": "up",
}  # fmt: skip
SMALL = 1e-6  # of the largest gradient: what counts as none


def direction(subject: Subject) -> None:
    """A step down the loss, near the reference, raises and lowers what `moves` declares, and moves it at all."""
    moved: dict[str, list[float]] = {}
    for point, seed in ((AT_REFERENCE, 0), (NEAR, 0), (NEAR, 1)):
        served = subject.served(point, seed=seed)
        for batch in served.batches:
            for kind, step in _steps(subject.objective, served, batch):
                moved.setdefault(kind, []).append(step)
    if not moved:
        raise NotApplicable("its batches are of a kind of its own, of which the kit cannot tell good from bad")
    what = "reward" if subject.objective.trains == "reward" else "log-prob"
    largest = max(abs(step) for steps in moved.values() for step in steps)
    for kind, steps in moved.items():
        want = subject.objective.moves.get(kind, EXPECTED[kind])
        if max(map(abs, steps)) <= SMALL * largest:
            raise Failed(f"the {what} of {kind} completions gets no gradient from the loss: let the loss read it.")
        sign = {"up": 1, "down": -1, "any": 0}[want]
        wrong = [step for step in steps if sign * step < -SMALL * largest]
        if wrong:
            raise Failed(
                f"a step down the loss moves the {what} of {kind} completions {'down' if sign > 0 else 'up'} in "
                f"{len(wrong)} of {len(steps)} cases (gradient {short(-wrong[0])}): it must go {want}; look for a "
                f"wrong sign or swapped sides, or declare `moves`."
            )


def _steps(objective: Objective[Any], served: Served, batch: Any) -> list[tuple[str, float]]:
    """How far a step down the loss moves each sequence (of a rollout: each token), with its kind."""
    looked = served.look(batch)
    found: list[tuple[str, float]] = []
    gradients = served.gradients(looked)
    for kind, row, tokens in sides(looked, served):
        gradient = -gradients[row][objective.trains == "reward"]
        if tokens is None:
            found.append((kind, float(gradient.sum())))
        else:
            found += [(kind, step) for step in gradient[tokens].tolist()]
    return found


def every_token(subject: Subject) -> None:
    """Where a completion gets gradient at all, each of its tokens gets some."""
    if subject.objective.trains == "reward":
        raise NotApplicable("a reward model is trained on the state after the last token alone")
    reached = 0
    for seed in (0, 1):
        served = subject.served(NEAR, seed=seed)
        for batch in served.batches:
            looked = served.look(batch)
            gradients = served.gradients(looked)
            largest = max(float(grad.abs().max()) for grad, _ in gradients.values())
            for rows in looked.part.rows:
                for row in rows:
                    grad = gradients[row][0]
                    got = grad.abs() > 1e-4 * float(grad.abs().max())
                    if float(grad.abs().max()) <= SMALL * largest:
                        continue
                    reached += 1
                    if not bool(got.all()):
                        none = [t for t, there in enumerate(got.tolist()) if not there]
                        raise Failed(
                            f"of a completion of {len(got)} tokens, token {', '.join(map(str, none))} (from 0) gets no "
                            f"gradient: read all of `logps`, by `logp`, `mean_logp`, `log_ratio` or `mask`."
                        )
    if not reached:
        raise Failed("no completion gets any gradient: let the loss read `logps`, and detach nothing of it.")


def head(subject: Subject) -> None:
    """The head that `init` returns is trained: the loss has a gradient in the values that it gives."""
    served = subject.served(ORDINARY)
    if served.engine.table.head is None:
        raise NotApplicable("`init` returns no head")
    for batch in served.batches:
        if any(bool(values.any()) for _, values in served.gradients(served.look(batch)).values()):
            return
    raise Failed("`init` returns a head and the loss has no gradient in `values`: train it, or leave it out.")


def isolated(subject: Subject) -> None:
    """The loss of an item has no gradient in the sequences of other items, or in those of KTO's drift."""
    for point in (NEAR, ORDINARY):
        served = subject.served(point)
        for batch in served.batches[:2]:
            looked = served.look(batch)
            for number, item in enumerate(looked.items):
                own = set(looked.part.rows[number])
                for row, gradient in served.gradients(looked, item).items():
                    size = max(float(part.abs().max()) for part in gradient)
                    if row not in own and not size == 0:
                        raise Failed(
                            f"the loss of item {number} has a gradient of {short(size)} in a sequence of another item: "
                            f"compute what couples a batch in `batches`, without gradient, and carry it in `extra`."
                        )


def frozen_inputs(subject: Subject) -> None:
    """What `batches` hands over (advantages, returns, old log-probs, notes) has no gradient; nor has the reference."""
    served = serve(subject.objective, ORDINARY, traced=True)
    for batch in served.batches:
        for name, tensor in tensors(batch).items():
            if tensor.requires_grad:
                raise Failed(f"`{name}` of the batch carries a gradient: `batches` must compute it without one.")
        loss = served.look(batch).masked.sum()
        if loss.requires_grad:  # that it has a gradient at all is for other checks to ask
            loss.backward()
    for leaves in served.engine.table.leaves.values():
        if leaves.ref_logps.grad is not None and bool(leaves.ref_logps.grad.any()):
            raise Failed("the reference gets a gradient: read it by `ref_logps` or `log_ratio`, which have none.")


def tensors(batch: Any) -> dict[str, Tensor]:
    """The tensors that a batch was given, by name; not what its completions compute."""
    found = {f"extra[{name!r}]": tensor for name, tensor in getattr(batch, "extra", {}).items()}
    if isinstance(batch, Experience):
        names = ("old_logps", "advantages", "returns", "old_values", "scores")
        found |= {name: getattr(batch, name) for name in names if getattr(batch, name) is not None}
    if isinstance(batch, Labelled):
        found["desirable"] = batch.desirable
    return found


def completions_of(batch: Any) -> list[Completions]:
    """The completions of a batch; none for a kind of its own."""
    if isinstance(batch, Pairs):
        return [batch.chosen, batch.rejected]
    if isinstance(batch, Labelled | Ranked | Experience):
        return [batch.completions]
    return [batch] if isinstance(batch, Completions) else []
