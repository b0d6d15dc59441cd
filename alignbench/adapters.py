"""LoRA through peft: a policy whose adapter alone is trained, and whose reference is the adapter switched off."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import InputError
from .models import Policy
from .plugins.settings import convert, did_you_mean, show

ALL_LINEAR = "all-linear"
FIELDS = ("r", "alpha", "target")


@dataclass(frozen=True)
class LoRA:
    """W x + (alpha / r) B A x beside each targeted linear layer: A `[r, in]` is random, B `[out, r]` begins at zero.

    `target`: names of layers, or `all-linear` for every linear layer of the blocks; empty for peft's own choice for the
    architecture, all of them where it has none. There is no dropout. E. Hu et al. 2021, arXiv:2106.09685, section 4.1.
    """

    r: int
    alpha: float
    target: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The canonical text, which `parse` reads back."""
        target = f":target={'+'.join(self.target)}" if self.target else ""
        return f"r={self.r}:alpha={show(self.alpha)}{target}"

    @classmethod
    def parse(cls, text: str) -> LoRA:
        """From `r=16[:alpha=32:target=q_proj+v_proj]`; `alpha` is 2 r where it is not given.

        Raises:
            InputError: an unknown field, one given twice, or a value that it cannot have.
        """
        values: dict[str, str] = {}
        for part in text.split(":"):
            name, equals, value = part.partition("=")
            if name not in FIELDS:
                raise InputError(f"--lora {text}: there is no field {name!r}{_known(name)}")
            if not equals or not value:
                raise InputError(f"--lora {text}: {name} needs a value, {name}=VALUE.")
            if name in values:
                raise InputError(f"--lora {text}: {name} is given twice.")
            values[name] = value
        if "r" not in values:
            raise InputError(f"--lora {text}: give the rank, r=16 say.")
        r = convert(values["r"], int, f"--lora {text}: r")
        alpha = convert(values["alpha"], float, f"--lora {text}: alpha") if "alpha" in values else 2.0 * r
        if r < 1:
            raise InputError(f"--lora {text}: r={r} must be at least 1.")
        if not 0 < alpha < float("inf"):
            raise InputError(f"--lora {text}: alpha={alpha:g} must be a finite number above 0.")
        target = tuple(dict.fromkeys(values["target"].split("+"))) if "target" in values else ()
        if "" in target or (ALL_LINEAR in target and len(target) > 1):
            raise InputError(
                f"--lora {text}: target must be names of layers joined by +, q_proj+v_proj say, or {ALL_LINEAR} alone."
            )
        return cls(r, alpha, target)


def _known(name: str) -> str:
    return did_you_mean(name, FIELDS) or f", give {', '.join(FIELDS)}."


def add_adapter(policy: Policy, lora: LoRA, seed: int) -> None:
    """Put a new adapter on the policy, in place: it alone has a gradient, and changes nothing until it is trained.

    Raises:
        InputError: a target is no linear layer of the blocks.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    check_target(policy.model, lora)
    alpha: Any = int(lora.alpha) if lora.alpha.is_integer() else lora.alpha  # peft declares it as whole, and reads both
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.r,
        lora_alpha=alpha,
        target_modules=_target(policy.model, lora),
        lora_dropout=0.0,
        fan_in_fan_out=_transposed(policy.model),
    )
    cuda = [policy.device.index or 0] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), _quietly():
        torch.manual_seed(seed)
        policy.adapter = get_peft_model(policy.model, settings)
    settings.base_model_name_or_path = _absolute(policy.model.name_or_path)
    policy.model.eval()


def open_adapter(policy: Policy, folder: Path) -> None:
    """Put the adapter that `Policy.save` wrote to `folder` on the model that it was trained on, to be switched on and
    off and not to be trained."""
    from peft import PeftModel

    with _quietly():
        policy.adapter = PeftModel.from_pretrained(policy.model, str(folder))
    policy.model.eval()


def check_target(model: Any, lora: LoRA) -> None:
    """Raises `InputError` where a target names no linear layer of the model's blocks; weights are not read."""
    linear = _linear_layers(model)
    names = sorted({name.rpartition(".")[2] for name in linear})
    for target in lora.target:
        if target == ALL_LINEAR:
            continue
        found = [name for name, _ in model.named_modules() if name == target or name.endswith(f".{target}")]
        if not found or not set(found) <= linear:
            what = "is no linear layer" if found else "matches no layer"
            raise InputError(
                f"--lora {lora}: target {target!r} {what} of the model's blocks (there are {', '.join(names)})"
                + (did_you_mean(target, names) or ".")
            )


def _target(model: Any, lora: LoRA) -> list[str] | str:
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    if not lora.target:
        default: Any = DEFAULTS.get(model.config.model_type, ALL_LINEAR)
        return default if isinstance(default, str) else list(default)
    return ALL_LINEAR if lora.target == (ALL_LINEAR,) else list(lora.target)


def _linear_layers(model: Any) -> set[str]:
    """Full names of the linear layers, without the head: it shares its weight with the embedding in most models."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {name for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}


def _transposed(model: Any) -> bool:
    """Whether linear layers hold their weight as `[in, out]`, which peft must know of (GPT-2)."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def _absolute(source: str) -> str | None:
    """Where peft finds the base model from any folder; a hub id as it is, None for a model that lies nowhere."""
    return str(Path(source).resolve()) if source and Path(source).is_dir() else source or None


@contextmanager
def _quietly() -> Iterator[None]:
    """peft warns of weights that are missing where it should fail, and reads names that transformers gives up."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
