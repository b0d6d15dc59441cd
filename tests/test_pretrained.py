"""Folders and hub ids of every kind, most of them bad, and adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from alignbench.errors import InputError
from alignbench.models import (
    RewardModel,
    SmallModel,
    load_policy,
    small_model,
    small_tokenizer,
)
from alignbench.pretrained import load_config, load_tokenizer

from . import small

BYTES = SmallModel("bytes", vocabulary=300, layers=2, width=32, heads=2, context=64)
CORPUS = ["the film was good .", "i did not like the plot , but the cast shone ."]
IDS = torch.tensor([[1, 10, 11, 12, 13, 10]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound model; tests spoil a copy of it."""
    folder = tmp_path_factory.mktemp("models") / "sound"
    small_model(small_tokenizer(CORPUS, BYTES), BYTES, seed=0).save(folder)
    return folder


@pytest.fixture
def copied(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copied"))


def weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def cut(file: Path, share: float = 0.5) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def shrink(folder: Path) -> None:
    """An embedding of 100 rows; the tokenizer has 300."""
    name = "model.embed_tokens.weight"
    weights(folder, lambda tensors: tensors.update({name: tensors[name][:100].clone()}))
    edit(folder / "config.json", lambda config: config.update(vocab_size=100))


UP = "model.layers.0.mlp.up_proj.weight"
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "there is no such folder"),
    "no configuration": (lambda f: remove(f, "config.json"), "no config.json"),
    "no tokenizer": (lambda f: remove(f, "tokenizer.json", "tokenizer_config.json"), "the folder has no tokenizer"),
    "half a tokenizer": (lambda f: cut(f / "tokenizer.json"), "its tokenizer cannot be loaded"),
    "another file as tokenizer": (lambda f: (f / "tokenizer.json").write_text("[]"), "its tokenizer cannot be loaded"),
    "no weights": (lambda f: remove(f, "model.safetensors"), r"no \*.safetensors weights"),
    "weights cut off": (lambda f: cut(f / "model.safetensors"), "damaged or cut off"),
    "weights empty": (lambda f: cut(f / "model.safetensors", 0), "damaged or cut off"),
    "a tensor missing": (lambda f: weights(f, lambda t: t.pop(UP)), f"its weights lack {UP};"),
    "a tensor of another shape": (lambda f: weights(f, lambda t: t.update({UP: torch.ones(3, 3)})), "the wrong shape"),
    "a vocabulary too large": (shrink, "tokens but its embedding only 100 rows"),
    "no end token": (lambda f: edit(f / "tokenizer_config.json", lambda c: c.pop("eos_token")), "no end-of-sequence"),
    "a configuration cut off": (lambda f: cut(f / "config.json"), "not a valid JSON file"),
    "an unknown architecture": (lambda f: edit(f / "config.json", lambda c: c.update(model_type="nosuch")), "`nosuch`"),
    "an encoder-decoder": (lambda f: edit(f / "config.json", lambda c: c.update(model_type="t5")), "T5Config"),
    "code of its own": (
        lambda f: edit(
            f / "config.json",
            lambda c: c.update(model_type="own", auto_map={"AutoConfig": "x.C", "AutoModelForCausalLM": "x.M"}),
        ),
        "contains custom code",
    ),
}


def one_sentence(error: pytest.ExceptionInfo[InputError], source: object) -> str:
    """Holds that the message is short, on one line, and names the model."""
    message = str(error.value)
    assert str(source) in message and len(message) < 450 and "\n" not in message
    assert "Traceback" not in message and message.endswith((".", "?")) and not message.endswith("..")
    return message


@pytest.mark.parametrize("fault", SPOILED)
def test_a_bad_folder_is_one_sentence(copied: Path, fault: str) -> None:
    spoil, named = SPOILED[fault]
    spoil(copied)
    with pytest.raises(InputError, match=named) as error:
        load_policy(copied)
    one_sentence(error, copied)


@pytest.mark.parametrize("source", ["nobody/nothing-of-this-name", "no such model", "a/b/c"])
def test_a_hub_id_that_cannot_be_had(source: str) -> None:
    for load in (load_policy, RewardModel.load, load_tokenizer, load_config):
        with pytest.raises(InputError, match=r"it is no local folder, and the hub .*: give a folder") as error:
            load(source)
        one_sentence(error, source)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_pickled_weights_are_never_read(copied: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"weights": Trap(sprung)}, copied / "pytorch_model.bin")
    torch.load(copied / "pytorch_model.bin", weights_only=False)
    assert sprung.exists(), "the trap of this test works"
    sprung.unlink()
    honest = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    for load in (load_policy, RewardModel.load):
        with pytest.raises(InputError, match="pickled weights are not read"):
            load(copied)
    save_file({"another": torch.ones(1)}, copied / "another.safetensors")
    for pickled in ({"weights": Trap(sprung)}, honest):
        torch.save(pickled, copied / "pytorch_model.bin")
        with pytest.raises(InputError, match="cannot be loaded"):
            load_policy(copied)
    assert not sprung.exists()


def test_models_are_float32_whatever_the_folder_holds(copied: Path) -> None:
    edit(copied / "config.json", lambda config: config.update(dtype="bfloat16"))
    weights(copied, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    assert {p.dtype for p in load_policy(copied).model.parameters()} == {torch.float32}


def test_what_is_no_reward_model_is_refused(copied: Path) -> None:
    with pytest.raises(InputError, match=r"its weights lack score\.weight") as error:
        RewardModel.load(copied)
    one_sentence(error, copied)
    edit(copied / "config.json", lambda config: config.update(num_labels=1))
    weights(copied, lambda tensors: tensors.update({"score.weight": torch.ones(1, 32)}))
    assert RewardModel.load(copied).score([(1, 10, 2)]).shape == (1,)
    shrink(copied)
    with pytest.raises(InputError, match="tokens but its embedding only 100 rows"):
        RewardModel.load(copied)


# --- adapters ---


@pytest.fixture
def adapter(sound: Path, tmp_path: Path) -> tuple[Path, Tensor]:
    """A folder as peft saves it (without tokenizer), and the logits of model and adapter together."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", lora_dropout=0.5)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # peft reads a name that is given up
        model = get_peft_model(load_policy(sound).model, settings)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora" in name:
            nn.init.normal_(parameter, std=0.2, generator=generator)
    folder = tmp_path / "adapter"
    model.save_pretrained(str(folder))
    return folder, logits(model.eval())


def test_an_adapter_is_merged(sound: Path, adapter: tuple[Path, Tensor], tmp_path: Path) -> None:
    folder, expected = adapter
    policy = load_policy(folder)
    assert small.off(logits(policy.model), expected) < 1e-5
    assert small.off(logits(load_policy(sound).model), expected) > 1e-2, "the adapter changes the model"
    assert type(policy.model) is hf.LlamaForCausalLM
    assert all(parameter.requires_grad for parameter in policy.model.parameters()), "all of it can be trained"
    assert policy.tokenizer("good")["input_ids"] == load_tokenizer(sound)("good")["input_ids"], "the base model's"
    assert load_config(folder).max_position_embeddings == 64
    policy.save(tmp_path / "merged")
    assert torch.equal(logits(load_policy(tmp_path / "merged").model), logits(policy.model))


def swap(folder: Path, sprung: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    torch.save(Trap(sprung), folder / "adapter_model.bin")


def settings(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "adapter_config.json", lambda config: config.update(changes))


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(min(tensors))
    save_file(tensors, folder / "adapter_model.safetensors")


BAD_ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no base": (settings(base_model_name_or_path=None), "names no base_model_name_or_path"),
    "not an object": (lambda f: (f / "adapter_config.json").write_text("[]"), "names no base_model_name_or_path"),
    "not JSON": (lambda f: cut(f / "adapter_config.json"), "names no base_model_name_or_path"),
    "another rank": (settings(r=8), "cannot be loaded onto .*: RuntimeError"),
    "unknown modules": (settings(target_modules=["nosuch"]), "cannot be loaded onto .*nosuch"),
    "an unknown kind": (settings(peft_type="X"), "cannot be loaded onto .*'X'"),
    "cut off": (lambda f: cut(f / "adapter_model.safetensors"), "cannot be loaded onto .*SafetensorError"),
    "a tensor missing": (lose_a_tensor, "cannot be loaded onto .*missing adapter keys"),
    "pickled": (lambda f: swap(f, f.parent / "sprung"), "pickled weights are not read"),
}


@pytest.mark.parametrize("fault", BAD_ADAPTERS)
def test_a_bad_adapter_is_one_sentence(adapter: tuple[Path, Tensor], fault: str) -> None:
    folder, _ = adapter
    spoil, named = BAD_ADAPTERS[fault]
    spoil(folder)
    with pytest.raises(InputError, match=named) as error:
        load_policy(folder)
    one_sentence(error, folder)
    assert not (folder.parent / "sprung").exists()


def test_an_adapter_without_its_base_model(adapter: tuple[Path, Tensor], tmp_path: Path) -> None:
    folder, _ = adapter
    settings(base_model_name_or_path=str(tmp_path / "gone"))(folder)
    for load in (load_policy, load_tokenizer, load_config):
        with pytest.raises(InputError, match="there is no such folder") as error:
            load(folder)
        one_sentence(error, tmp_path / "gone")
