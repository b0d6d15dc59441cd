"""Which part of the benchmark `hh` a pair is dealt to, where the source does not say, or may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench import InputError, Prompt
from tests.paper_layouts import dialogue, named, save
from tests.test_paper_tasks_hh import HH, texts


def test_a_source_without_splits_is_dealt_out(tmp_path: Path) -> None:
    source = save(tmp_path, {"test.jsonl": named(400, dialogue)})
    for benchmark in (HH(source=source), HH(source=f"{source}/test.jsonl")):
        sizes = [len(texts(benchmark, split)) for split in ("train", "judge", "eval")]
        assert sum(sizes) == 400
        assert abs(sizes[1] - 80) < 32
        assert abs(sizes[2] - 40) < 24
    assert len(texts(HH(source=source, eval_share=0.3), "eval")) > sizes[2]


def test_dialogues_that_open_alike_stay_together(tmp_path: Path) -> None:
    def turns(count: int, name: str) -> dict[str, str]:
        before = "".join(f"\n\nHuman: {name} {i}?\n\nAssistant: {i}." for i in range(count))
        prompt = f"{before}\n\nHuman: {name} {count}?\n\nAssistant:"
        return {"chosen": f"{prompt} good", "rejected": f"{prompt} bad"}

    def opening(text: str) -> str:
        return text.split("?", maxsplit=1)[0].split()[1]

    rows = [turns(count, f"n{i}") for i in range(100) for count in range(3)]
    whole = HH(source=save(tmp_path / "one", {"all.jsonl": rows}))
    found = {split: texts(whole, split) for split in ("train", "judge", "eval")}
    assert all(len(part) == 3 * len({opening(text) for text in part}) for part in found.values())
    assert sum(map(len, found.values())) == 300
    # One turn of ten dialogues is held out: neither it nor what follows it is trained on.
    split = HH(source=save(tmp_path / "two", {"train.jsonl": rows, "test.jsonl": rows[:30:3]}))
    assert len(texts(split, "train") | texts(split, "judge")) == 270
    assert split.notes()["shared_prompts"] == 30


def test_chat_messages_that_open_alike() -> None:
    user, reply = ("user", "a?"), ("assistant", "b.")
    groups = {HH()._group(Prompt("", messages)) for messages in ((user,), (user, reply, ("user", "c?")))}
    assert groups == {"a?"}


def test_the_validation_split_is_evaluated_where_there_is_no_other(tmp_path: Path) -> None:
    source = save(tmp_path, {"train.jsonl": named(50, dialogue, "a"), "validation.jsonl": named(9, dialogue, "b")})
    assert texts(HH(source=source), "eval") == {f"\n\nHuman: b{i}?\n\nAssistant:" for i in range(9)}
    save(tmp_path, {"test.jsonl": named(5, dialogue, "c")})
    assert len(texts(HH(source=source), "eval")) == 5


def test_a_held_out_split_of_the_hub_is_not_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    hub = save(tmp_path, {"test.jsonl": named(100, dialogue)})
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **options: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: hub)
    with pytest.raises(
        InputError, match=r"^some/set on the hub has a test split and no train split: give one that has"
    ):
        HH(source="some/set").prompts("train")
    save(tmp_path, {"train.jsonl": named(100, dialogue, "t")})
    assert len(HH(source="some/set").prompts("eval")) == 100
