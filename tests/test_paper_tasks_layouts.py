"""Reading data sets in the hub's layouts: from folders, files, and the hub's cache."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from alignbench import InputError
from tests.paper_layouts import Row, cached, save

layouts: Any = importlib.import_module("alignbench.benchmarks._layouts")
find_parts: Any = layouts.find_parts
read_rows: Any = layouts.read_rows

ONE: list[Row] = [{"text": "one"}]


def found(source: str, **options: Any) -> dict[str, list[str]]:
    """The files of each split, within the folder."""
    parts = find_parts(source, **options)
    return {split: [Path(part.path).relative_to(source).as_posix() for part in each] for split, each in parts.items()}


def test_splits_are_told_as_the_hub_names_them(tmp_path: Path) -> None:
    names = {
        "plain_text/train-00000-of-00002.parquet": "train",
        "plain_text/train-00001-of-00002.parquet": "train",
        "plain_text/unsupervised-00000-of-00001.parquet": "unsupervised",
        "data/valid-00000-of-00001-0e33e6bd86e3edc9.parquet": "validation",
        "data/valid1-00000-of-00001-b647616a2be5f333.parquet": "valid1",
        "comparisons/validation/0000.parquet": "validation",
        "harmless-base/test.jsonl.gz": "test",
        "3.0.0/cnn_dailymail-test.parquet": "test",
        "dev/a.jsonl": "validation",
        "test-sets/train.jsonl": "train",
    }
    source = save(tmp_path, dict.fromkeys(names, ONE))
    expected: dict[str, list[str]] = {}
    for name in sorted(names, key=Path):
        expected.setdefault(names[name], []).append(name)
    assert found(source) == expected
    assert found(source, splits=("test",)) == {"test": expected["test"]}


def test_other_files_are_no_data(tmp_path: Path) -> None:
    source = save(tmp_path, {"train.jsonl": ONE, ".cache/train.jsonl": ONE, "red_team_attempts.jsonl.gz": ONE})
    for name in ("README.md", "dataset_infos.json", "test.py", "train.arrow"):
        (tmp_path / name).write_text("{}")
    said: list[str] = []
    assert found(source, say=said.append) == {"train": ["train.jsonl"]}
    assert said == [f"{source}: left out, because they name no split where others do: red_team_attempts.jsonl.gz."]
    save(tmp_path, {f"part{i:02}.jsonl": ONE for i in range(10)})
    found(source, say=said.append)
    assert said[1].endswith("part06.jsonl, part07.jsonl, 3 more.")


def test_beside_held_out_files_those_without_a_split_are_for_training(tmp_path: Path) -> None:
    source = save(tmp_path, {"mine.jsonl": ONE, "mine-test.jsonl": ONE})
    said: list[str] = []
    expected = {"train": ["mine.jsonl"], "test": ["mine-test.jsonl"]}
    assert found(source, say=said.append) == found(source, splits=("train", "test")) == expected
    assert not said


def test_what_names_no_split_is_whole(tmp_path: Path) -> None:
    source = save(tmp_path, {"a.jsonl": ONE, "b.jsonl": ONE})
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert found(source) == found(source, splits=("test",)) == {"all": ["a.jsonl", "b.jsonl"]}
    # One file is no split of anything, whatever its name.
    file = save(tmp_path / "one", {"base-test-1500.jsonl": ONE}) + "/base-test-1500.jsonl"
    assert find_parts(file) == {"all": [(file, None)]}


def test_a_subset_has_to_be_there_and_a_usual_one_need_not(tmp_path: Path) -> None:
    source = save(tmp_path, {"3.0.0/test.jsonl": ONE, "2.0.0/test.jsonl": ONE})
    assert found(source) == {"test": ["2.0.0/test.jsonl", "3.0.0/test.jsonl"]}
    assert found(source, usual="3.0.0") == found(source, subset="3.0.0") == {"test": ["3.0.0/test.jsonl"]}
    assert found(source, usual="1.0.0") == found(source)
    with pytest.raises(InputError, match=r"has no folder '1\.0\.0' \(it has 2\.0\.0, 3\.0\.0\): name one of its own"):
        find_parts(source, subset="1.0.0")


def test_rows_of_all_files_of_a_split(tmp_path: Path) -> None:
    source = save(tmp_path, {"train/0000.parquet": [{"text": "a"}, {"text": "b"}], "train/0001.parquet": ONE})
    assert read_rows(find_parts(source)["train"]) == [(1, {"text": "a"}), (2, {"text": "b"}), (1, {"text": "one"})]


def test_a_folder_that_the_datasets_library_saved(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}])
    datasets.DatasetDict(train=rows, valid=rows.select([1])).save_to_disk(str(tmp_path / "both"))
    rows.save_to_disk(str(tmp_path / "one"))
    both = find_parts(str(tmp_path / "both"))
    assert {split: [row for _, row in read_rows(parts)] for split, parts in both.items()} == {
        "train": [{"text": "a"}, {"text": "b"}], "validation": [{"text": "b"}],
    }  # fmt: skip
    assert len(read_rows(find_parts(str(tmp_path / "one"))["all"])) == 2


@pytest.mark.parametrize("content", ["", "{}", '{"splits": 3}', '{"splits": [3]}', "[]", "\xff"])
def test_a_saved_folder_that_is_broken(content: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r'dataset_dict\.json is not \{"splits": \[names\]\} as `datasets` saves it'):
        find_parts(str(tmp_path))


def test_one_file_has_no_subset(tmp_path: Path) -> None:
    file = save(tmp_path, {"a.jsonl": ONE}) + "/a.jsonl"
    with pytest.raises(
        InputError, match=r"a\.jsonl is one file and has no folder 'helpful-base': leave the subset out"
    ):
        find_parts(file, subset="helpful-base")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere/at/all is missing: give a data set folder, one file of it or a hub id"
    ):
        find_parts("nowhere/at/all")
    with pytest.raises(InputError, match=r"gone\.jsonl\.gz is missing"):
        find_parts("gone.jsonl.gz")
    with pytest.raises(InputError, match=r"holds no data file \(\.jsonl, "):
        find_parts(str(tmp_path))
    source = save(tmp_path, {"test.jsonl": ONE})
    with pytest.raises(InputError, match="holds no data file of a split train "):
        find_parts(source, splits=("train",))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub; tests have no network (conftest)."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_network_the_sentence_says_what_to_do(cache: Path) -> None:
    said = "^some/set is no folder here, the hub cannot be reached and its cache does not hold the whole set: give "
    with pytest.raises(InputError, match=f"{said}--source FOLDER, or connect to the network\\.$"):
        find_parts("some/set")
    with pytest.raises(InputError, match=f"{said}shift=FOLDER"):
        find_parts("some/set", instead="shift=FOLDER")


def test_what_the_cache_holds_is_read_as_a_folder_is(cache: Path) -> None:
    cached(cache, "some/set", "main", {"plain/train.jsonl": ONE, "plain/test.jsonl": ONE, "other/train.jsonl": ONE})
    assert {split: len(parts) for split, parts in find_parts("some/set").items()} == {"train": 2, "test": 1}
    assert len(find_parts("some/set", subset="plain")["train"]) == 1
    with pytest.raises(InputError, match="the hub cannot be reached"):
        find_parts("some/set", subset="missing")


def test_the_hub_is_asked_before_its_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may hold one file of many, that somebody once looked at."""
    import huggingface_hub

    cached(cache, "some/set", "main", {"test.jsonl": ONE})
    hub = Path(save(tmp_path / "hub", {"train.jsonl": ONE, "test.jsonl": ONE}))
    (hub / "notes.jsonl").write_text("{}")  # of the same set, and not asked for
    asked = []

    def download(*args: Any, revision: str, local_files_only: bool, **options: Any) -> str:
        asked.append((revision, local_files_only))
        return str(hub)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **options: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    said: list[str] = []
    found = find_parts("some/set", splits=("train", "test"), say=said.append)
    assert {split: len(parts) for split, parts in found.items()} == {"train": 1, "test": 1}
    assert asked == [("main", False)]
    assert not said


def test_a_cache_that_lacks_a_split_is_not_the_set(cache: Path) -> None:
    asked: dict[str, Any] = {"splits": ("train", "test", "validation")}
    cached(cache, "some/tests", "main", {"harmless-base/test.jsonl.gz": ONE})
    with pytest.raises(InputError, match=r"^some/tests: the hub cannot be reached and its cache holds no train split "):
        find_parts("some/tests", **asked)
    cached(cache, "some/training", "main", {"train.jsonl": ONE})
    with pytest.raises(InputError, match=r"holds no test or validation split \(only train\): give --source FOLDER"):
        find_parts("some/training", **asked)
    said: list[str] = []
    assert find_parts("some/training", splits=("train",), say=said.append)
    cached(cache, "some/set", "main", {"a/train.jsonl": ONE, "a/valid.jsonl": ONE})
    assert set(find_parts("some/set", **asked, say=said.append)) == {"train", "validation"}
    assert said == [
        "some/training: the hub cannot be reached, and what its cache holds is read: train.jsonl.",
        "some/set: the hub cannot be reached, and what its cache holds is read: a/train.jsonl, a/valid.jsonl.",
    ]


def test_a_cache_that_knows_what_it_lacks(cache: Path) -> None:
    """The hub's client writes down the files of a revision when it fetches some of them."""
    import huggingface_hub
    from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache
    from huggingface_hub.errors import IncompleteSnapshotError

    cached(cache, "some/set", "main", {"train.jsonl": ONE, "test.jsonl": ONE})
    folder = cache / "datasets--some--set"
    commit = (folder / "refs/main").read_text()
    entries = {
        name: TreeCacheEntry(1, "0", None, None, None) for name in ("train.jsonl", "test.jsonl", "a/train.jsonl")
    }
    write_tree_cache(str(folder), commit, entries)
    with pytest.raises(IncompleteSnapshotError):
        huggingface_hub.snapshot_download("some/set", repo_type="dataset", local_files_only=True)
    with pytest.raises(InputError, match="its cache does not hold the whole set"):
        find_parts("some/set", splits=("train", "test"))
    assert set(find_parts("some/set", splits=("test",))) == {"test"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no route"), "the hub cannot be reached and its cache"),
        (TimeoutError(), "the hub cannot be reached and its cache"),
    ],
)
def test_whatever_the_transport_raises(
    error: Exception, said: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def info(*args: object, timeout: float, **options: object) -> None:
        assert timeout <= 5
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    with pytest.raises(InputError, match=said):
        find_parts("some/set")


def test_an_id_that_is_none() -> None:
    with pytest.raises(InputError, match=r"^some--set: the hub gave no such data set \(Cannot have -- .*check the id"):
        find_parts("some--set")


def test_a_set_that_a_script_made_is_read_from_the_export(cache: Path) -> None:
    cached(cache, "some/set", "main", {"set.py": [], ".gitattributes": []})
    cached(cache, "some/set", "refs/convert/parquet", {"a/train/0000.parquet": ONE, "b/train/0000.parquet": ONE})
    assert read_rows(find_parts("some/set", usual="a", splits=("train",))["train"]) == [(1, ONE[0])]


def test_only_what_is_read_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[list[str]]] = []

    def fetch(source: str, alternatives: list[list[str]], instead: str) -> None:
        asked.append(alternatives)

    monkeypatch.setattr(layouts, "fetch", fetch)
    with pytest.raises(
        InputError, match=r"^some/set on the hub has no data file of a split test: give --source FOLDER"
    ):
        find_parts("some/set", usual="3.0.0", splits=("test",))
    first, second = asked[0]
    assert "3.0.0/*test*.parquet" in first
    assert "*test*.parquet" in second
    assert all("test" in pattern for pattern in (*first, *second))
    with pytest.raises(InputError, match="has no data file in a: give"):
        find_parts("some/set", subset="a", usual="b")
    assert [set(patterns) for patterns in asked[1]] == [{f"a/*{suffix}" for suffix in layouts.SUFFIXES}]
