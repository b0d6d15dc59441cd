"""What is compared with what: losses that agree, differences that are meant, and what only one side has.

`ours` is a spec, `kind` a trainer of TRL 1.16 and `theirs` its settings; what they do not name is at its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Case:
    """An objective of ours beside a trainer of TRL's, on one batch.

    `data` is one of `world.DATA`, or "samples" that the policy meets after it has `moved` (or not); "our samples" are
    those with the advantages of our side, for a method whose trainer TRL no longer has. `served_at_reference`: our side
    made its batch before the first step, when the policy was the reference. `gradient_only`: the two losses are numbers
    of different kinds, whose gradients can be compared.
    """

    ours: str
    kind: str
    theirs: Mapping[str, Any] = field(default_factory=dict)
    data: str = "pairs"
    moved: bool = True
    served_at_reference: bool = False
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


def samples(ours: str, kind: str, data: str = "samples", **settings: Any) -> Case:
    """An online objective; a completion without an end costs 1 on both sides."""
    return Case(ours, kind, settings, data)


BETA, SMOOTHED = "beta=0.3", "beta=0.3:label_smoothing=0.1"
HINGE: Mapping[str, Any] = {"loss_type": "hinge", "beta": 1.0}
SIMPO: Mapping[str, Any] = {"loss_type": "simpo", "beta": 2.0}
GRPO: Mapping[str, Any] = {"beta": 0.04, "use_bias_correction_kl": False}
DR_GRPO: Mapping[str, Any] = {**GRPO, "loss_type": "dr_grpo"}

AGREE = (
    dpo(f"dpo:{BETA}", "sigmoid"),
    dpo(f"dpo:{SMOOTHED}", "aot", "one pair", label_smoothing=0.1),  # sorting one pair does nothing: this is cDPO
    dpo(f"pl_dpo:{BETA}", "sigmoid"),  # on lists of two
    dpo(f"robust_dpo:{SMOOTHED}", "robust", label_smoothing=0.1),
    dpo(f"ipo:{BETA}:reduction=mean", "ipo"),
    dpo("hinge:beta=1", "hinge", beta=1.0),
    dpo("length_dpo:beta=0.3", "sigmoid_norm"),
    dpo(f"exo:{SMOOTHED}", "exo_pair", label_smoothing=0.1),
    dpo(f"nca:{BETA}", "nca_pair"),
    dpo(f"sppo:{BETA}", "sppo_hard"),
    dpo(f"aot:{BETA}", "aot"),
    dpo(f"aot_unpaired:{BETA}", "aot_unpaired"),
    dpo(f"apo_zero:{BETA}", "apo_zero"),
    # Its mean is over completions, and ours over pairs: the weights make up for the factor of 2.
    Case(
        f"apo_zero:{BETA}",
        "KTO",
        {"loss_type": "apo_zero_unpaired", "beta": 0.3, "desirable_weight": 2.0, "undesirable_weight": 2.0},
    ),
    dpo(f"apo_down:{BETA}", "apo_down"),
    dpo(f"discopop:{BETA}:tau=0.7", "discopop", discopop_tau=0.7),
    dpo(f"wpo:{BETA}", "sigmoid", use_weighting=True),
    divergence("reverse_kl", "reverse_kl"),
    divergence("forward_kl", "forward_kl"),
    divergence("js", "js_divergence"),
    divergence("alpha:alpha=0.5", "alpha_divergence", f_alpha_divergence_coef=0.5),
    Case("sft", "SFT"),
    Case("preferred_ft", "SFT"),
    dpo("preferred_ft", "sft"),
    Case("reward_model", "Reward"),
    Case("reward_model:centring=0.1", "Reward", {"center_rewards_coefficient": 0.1}),
    Case(f"cpo:{BETA}:alpha=0", "CPO", {"beta": 0.3, "cpo_alpha": 0.0}),
    Case("slic:delta=1:lam=0", "CPO", {**HINGE, "cpo_alpha": 0.0}),
    # The policy loss is per token and averaged over the tokens of the batch; values and their head TRL has no more.
    samples("ppo:value_coef=0", "GRPO", "our samples", loss_type="bnpo", beta=0.0, epsilon=0.2),
    samples("grpo:beta=0.04", "GRPO", loss_type="grpo", **GRPO),
    samples("grpo:beta=0.04:normaliser=token", "GRPO", loss_type="bnpo", **GRPO),
    samples("grpo:beta=0.04:normaliser=token", "GRPO", loss_type="dapo", **GRPO),  # alike in one batch of one process
    samples(f"online_dpo:{BETA}", "OnlineDPO", loss_type="sigmoid", beta=0.3, missing_eos_penalty=1.0),
    samples("online_dpo:loss_type=ipo+beta=0.3", "OnlineDPO", loss_type="ipo", beta=0.3, missing_eos_penalty=1.0),
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
        "Conservative DPO adds the loss of flipped labels, robust DPO takes it off and divides by 1 - 2e.",
        "our robust_dpo",
        dpo(f"robust_dpo:{SMOOTHED}", "robust", label_smoothing=0.1),
    ),
    Meant(
        dpo(f"dpo:{SMOOTHED}", "sigmoid", label_smoothing=0.1),
        "TRL's sigmoid loss leaves label_smoothing unread, without a word; ours is then conservative DPO.",
        "ours without label_smoothing",
        dpo(f"dpo:{BETA}", "sigmoid", label_smoothing=0.1),
    ),
    Meant(
        divergence("alpha:alpha=0.3", "alpha_divergence", f_alpha_divergence_coef=0.3),
        "alpha is that of the f-DPO paper, where 1 is the forward KL; TRL's coefficient is 1 - alpha.",
        "TRL's coefficient at 1 - alpha",
        divergence("alpha:alpha=0.3", "alpha_divergence", f_alpha_divergence_coef=0.7),
    ),
    Meant(
        dpo(f"rpo:{BETA}:alpha=0.7", "sigmoid", loss_type=["sigmoid", "sft"], loss_weights=[0.7, 1.0]),
        "The supervised term is a mean over the tokens of each completion; TRL's is over all chosen tokens of a batch.",
        "chosen completions of equal lengths",
        dpo(
            f"rpo:{BETA}:alpha=0.7",
            "sigmoid",
            "equal lengths",
            loss_type=["sigmoid", "sft"],
            loss_weights=[0.7, 1.0],
        ),
    ),
    Meant(
        dpo(f"bco_pair:{BETA}", "bco_pair"),
        "BCO takes the running mean of rewards off before it classifies; TRL's bco_pair has no such shift.",
        "our batch served at the reference, where the mean is 0",
        replace(dpo(f"bco_pair:{BETA}", "bco_pair"), served_at_reference=True),
    ),
    Meant(
        dpo(f"bco:{BETA}", "bco_pair", loss_weights=[0.5]),
        "TRL 1.16 has no BCO trainer. This is half of its bco_pair, as our mean is over completions; it has no shift.",
        "our batch served at the reference, where the mean is 0",
        replace(dpo(f"bco:{BETA}", "bco_pair", loss_weights=[0.5]), served_at_reference=True),
    ),
    Meant(
        Case(f"kto:{BETA}", "KTO", {"beta": 0.3}),
        "The drift is estimated on other pairs: TRL turns the completions of a batch by one place, ours picks partners "
        "of other prompts over the whole data.",
        "TRL given our mismatched completions",
        Case(f"kto:{BETA}", "KTO", {"beta": 0.3, "same_mismatched": True}),
    ),
    Meant(
        Case(f"cpo:{BETA}:alpha=0.7", "CPO", {"beta": 0.3, "cpo_alpha": 0.7}),
        "NLL is a mean over the tokens of each completion; TRL's is over all chosen tokens of a batch.",
        "chosen completions of equal lengths",
        Case(f"cpo:{BETA}:alpha=0.7", "CPO", {"beta": 0.3, "cpo_alpha": 0.7}, "equal lengths"),
    ),
    Meant(
        Case("slic:delta=1:lam=0.1", "CPO", {**HINGE, "cpo_alpha": 0.1}),
        "SLiC-HF's likelihood is that of a completion, a sum over its tokens; TRL adds the mean of all chosen tokens.",
        "completions of five tokens, TRL's weight times five",
        Case("slic:delta=1:lam=0.1", "CPO", {**HINGE, "cpo_alpha": 0.5}, "equal lengths"),
    ),
    Meant(
        Case("simpo:beta=2:gamma_beta_ratio=0.3", "CPO", {**SIMPO, "simpo_gamma": 0.3, "cpo_alpha": 0.0}),
        "Our margin is that of the authors' code, gamma divided by beta; TRL's simpo_gamma is the paper's gamma.",
        "TRL's simpo_gamma times beta",
        Case("simpo:beta=2:gamma_beta_ratio=0.3", "CPO", {**SIMPO, "simpo_gamma": 0.6, "cpo_alpha": 0.0}),
    ),
    Meant(
        Case("simpo:beta=2:gamma_beta_ratio=0.3", "CPO", {**SIMPO, "simpo_gamma": 0.6}),
        "SimPO has no supervised term; TRL's trainer adds CPO's with weight 1 unless it is told not to.",
        "TRL's cpo_alpha at 0",
        Case("simpo:beta=2:gamma_beta_ratio=0.3", "CPO", {**SIMPO, "simpo_gamma": 0.6, "cpo_alpha": 0.0}),
    ),
    Meant(
        Case("orpo:lam=0.3", "ORPO", {"beta": 0.3}, "equal lengths"),
        "NLL is over the completion; TRL's is over the prompt as well.",
        "prompts that are the begin token alone",
        Case("orpo:lam=0.3", "ORPO", {"beta": 0.3}, "no prompt, equal lengths"),
    ),
    Meant(
        Case("orpo:lam=0.3", "ORPO", {"beta": 0.3}, "no prompt"),
        "NLL is a mean over the tokens of each completion; TRL's is over all chosen tokens of a batch.",
        "chosen completions of equal lengths",
        Case("orpo:lam=0.3", "ORPO", {"beta": 0.3}, "no prompt, equal lengths"),
    ),
    Meant(
        samples("rloo:beta=0.05", "RLOO", beta=0.05),
        "Ours takes one step on a batch of samples, on A log pi; TRL, to take several, weighs A by the clipped ratio "
        "of a completion under the policy and under the one that sampled.",
        "gradients of the first step, where the ratio is 1",
        replace(samples("rloo:beta=0.05", "RLOO", beta=0.05), moved=False, gradient_only=True),
    ),
    Meant(
        samples("grpo:beta=0.04", "GRPO", loss_type="grpo", beta=0.04),
        "The KL penalty (k3) is added as in the paper; TRL weighs it by pi / pi_old unless told not to, which makes "
        "its gradient that of the KL.",
        "TRL's use_bias_correction_kl=False",
        samples("grpo:beta=0.04", "GRPO", loss_type="grpo", **GRPO),
    ),
    Meant(
        samples("dr_grpo:beta=0.04", "GRPO", **DR_GRPO, scale_rewards="none", max_completion_length=10),
        "The formula sums over the tokens of a completion; TRL divides the sum by the longest length that is sampled.",
        "TRL's max_completion_length at 1, which only divides here",
        samples("dr_grpo:beta=0.04", "GRPO", **DR_GRPO, scale_rewards="none", max_completion_length=1),
    ),
    Meant(
        samples("dr_grpo:beta=0.04", "GRPO", **DR_GRPO, max_completion_length=1),
        "Dr. GRPO does not divide by the spread of rewards in a group; TRL's dr_grpo does unless told not to.",
        "TRL's scale_rewards=none",
        samples("dr_grpo:beta=0.04", "GRPO", **DR_GRPO, scale_rewards="none", max_completion_length=1),
    ),
)

NOT_IN_TRL = {
    "dpop": "no loss type of TRL 1.16 has its penalty",
    "rrhf": "TRL has no loss on lists that ranks mean log-probs",
    "unlikelihood": "TRL has no unlikelihood loss",
    "remax": "TRL has no baseline from greedy completions",
    "raft": "no trainer of TRL draws, ranks and imitates; on what was picked it is sft",
}
"""Ours, which no trainer of TRL 1.16 computes."""

NOT_HERE = {
    "CPO ipo": "IPO on log-probs per token without a reference, which the paper does not have",
    "GRPO luspo": "GRPO with ratios of whole sequences, weighted by length",
    "GRPO cispo": "GRPO with clipped ratios as weights of REINFORCE",
    "GRPO sapo": "GRPO with soft gates in place of clips",
    "GRPO vespo": "GRPO with weights of whole sequences from a variational argument",
    "LD-DPO (ld_alpha of DPO)": "DPO that weighs down what the longer completion has beyond the length of the other",
    "AlphaPO (alpha of CPO)": "SimPO on a power of the probabilities",
    "TPO": "it learns from three completions of a prompt, of which one is gold",
}
"""Losses of TRL 1.16 for preferences that no objective of ours computes; "KIND NAME" is a loss type of a trainer."""
