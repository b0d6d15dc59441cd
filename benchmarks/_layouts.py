"""Data sets of the hub in their own layout, from the hub or from a local folder.

    find_parts(source, *, subset="", usual="", splits=(), instead="--source FOLDER", say=...) -> dict[str, list[Part]]
    read_rows(parts: Sequence[Part]) -> list[Row]         # Row = (line in its file, {field: value})

`find_parts("stanfordnlp/imdb", usual="plain_text")` gives {"train": [...], "test": [...], "unsupervised": [...]}, of
the hub's files or of a folder that holds the same ones; one file, or a folder of files that name no split, gives
{"all": [...]}. Where files beside them name only what is held out, those that name no split are for training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from alignbench import InputError
from alignbench import data as alignbench_data
from alignbench.data import Row
from alignbench.hub import fetch
from alignbench.reading import local

ALL = "all"  # files that name no split
HELD_OUT = ("test", "validation")  # what may be evaluated on, the first that there is
LISTED = 8  # files that a remark names
# What file and folder names call a split.
NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
NOT_DATA = ("dataset_infos.json", "dataset_info.json", "state.json", "dataset_dict.json")


class Part(NamedTuple):
    """One file of a split, as `alignbench.data.read_rows` and `read_records` take it."""

    path: str
    split: str | None = None


def find_parts(
    source: str,
    *,
    subset: str = "",
    usual: str = "",
    splits: Collection[str] = (),
    instead: str = "--source FOLDER",
    say: Callable[[str], object] = lambda remark: None,
) -> dict[str, list[Part]]:
    """The files of each split of a data set: a local file or folder, or a hub id.

    `subset` names a folder within the data set (on the hub often called its configuration) which must be there, `usual`
    one that is taken where it is there. Where `splits` are named, no others are fetched from the hub or listed. `say`
    gets one sentence on files that are left out because they name no split, and one where the hub cannot be reached, on
    the files of its cache.

    Raises:
        InputError: nothing is there, or not the subset, or no data file of the splits, or the hub cannot be reached
            and its cache lacks the training split or every held-out one that is asked for; `instead` says what to give
            where the hub cannot help.
    """
    path = local(source)
    if path.is_file():
        if subset:
            raise InputError(f"{source} is one file and has no folder {subset!r}: leave the subset out.")
        return {ALL: [Part(source)]}
    if path.is_dir():
        folder = _inside(path, source, subset, usual)
        found = _saved(folder) or _listed(folder, folder.rglob("*"), say)
        kept = _asked(found, splits)
    else:
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source) or source.lower().endswith(SUFFIXES):
            raise InputError(f"{source} is missing: give a data set folder, one file of it or a hub id.")
        kept = _fetched(source, subset, usual, splits, instead, say)
    if not kept:
        wanted = _wanted(subset, splits)
        raise InputError(f"{source} holds no data file{wanted} ({', '.join(SUFFIXES)}): give another folder or id.")
    return kept


def _fetched(
    source: str, subset: str, usual: str, splits: Collection[str], instead: str, say: Callable[[str], object]
) -> dict[str, list[Part]]:
    # What is taken where it is there is asked for first: nothing beside it has to be fetched.
    asked = [subset] if subset else [usual, ""] if usual else [""]
    fetched = fetch(source, [_patterns(name, splits) for name in asked], instead)
    if fetched is None:
        raise InputError(f"{source} on the hub has no data file{_wanted(subset, splits)}: give {instead}.")
    folder = _inside(fetched.folder, source, subset, usual)
    if not all(path.is_relative_to(folder) for path in fetched.files):
        folder = fetched.folder  # the cache has the usual folder as well, but what is asked for lies elsewhere
    found = _asked(_listed(folder, fetched.files, say), splits)
    if fetched.cached:
        held_out = [split for split in HELD_OUT if split in splits]
        for needed in (["train"] if "train" in splits else [], held_out):
            if needed and not {ALL, *needed} & set(found):
                raise InputError(
                    f"{source}: the hub cannot be reached and its cache holds no {' or '.join(needed)} split "
                    f"(only {', '.join(found) or 'others'}): give {instead}, or connect to the network."
                )
        names = [Path(part.path).relative_to(fetched.folder).as_posix() for parts in found.values() for part in parts]
        say(f"{source}: the hub cannot be reached, and what its cache holds is read: {_some(names)}.")
    return found


def _asked(found: dict[str, list[Part]], splits: Collection[str]) -> dict[str, list[Part]]:
    return {split: parts for split, parts in found.items() if not splits or split in splits or split == ALL}


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *more])


def read_rows(parts: Sequence[Part]) -> list[Row]:
    """Line and fields of every record, file after file. Raises `InputError` as `alignbench.data.read_rows` does."""
    return [row for part in parts for row in alignbench_data.read_rows(*part)]


def _wanted(subset: str, splits: Collection[str]) -> str:
    return (f" in {subset}" if subset else "") + (f" of a split {' or '.join(splits)}" if splits else "")


def _patterns(subset: str, splits: Collection[str]) -> list[str]:
    """What to fetch. A split may be named by the file or by its folder."""
    before = f"{subset}/" if subset else ""
    words = [f"*{word}*" for split in splits for word in NAMES.get(split, (split,))] or ["*"]
    return [f"{before}{word}{suffix}" for word in words for suffix in SUFFIXES]


def _inside(folder: Path, source: str, subset: str, usual: str) -> Path:
    if subset and not (folder / subset).is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        known = f"it has {', '.join(there)}" if there else "it has no folders"
        raise InputError(f"{source} has no folder {subset!r} ({known}): name one of its own, or none.")
    return folder / subset if subset else folder / usual if usual and (folder / usual).is_dir() else folder


def _saved(folder: Path) -> dict[str, list[Part]]:
    """The splits of a folder that `datasets` has saved; none where it has not."""
    path = folder / "dataset_dict.json"
    if not path.exists():
        return {ALL: [Part(str(folder))]} if (folder / "state.json").exists() else {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["splits"]
        return {_known(name) or name: [Part(str(folder), name)] for name in names}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f'{path} is not {{"splits": [names]}} as `datasets` saves it: save the data again.') from None


def _listed(folder: Path, paths: Iterable[Path], say: Callable[[str], object]) -> dict[str, list[Part]]:
    """The data files by the split that they name. Those that name none are for training where the others are held out,
    and left out, with a remark, where there are other splits."""
    found: dict[str, list[Part]] = {}
    for path in sorted(paths):
        name = path.name.lower()
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if name.endswith(SUFFIXES) and name not in NOT_DATA and not hidden and path.is_file():
            found.setdefault(_split_of(path.relative_to(folder)), []).append(Part(str(path)))
    named = set(found) - {ALL}
    if ALL in found and named:
        unnamed = found.pop(ALL)
        if named <= set(HELD_OUT):
            return {"train": unnamed, **found}
        files = _some([Path(part.path).relative_to(folder).as_posix() for part in unnamed])
        say(f"{folder}: left out, because they name no split where others do: {files}.")
    return found


def _split_of(path: Path) -> str:
    """The split that a data file belongs to: by its name, else by the nearest folder that names one.

    The hub writes SPLIT-00000-of-00001.parquet, whatever the split is called.
    """
    numbered = re.match(r"(\w+)-\d{5}-of-\d{5}\b", path.name)
    if numbered:
        return _known(numbered[1]) or numbered[1]
    for part in reversed(path.parts):
        for word in re.split(r"[^a-z0-9]+", part.lower()):
            if split := _known(word):
                return split
    return ALL


def _known(word: str) -> str | None:
    return next((split for split, names in NAMES.items() if word.lower() in names), None)
