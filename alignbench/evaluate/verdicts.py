"""Judging: the same questions to every judge, for every objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..judge import Judge
from ..records import Comparison, Completion, Prompt, Verdict


@dataclass(frozen=True)
class Judged:
    """Verdicts of one judge, one a prompt; "first" is the policy's completion."""

    against_reference: list[Verdict]
    against_chosen: list[Verdict] | None

    def as_json(self) -> dict[str, object]:
        return {
            "against_reference": [triple(v) for v in self.against_reference],
            "against_chosen": None if self.against_chosen is None else [triple(v) for v in self.against_chosen],
        }


def triple(verdict: Verdict) -> list[object]:
    return [verdict.forward, verdict.swapped, verdict.margin]


def judge_all(
    judges: Mapping[str, Judge],
    question: str,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    reference: Sequence[Completion],
    chosen: Mapping[str, Completion],
) -> dict[str, Judged]:
    """Every judge on (policy, reference's own sample) and, for prompts with a known preference, (policy, chosen)."""
    triples = zip(prompts, completions, reference, strict=True)
    against = [Comparison(prompt, ours, theirs) for prompt, ours, theirs in triples]
    known = [
        Comparison(prompt, ours, chosen[prompt.text])
        for prompt, ours in zip(prompts, completions, strict=True)
        if prompt.text in chosen
    ]
    return {
        name: Judged(judge.compare(question, against), judge.compare(question, known) if known else None)
        for name, judge in judges.items()
    }
