"""Files of `alignbench pairs`: what is refused before anything is sampled, and under which key a result is known."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from alignbench.errors import InputError
from alignbench.makers import Judging, Sampling, on_policy, read_prompts, write_pairs
from alignbench.makers.storing import check_out

from .making import JUDGE, Listener, made, models, prompts


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # it would go through what all tests before have left


def test_what_cannot_be_used_is_said_first(tmp_path: Path, folders: tuple[str, str]) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl"), Sampling(folders[0], 2, max_new_tokens=5)
    gone = str(tmp_path / "gone")
    for judging, message in [
        (Judging("reward", gone), "gone: there is no such folder"),
        (Judging("reward"), "write reward:PATH"),
        (Judging("gold"), "which a model's samples lack"),
        (Judging("length", "x"), "length takes no argument"),
    ]:
        with pytest.raises(InputError, match=message):
            made(source, sampling, judging, tmp_path / "work")
    assert not (tmp_path / "work").exists()
    with pytest.raises(InputError, match="gone: there is no such folder"):
        made(source, replace(sampling, model=gone), Judging("length"), tmp_path / "work")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"--work .*file cannot be written"):
        made(source, sampling, Judging("length"), tmp_path / "file")
    made(source, sampling, Judging("length"), tmp_path / "work")
    damaged = next((tmp_path / "work" / "samples").iterdir())
    damaged.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=f"{damaged.name} is damaged: remove it"):
        made(source, sampling, Judging("length"), tmp_path / "work")


def test_another_output_is_not_written_over(tmp_path: Path, folders: tuple[str, str]) -> None:
    items, sampling = read_prompts(prompts(tmp_path / "p.jsonl")), Sampling(folders[0], 2, max_new_tokens=5)
    out = tmp_path / "pairs.jsonl"

    def make(seed: int) -> None:
        chosen = replace(sampling, seed=seed)
        write_pairs(out, on_policy(items, chosen, Judging("length"), tmp_path / "work", Listener(), out))

    make(0)
    whole = out.read_bytes()
    out.write_bytes(whole[: whole.index(b"\n") + 20])  # half of it, as if a copy had been cut off
    make(0)
    assert out.read_bytes() == whole
    for seed, content in [(1, whole), (0, b"mine\n"), (0, b"[1]\n"), (0, b'{"prompt": "a"}\n'), (0, b"\xff")]:
        out.write_bytes(content)
        with pytest.raises(InputError, match=r"--out .*pairs.jsonl (holds something else|cannot be read)"):
            make(seed)
        assert out.read_bytes() == content


@pytest.mark.parametrize("parts", [("/proc", "alignbench", "x"), ("file", "x"), ("x" * 300,)])
def test_a_file_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, folders: tuple[str, str], parts: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    if parts[0] == "/proc" and not Path("/proc/self").exists():
        pytest.skip("no /proc: a folder that nobody may write to")
    out, items = tmp_path.joinpath(*parts), read_prompts(prompts(tmp_path / "p.jsonl"))
    with pytest.raises(InputError, match=r"--out .*x cannot be (written|read) \([A-Z][a-z ]+\): [^.]*\.$"):
        on_policy(items, Sampling(folders[0], 2), Judging("length"), tmp_path / "work", Listener(), out)
    assert not (tmp_path / "work").exists()


def test_only_a_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder: give a file"):
        check_out(tmp_path, "key")
    with pytest.raises(InputError, match=f"--out {os.devnull} is no file but a device"):
        check_out(Path(os.devnull), "key")
    check_out(tmp_path / "new" / "er" / "pairs.jsonl", "key")
    assert not list(tmp_path.iterdir()), "what was tried leaves nothing behind"


def test_a_full_disk_is_one_sentence(tmp_path: Path, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl"), Sampling(folders[0], 2, max_new_tokens=5)
    full = [True]

    def fsync(file: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match=r"^--work .*work cannot be written \(No space left on device\): "):
        made(source, sampling, Judging("length"), tmp_path / "work")
    full[0] = False
    found = made(source, sampling, Judging("length"), tmp_path / "work")
    full[0] = True
    with pytest.raises(InputError, match=r"^--out .*pairs.jsonl cannot be written \(No space left on device\): "):
        write_pairs(tmp_path / "pairs.jsonl", found)
    for file in (tmp_path / "work" / "scores").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"^--work .*work cannot be written"):
        made(source, sampling, Judging("length"), tmp_path / "work")


def test_a_judge_is_known_by_its_content(
    tmp_path: Path, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the folder that one is in, nor by how its path is written."""
    monkeypatch.chdir(Path(folders[0]))
    here = Judging("length").key, Judging("reward", folders[1]).key
    monkeypatch.chdir(tmp_path)
    assert (Judging("length").key, Judging("reward", os.path.relpath(folders[1])).key) == here
    assert Judging("reward", folders[0]).key != here[1]
    assert Judging("length", question="Which?").key != here[0]
    assert Judging("reward", folders[1], question="Which?").key == here[1], "it reads no question"
    # A judge of the user's may read any file of a folder.
    Path("mine.py").write_text(JUDGE, encoding="utf-8")
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "weights.bin").write_text(name, encoding="utf-8")
    keys = [Judging("./mine.py", argument).key for argument in ("a", "b", str(tmp_path / "a"))]
    assert keys[0] == keys[2] != keys[1]
