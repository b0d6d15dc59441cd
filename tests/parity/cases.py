"""What is compared with what: losses that agree, differences that are meant, and what only one side has.

`ours` is a spec, `kind` a trainer of TRL 1.16 and `theirs` its settings. Every number that is given twice is the same on
both sides; what a setting does not name is at its default there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """An objective of ours beside a trainer of TRL's, on one batch.

    `data` is one of `world.DATA`, or "samples" that the policy met after it had `moved` (or not). `gradient_only`: the
    two losses are numbers of different kinds, whose gradients can be compared.
    """

    ours: str
    kind: str
    theirs: Mapping[str, Any] = field(default_factory=dict)
    data: str = "pairs"
    moved: bool = True
    gradient_only: bool = False

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.theirs.items())
        return f"{self.kind}({settings})"


@dataclass(frozen=True)
class Meant:
    """A difference that is meant: `plain` differs because of `reason`, and after `adjustment` the two agree."""

    plain: Case
    reason: str
    adjustment: str
    adjusted: Case


def dpo(ours: str, loss: str, data: str = "pairs", **settings: Any) -> Case:
    """A loss type of TRL's DPO trainer."""
    return Case(ours, "DPO", {"loss_type": [loss], "beta": 0.3, **settings}, data)


def divergence(ours: str, name: str, **settings: Any) -> Case:
    return dpo(f"f_dpo:beta=0.3:divergence={ours}", "sigmoid", f_divergence_type=name, **settings)


BETA, SMOOTHED = "beta=0.3", "beta=0.3:label_smoothing=0.1"

AGREE = (
    dpo(f"dpo:{BETA}", "sigmoid"),
    dpo(f"dpo:{SMOOTHED}", "aot", "one pair", label_smoothing=0.1),  # sorting one pair does nothing, so this is cDPO
    dpo(f"robust_dpo:{SMOOTHED}", "robust", label_smoothing=0.1),
    dpo(f"ipo:{BETA}:reduction=mean", "ipo"),
    dpo(f"hinge:{BETA}", "hinge"),
    dpo("length_dpo:beta=0.3", "sigmoid_norm"),
    dpo(f"exo:{SMOOTHED}", "exo_pair", label_smoothing=0.1),
    dpo(f"nca:{BETA}", "nca_pair"),
    dpo(f"sppo:{BETA}", "sppo_hard"),
    dpo(f"apo_zero:{BETA}", "apo_zero"),
    dpo(f"apo_down:{BETA}", "apo_down"),
    dpo(f"discopop:{BETA}:tau=0.7", "discopop", discopop_tau=0.7),
    divergence("reverse_kl", "reverse_kl"),
    divergence("forward_kl", "forward_kl"),
    divergence("js", "js_divergence"),
    divergence("alpha:alpha=0.5", "alpha_divergence", f_alpha_divergence_coef=0.5),
    Case("preferred_ft", "SFT"),
    dpo("preferred_ft", "sft"),
    Case("reward_model", "Reward"),
    Case("reward_model:centring=0.1", "Reward", {"center_rewards_coefficient": 0.1}),
    Case("slic:delta=1:lam=0", "CPO", {"loss_type": "hinge", "beta": 1.0, "cpo_alpha": 0.0}),
)

MEANT = (
    Meant(
        dpo(f"ipo:{BETA}", "ipo"),
        "IPO regresses the margin of whole completions, as in its paper; TRL's DPO trainer takes log-ratios per token.",
        "ours with reduction=mean",
        dpo(f"ipo:{BETA}:reduction=mean", "ipo"),
    ),
    Meant(
        dpo(f"dpo:{SMOOTHED}", "robust", label_smoothing=0.1),
        "Conservative DPO adds the flipped loss, robust DPO takes it off and divides by 1 - 2e: two losses for one noise.",
        "our robust_dpo",
        dpo(f"robust_dpo:{SMOOTHED}", "robust", label_smoothing=0.1),
    ),
    Meant(
        dpo(f"dpo:{SMOOTHED}", "sigmoid", label_smoothing=0.1),
        "TRL's sigmoid loss leaves label_smoothing unread (it has cDPO in aot alone); ours is conservative DPO.",
        "ours without label_smoothing",
        dpo(f"dpo:{BETA}", "sigmoid", label_smoothing=0.1),
    ),
    Meant(
        divergence("alpha:alpha=0.3", "alpha_divergence", f_alpha_divergence_coef=0.3),
        "alpha is that of the f-DPO paper (1 is forward KL); TRL's coefficient is 1 - alpha.",
        "TRL's coefficient at 1 - alpha",
        divergence("alpha:alpha=0.3", "alpha_divergence", f_alpha_divergence_coef=0.7),
    ),
    Meant(
        Case(f"kto:{BETA}", "KTO", {"beta": 0.3}),
        "The drift is estimated on other pairs: TRL turns the completions of a batch by one place, ours picks partners "
        "over the whole data, of which none has the same prompt.",
        "our mismatched completions given to TRL",
        Case(f"kto:{BETA}", "KTO", {"beta": 0.3, "same_mismatched": True}),
    ),
    Meant(
        Case("slic:delta=1:lam=0.1", "CPO", {"loss_type": "hinge", "beta": 1.0, "cpo_alpha": 0.1}),
        "SLiC-HF's likelihood is that of a completion, a sum over its tokens; TRL adds the mean of all chosen tokens.",
        "completions of five tokens, TRL's weight times five",
        Case("slic:delta=1:lam=0.1", "CPO", {"loss_type": "hinge", "beta": 1.0, "cpo_alpha": 0.5}, "equal lengths"),
    ),
)
