"""Folders and hub ids in, models of transformers out; every way this fails is one sentence. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from .errors import InputError
from .hub import asked_once, offline

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model", "spiece.model")
ADAPTER = "adapter_config.json"


def load_model(kind: Any, source: str | Path) -> Any:
    """A model of the class `kind` in float32; the adapter of a peft folder is merged into its base model.

    Raises:
        InputError: the folder lacks a configuration or safetensors weights, or they do not fit each other.
    """
    base = adapter_base(source)
    if base is None:
        return _load(kind, source)
    model = _load(kind, base)
    if not (Path(source) / "adapter_model.safetensors").exists():
        raise InputError(
            f"adapter {source}: the folder has no adapter_model.safetensors (pickled weights are not read); "
            f"save it again with save_pretrained."
        )
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft only warns of weights that are missing, and reads names that transformers is giving up.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            warnings.filterwarnings("ignore", category=FutureWarning)
            merged = PeftModel.from_pretrained(model, str(source)).merge_and_unload()
    except Exception as error:  # peft has no exception of its own
        raise InputError(f"adapter {source} cannot be loaded onto {base}: {_short(error)}") from error
    merged.name_or_path = ""  # the base model's folder does not hold these weights
    return merged.requires_grad_(True)  # peft has frozen what was not the adapter


def load_config(source: str | Path) -> Any:
    """The configuration of a model; of an adapter, that of its base model. Raises `InputError`."""
    from transformers import AutoConfig

    base = adapter_base(source) or source
    _check_folder(base, "config.json")
    try:
        with asked_once(str(base)):
            return AutoConfig.from_pretrained(str(base), trust_remote_code=False)
    except Exception as error:
        raise InputError(f"model {base}: its configuration cannot be read{_hint(base)}: {_short(error)}") from error


def skeleton(config: Any, source: str | Path) -> Any:
    """The causal language model of a configuration without weights: what layers it has. Raises `InputError`."""
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:  # transformers raises dozens of kinds
        raise InputError(f"model {source} cannot be made of its configuration: {_short(error)}") from error


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer of a model. It must have an end token, or be marked as one of completions of a fixed length. An
    adapter may leave it to its base model.

    Raises:
        InputError: there is none, it cannot be loaded, or it has neither an end-of-sequence token nor the mark.
    """
    from transformers import AutoTokenizer

    _check_folder(source)
    if _looks_local(source) and not any((Path(source) / name).exists() for name in _TOKENIZER_FILES):
        base = adapter_base(source)
        if base is not None:
            return load_tokenizer(base)
        raise InputError(f"model {source}: the folder has no tokenizer; save it there with tokenizer.save_pretrained.")
    try:
        with asked_once(str(source)):
            tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises a bare Exception
        raise InputError(f"model {source}: its tokenizer cannot be loaded{_hint(source)}: {_short(error)}") from error
    if tokenizer.eos_token_id is None and not tokenizer.init_kwargs.get("fixed_length"):
        raise InputError(f"model {source}: its tokenizer has no end-of-sequence token; set eos_token and save it.")
    return tokenizer


def check_vocabulary(model: Any, tokenizer: Any, source: str | Path) -> None:
    """Raises `InputError` where the tokenizer has ids that the model has no embedding for."""
    rows = model.get_input_embeddings().weight.shape[0]
    needed = 1 + max(tokenizer.get_vocab().values())
    if needed > rows:
        raise InputError(
            f"model {source}: its tokenizer has {needed} tokens but its embedding only {rows} rows; "
            f"give the folder the tokenizer that the model was trained with."
        )


def fingerprint_of(source: str) -> str:
    """A model folder by the content of its files (an adapter with its base), a hub id by its name."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    hashed = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja"):
            hashed.update(path.name.encode())
            with path.open("rb") as file:
                hashed.update(hashlib.file_digest(file, "sha256").digest())
    base = adapter_base(source)
    return f"sha256 {hashed.hexdigest()[:16]}" + (f" on {fingerprint_of(base)}" if base else "")


def check_same_ids(tokenizer: Any, ours: Any, source: str | Path) -> None:
    """Raises `InputError` where a model that scores the policy's own token ids would read other tokens in them."""
    theirs = tokenizer.get_vocab()
    other = next((token for token, number in ours.get_vocab().items() if theirs.get(token) != number), None)
    if other is not None:
        raise InputError(
            f"model {source}: it must read the token ids of the model that is trained, and its tokenizer is another "
            f"one (they differ in {other!r}, say); give a model of the same family."
        )


def adapter_base(source: str | Path) -> str | None:
    """The base model that a folder with an adapter of peft names, None for any other source.

    Where that folder is gone, one of the same name and parent's name beside or above the adapter stands for it: a
    results folder may have been moved, with its policies and the model that they started from.
    """
    path = Path(source) / ADAPTER
    if not path.exists():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        config = None
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise InputError(
            f"{path} names no base_model_name_or_path: write the folder or hub id of the base model there."
        )
    if Path(base).is_absolute() and not Path(base).exists():
        tail = Path(*Path(base).parts[-2:])
        moved = (above / tail for above in Path(source).resolve().parents)
        base = next((str(folder) for folder in moved if folder.is_dir()), base)
    return base


def _load(kind: Any, source: str | Path) -> Any:
    from safetensors import SafetensorError

    _check_folder(source, "config.json")
    if _looks_local(source) and not any(Path(source).glob("*.safetensors")):
        raise InputError(
            f"model {source}: the folder has no *.safetensors weights (pickled weights are not read); "
            f"save it again with model.save_pretrained."
        )
    try:
        with asked_once(str(source)):
            model, info = kind.from_pretrained(
                str(source),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except SafetensorError as error:
        raise InputError(
            f"model {source}: its weights are damaged or cut off, get them again: {_short(error)}"
        ) from error
    except Exception as error:  # transformers and the hub raise dozens of kinds
        raise InputError(f"model {source} cannot be loaded{_hint(source)}: {_short(error)}") from error
    for what, keys in (("lack", info["missing_keys"]), ("have the wrong shape for", info.get("mismatched_keys", ()))):
        names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"model {source}: its weights {what} {names[0]}{more}; is config.json that of these weights?"
            )
    return model


def _check_folder(source: str | Path, file: str = "") -> None:
    if _looks_local(source):
        if not Path(source).is_dir():
            raise InputError(f"model {source}: there is no such folder.")
        if not (Path(source) / file).exists():
            raise InputError(f"model {source}: the folder has no {file}, so it is no model of transformers.")


def _looks_local(source: str | Path) -> bool:
    return str(source).startswith((".", "/", "~")) or Path(source).exists()


def _hint(source: str | Path) -> str:
    if _looks_local(source):
        return ""
    why = "the hub cannot be reached and its cache lacks it" if offline() else "the hub does not give it"
    return f" (it is no local folder, and {why}: give a folder, or check the name and the network)"


def _short(error: Exception, most: int = 160) -> str:
    """The kind of an error and the first sentence of its message, which may be a page long."""
    first = re.split(r"(?<=[.!?]) ", " ".join(str(error).split()))[0].rstrip(" .:")
    return f"{type(error).__name__}: {first if len(first) <= most else first[:most] + '…'}."
