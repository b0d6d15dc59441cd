"""Film reviews with a label, in the layouts that they are published in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alignbench import InputError
from alignbench.data import Skipped, describe_skipped
from alignbench.reading import local

from ._layouts import find_parts, read_rows

WORDS = 3  # a prompt of two and one to go on with
SIGNS = {"pos": True, "neg": False}
# The review's own line breaks; a tokenizer would read them as words.
BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


class Document(NamedTuple):
    """A review, its words one space apart."""

    text: str
    positive: bool

    @property
    def key(self) -> str:
        """What is one and the same review, whatever its capitals."""
        return self.text.casefold()


class Corpus(NamedTuple):
    """The documents of a source, each text once, and what is left out of it: how many, by the reason."""

    documents: tuple[Document, ...]
    left_out: dict[str, int]
    remarks: tuple[str, ...] = ()


class _Found(NamedTuple):
    """Raw documents, unlabelled or unusable rows among them, and what is to be said of how they were read."""

    documents: list[Document]
    skipped: list[Skipped]
    remarks: list[str]


def read_documents(source: str) -> Corpus:
    """Every labelled review of a source, whatever split it is in.

    `source` is a folder with one *.pos and one *.neg file, a review a line (rt-polarity); a folder of texts, one file
    each, in pos/ and neg/ or in train/pos, test/neg and so on (aclImdb); a folder of parquet or JSON files, a data set
    that `datasets` has saved, or a hub id, with the columns `text` and `label`, 1 where it is positive and 0 where
    negative (stanfordnlp/imdb). Reviews without a label are not read. Each text counts once, and not at all where it
    bears both labels.

    Raises:
        InputError: nothing is there, it is in no such layout, or it holds reviews of one label only.
    """
    path = local(source)
    if path.is_file() and path.suffix.removeprefix(".") in SIGNS:
        raise InputError(f"{source} holds reviews of one label only: give the folder that it lies in.")
    found = (_line_files(path) or _text_files(path) or _rows(source)) if path.is_dir() else _rows(source)
    labels: dict[str, set[bool]] = {}
    for document in found.documents:
        labels.setdefault(document.key, set()).add(document.positive)
    kept: dict[str, Document] = {}
    counts = {"too short": 0, "repeated": 0, "labelled both ways": 0}
    for document in found.documents:
        if len(labels[document.key]) > 1:
            counts["labelled both ways"] += 1
        elif len(document.text.split()) < WORDS:
            counts["too short"] += 1
        elif document.key in kept:
            counts["repeated"] += 1
        else:
            kept[document.key] = document
    _check(source, kept.values(), found)
    left_out = {reason: count for reason, count in counts.items() if count}
    total = len(found.documents) + len(found.skipped)
    said = [f"{source}: {describe_skipped(found.skipped, total)}."] if found.skipped else []
    return Corpus(tuple(kept.values()), left_out, (*found.remarks, *said))


def _check(source: str, kept: Collection[Document], found: _Found) -> None:
    why = f" ({describe_skipped(found.skipped, len(found.documents) + len(found.skipped))})" if found.skipped else ""
    for what, positive in (("positive", True), ("negative", False)):
        if not any(document.positive is positive for document in kept):
            raise InputError(
                f"{source} holds no {what} review of {WORDS} words or more{why}: give reviews of both labels, as "
                "stanfordnlp/imdb, aclImdb and rt-polarity do."
            )


def _document(text: str, positive: bool) -> Document:
    return Document(" ".join(BREAK.sub(" ", text).split()), positive)


# --- one review a line ---


def _line_files(folder: Path) -> _Found | None:
    """rt-polarity.pos and .neg; None where there are no such files."""
    files = {label: sorted(folder.glob(f"*.{label}")) for label in SIGNS}
    if not any(files.values()):
        return None
    for label, paths in files.items():
        if len(paths) != 1:
            there = f"{len(paths)} files" if paths else "no file"
            raise InputError(f"{folder} has {there} *.{label}: give one *.pos and one *.neg, a review a line.")
    documents = []
    others: list[str] = []
    for label, (path,) in files.items():
        # `splitlines` would also split within a review, at characters that only look like the end of a line.
        lines = _decoded(path, others).split("\n")
        documents += [_document(line, SIGNS[label]) for line in lines if line.strip()]
    return _Found(documents, [], others)


def _decoded(path: Path, others: list[str]) -> str:
    """The text of a file; what is not UTF-8 is named in `others`, with what it is read as.

    The files of 2005 are in an eight-bit encoding: Windows-1252 where they hold its dashes and quotes, which Latin-1
    has as control characters; any bytes at all are Latin-1.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the file.") from None
    for encoding, name in (("utf-8", ""), ("cp1252", "Windows-1252")):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        others += [f"{path} is not UTF-8 and is read as {name}."] if name else []
        return text
    others.append(f"{path} is not UTF-8 and is read as Latin-1.")
    return content.decode("latin-1")


# --- one file a review ---


def _text_files(folder: Path) -> _Found | None:
    """aclImdb or what lies in it; None where there are no folders pos and neg."""
    roots = [folder, *(folder / name for name in ("train", "test", "aclImdb/train", "aclImdb/test"))]
    found = [(root / label, positive) for root in roots for label, positive in SIGNS.items()]
    found = [(part, positive) for part, positive in found if part.is_dir()]
    if not found:
        return None
    others: list[str] = []
    documents = [_document(_decoded(path, others), good) for part, good in found for path in sorted(part.glob("*.txt"))]
    more = [f"{folder}: {len(others) - 1} more files are not UTF-8."] if len(others) > 1 else []
    return _Found(documents, [], others[:1] + more)


# --- columns text and label ---


def _rows(source: str) -> _Found:
    # The hub's set has 50,000 reviews without a label as well: a split that is not asked for.
    remarks: list[str] = []
    parts = find_parts(source, usual="plain_text", splits=("train", "test"), say=remarks.append)
    documents: list[Document] = []
    skipped: list[Skipped] = []
    for line, row in (row for files in parts.values() for row in read_rows(files)):
        fault = _fault(row)
        if fault:
            skipped.append(Skipped(line, *fault))
        else:
            documents.append(_document(row["text"], bool(row["label"])))
    return _Found(documents, skipped, remarks)


def _fault(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The field that is wrong, and how."""
    if not isinstance(row.get("text"), str):
        return "text", "no text"
    # -1 stands for no label
    return None if row.get("label") in (0, 1) else ("label", f"{row.get('label')!r} is neither 0 nor 1")
