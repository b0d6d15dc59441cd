"""Checks of the numbers that a loss gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..batch import Experience
from ..objective import Objective
from .constants import Constants
from .outcomes import Failed, NotApplicable, short
from .points import AT_REFERENCE, EXTREME, ORDINARY
from .subject import Served, Subject, serve

MANY = (tuple(range(48)),)  # prompts, so that each combination of extremes is met
UNIT = 2.0**-8  # the rounding unit of bfloat16


def shape(subject: Subject) -> None:
    """`loss` gives one float32 number with a gradient for each item `[B]` or for each token `[B, T]`."""
    served = subject.served(ORDINARY)
    for batch in served.batches:
        loss = served.look(batch).loss
        if loss.dtype != torch.float32:
            raise Failed(f"`loss` returns {loss.dtype} where the log-probs are float32: keep their dtype.")
        if not loss.requires_grad:
            raise Failed(
                "`loss` returns a tensor without a gradient: compute it from `logps`, and detach no part of it."
            )


def finite(subject: Subject) -> None:
    """Loss and gradient are finite at ordinary and at extreme log-probs, log-ratios and importance ratios."""
    for point in (ORDINARY, *EXTREME):
        served = subject.served(point, MANY) if point in EXTREME else subject.served(point)
        for batch in served.batches:
            looked = served.look(batch)
            for number, item in enumerate(looked.items):
                if not bool(torch.isfinite(item).all()):
                    bad = float(item[~torch.isfinite(item)].detach()[0])
                    raise Failed(f"the loss is {bad} {point.name}{_where(served, looked.part, number)}: {_HINT}")
            gradients = served.gradients(looked)
            for number, rows in enumerate(looked.part.rows):
                for row in rows:
                    wrong = [grad[~torch.isfinite(grad)] for grad in gradients[row] if not torch.isfinite(grad).all()]
                    if wrong:
                        where = _where(served, looked.part, number)
                        raise Failed(f"the gradient is {float(wrong[0][0])} {point.name}{where}: {_HINT}")


_HINT = (
    "use logsigmoid, log1p, expm1, logaddexp or logsumexp for logs of sums, and clamp what goes into an exponential "
    "or a log before it is computed."
)


def _where(served: Served, part: object, number: int) -> str:
    """The log-probs of an item, as a sentence names them."""
    texts = []
    for row in part.rows[number]:  # type: ignore[attr-defined]
        leaves = served.engine.table[row]
        old = f", {short(float(leaves.logps.detach().sum()))} when sampled" if isinstance(part, Experience) else ""
        now = leaves.moved if isinstance(part, Experience) else leaves.logps
        texts.append(
            f"log-prob {short(float(now.detach().sum()))}{old}, reference {short(float(leaves.ref_logps.sum()))}"
        )
    return f" (a completion of {'; another of '.join(texts[:2])})"


def reference_value(subject: Subject) -> None:
    """With default hyper-parameters the loss is `at_reference` where the policy is the reference."""
    want = subject.objective.at_reference
    if want is None:
        raise NotApplicable("it declares no `at_reference`")
    served = serve(subject.default, AT_REFERENCE)
    for batch in served.batches:
        for item in served.look(batch).items:
            worst = float(item.detach()[(item.detach() - want).abs().argmax()])
            if not abs(worst - want) <= 1e-5 * (1 + abs(want)):
                raise Failed(
                    f"where the policy is the reference the loss is {worst:.6g}, and `at_reference` says {want:.6g}: "
                    f"mend the one that is wrong."
                )


def gradcheck(subject: Subject) -> None:
    """In float64 the gradient is the derivative of the loss, with detached parts held at their values; in float32 it
    is the same but for rounding."""
    served = serve(subject.objective, ORDINARY, (range(3),), dtype=torch.float64)
    for batch in served.batches[:1]:
        served.look(batch)  # what is computed once for the whole batch is there from now on
        with Constants() as constants:
            looked = served.look(batch)
            if looked.loss.dtype != torch.float64:
                raise Failed(
                    f"from float64 log-probs `loss` makes {looked.loss.dtype}: name no dtype, take the input's."
                )
        gradients = served.gradients(looked)
        largest = max(float(part.abs().max()) for pair in gradients.values() for part in pair)
        table = served.engine.table
        for rows in looked.part.rows:
            for row in rows:
                table.moved = isinstance(batch, Experience)
                leaves = table.learned(row)
                for leaf, grad, what in zip(leaves, gradients[row], ("log-prob", "value"), strict=True):
                    for t in range(len(leaf)):
                        slope = _slope(served, batch, leaf, t, constants)
                        if not abs(slope - float(grad[t])) <= 1e-5 * largest + 1e-8:
                            raise Failed(
                                f"the gradient in the {what} of token {t} is {short(float(grad[t]))}, the derivative "
                                f"{short(slope)}: look for arithmetic that autograd cannot follow, or float32 inside."
                            )
    _single(subject.objective)


def _single(objective: Objective[Any]) -> None:
    """The gradients of float32 against those of float64, at the same numbers."""
    exact, single = (
        serve(objective, ORDINARY, dtype=dtype, rounded=torch.float32) for dtype in (torch.float64, torch.float32)
    )
    for a, b in zip(exact.batches, single.batches, strict=False):
        want, found = exact.gradients(exact.look(a)), single.gradients(single.look(b))
        largest = max(float(part.abs().max()) for pair in want.values() for part in pair)
        for row in want.keys() & found.keys():
            for x, y in zip(want[row], found[row], strict=True):
                error = float((x - y).abs().max())
                if not error <= 1e-4 * largest + 1e-8:
                    raise Failed(
                        f"the gradient in float32 is off by {short(error)} from that in float64 ({short(largest)} at "
                        f"most): look for large terms that cancel, in the loss or in its derivative."
                    )


def _slope(served: Served, batch: object, leaf: Tensor, t: int, constants: Constants, step: float = 1e-5) -> float:
    """The central difference of the summed loss in one number."""
    sums = []
    for sign in (1, -1):
        with torch.no_grad():
            leaf[t] += sign * step
        try:
            with constants.replayed():
                looked = served.look(batch)
            sums.append(float(looked.masked.detach().sum()))
        finally:
            with torch.no_grad():
                leaf[t] -= sign * step
    return (sums[0] - sums[1]) / (2 * step)


def bf16(subject: Subject) -> None:
    """From bfloat16 log-probs the loss is that of float32, but for some roundings."""
    rough = serve(subject.objective, ORDINARY, dtype=torch.bfloat16, rounded=torch.bfloat16)
    fine = serve(subject.objective, ORDINARY, dtype=torch.float32, rounded=torch.bfloat16)
    for a, b in zip(rough.batches, fine.batches, strict=False):
        low, high = rough.look(a), fine.look(b)
        if not low.loss.is_floating_point() or low.loss.shape != high.loss.shape:
            raise Failed(
                f"from bfloat16 log-probs `loss` is {list(low.loss.shape)} of {low.loss.dtype}: keep its shape."
            )
        gradients = fine.gradients(high)
        for number, (x, y) in enumerate(zip(low.items, high.items, strict=True)):
            size = sum(
                float(grad.abs().max() * (fine.engine.table[row].logps.detach().abs().sum() * 2 + 1))
                for row in high.part.rows[number]
                for grad in gradients[row]
            )
            allowed = 4 * UNIT * (size + float(y.detach().abs().max()) + 0.1)
            error = float((x.float() - y).detach().abs().max())
            if not error <= allowed:
                exact = short(float(y.detach().abs().max()))
                raise Failed(
                    f"from bfloat16 log-probs the loss is off by {short(error)} ({exact} exactly, {short(allowed)} "
                    f"allowed): look for differences of nearly equal numbers."
                )
