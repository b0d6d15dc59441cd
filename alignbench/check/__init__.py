"""The conformance kit: some two dozen questions to an objective, each answered in a sentence that says what to do.

`run(spec)` asks all of them, `CHECKS` holds them by name. An objective that cannot pass one by its nature declares it
in `known_failures`, with the reason; one that is declared and passes at the default hyper-parameters has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import AlignbenchError
from ..objective import Objective
from ..plugins import Spec
from .declared import declared, documented, ends, example, metrics
from .gradients import direction, every_token, frozen_inputs, head, isolated
from .invariance import batch_order, batch_size, composition, deterministic, drift, padding, pure
from .numbers import bf16, finite, gradcheck, reference_value, shape
from .outcomes import Failed, NotApplicable, Outcome, Result, files, raised
from .rollouts import policy_gradient
from .running import common_order, learns, micro_batches, needs
from .settings import hyper_parameters
from .subject import Subject, ordinary, with_defaults

__all__ = ["CHECKS", "Check", "Outcome", "Result", "Subject", "ask", "run"]

Check = Callable[[Subject], None]
CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        declared, documented, example, shape, finite, reference_value, direction, every_token, head, isolated,
        frozen_inputs, padding, batch_order, batch_size, composition, drift, deterministic, pure, ends, policy_gradient,
        gradcheck, bf16, metrics, hyper_parameters, needs, common_order, micro_batches, learns,
    )
}  # fmt: skip

# The checks that compare numbers: where there is nothing but NaN to compare, what they say would be false.
NUMERIC = frozenset({
    "reference_value", "direction", "every_token", "head", "isolated", "padding", "batch_order", "batch_size",
    "composition", "drift", "deterministic", "pure", "policy_gradient", "gradcheck", "bf16", "metrics",
    "hyper_parameters", "micro_batches", "learns",
})  # fmt: skip


def run(spec: Spec | Objective[Any]) -> list[Outcome]:
    """The outcome of every check, in the order of `CHECKS`."""
    subject = Subject(spec)
    return [ask(subject, name) for name in CHECKS]


def ask(subject: Subject, name: str) -> Outcome:
    """The outcome of one check; what the objective's code raises is a failure, with the line."""
    found = _asked(subject, name)
    reason = subject.objective.known_failures.get(name)
    if reason is None or found.result == "not applicable":
        return found
    if found.result == "failed":
        return Outcome(name, "known failure", reason)
    if subject.objective != with_defaults(subject.objective):
        return found  # other hyper-parameters may well pass: a class declares itself at its defaults
    return Outcome(name, "failed", "it is declared in `known_failures` and is passed: remove it from there.")


def _asked(subject: Subject, name: str) -> Outcome:
    try:
        CHECKS[name](subject)
    except NotApplicable as reason:
        return Outcome(name, "not applicable", f"{reason}.")
    except (Failed, AlignbenchError) as fault:
        if name in NUMERIC and isinstance(fault, Failed) and not ordinary(subject):
            return Outcome(name, "not applicable", "the loss or its gradient is not finite: see finite.")
        return Outcome(name, "failed", str(fault))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code of a plug-in may raise anything
        return Outcome(name, "failed", raised(error, files(type(subject.objective))))
    return Outcome(name, "passed")
