"""Film reviews in the layouts that they are published in: rt-polarity, aclImdb, columns text and label."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignbench import InputError
from tests.paper_layouts import cached, save

_source: Any = importlib.import_module("alignbench.benchmarks._imdb_source")
Document, read_documents = _source.Document, _source.read_documents

GOOD, BAD = "a very good film", "what a bad film"
BOTH = (Document(GOOD, True), Document(BAD, False))


def lines(folder: Path, good: bytes, bad: bytes) -> Path:
    (folder / "rt-polarity.pos").write_bytes(good)
    (folder / "rt-polarity.neg").write_bytes(bad)
    return folder


def texts(folder: Path, good: str, bad: str) -> Path:
    for part, text in (("pos", good), ("neg", bad), ("unsup", "nobody has labelled this")):
        (folder / part).mkdir(parents=True)
        (folder / part / "0_9.txt").write_text(text, encoding="utf-8")
    return folder


def saved(folder: Path) -> Path:
    import datasets

    rows = [{"text": GOOD, "label": 1}, {"text": BAD, "label": 0}]
    unlabelled = datasets.Dataset.from_list([{"text": "nobody has labelled this", "label": -1}])
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows), "unsupervised": unlabelled}).save_to_disk(folder)
    return folder


def parquet(folder: Path) -> Path:
    save(
        folder / "plain_text",
        {
            "train-00000-of-00001.parquet": [{"text": GOOD, "label": 1}],
            "test-00000-of-00001.parquet": [{"text": BAD, "label": 0}],
            "unsupervised-00000-of-00001.parquet": [{"text": "nobody has labelled this", "label": -1}],
        },
    )
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "rt-polarity": lambda folder: lines(folder, f"{GOOD} \n\n".encode(), f"{BAD}\n".encode()),
    "aclImdb": lambda folder: texts(folder / "train", GOOD, BAD).parent,
    "above aclImdb": lambda folder: texts(folder / "aclImdb" / "test", GOOD, BAD).parent.parent,
    "one part of aclImdb": lambda folder: texts(folder / "test", GOOD, BAD),
    "the hub's parquet": parquet,
    "files of no split": lambda folder: Path(
        save(folder, {"a.jsonl": [{"text": GOOD, "label": 1}, {"text": BAD, "label": 0}]})
    ),
    "saved": lambda folder: saved(folder / "saved"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_documents(layout: str, tmp_path: Path) -> None:
    corpus = read_documents(str(LAYOUTS[layout](tmp_path)))
    assert sorted(corpus.documents) == sorted(BOTH)
    assert not corpus.left_out and not corpus.remarks


def test_a_hub_id_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    files = {
        "plain_text/train-00000-of-00001.parquet": [{"text": GOOD, "label": 1}],
        "plain_text/test-00000-of-00001.parquet": [{"text": BAD, "label": 0}],
        "plain_text/unsupervised-00000-of-00001.parquet": [{"text": "x y z", "label": -1}],
    }
    cached(tmp_path, "stanfordnlp/imdb", "main", files)
    found = read_documents("stanfordnlp/imdb")
    assert sorted(found.documents) == sorted(BOTH)
    assert any("what its cache holds is read" in remark for remark in found.remarks)


def test_breaks_and_runs_of_space_are_one_space(tmp_path: Path) -> None:
    lines(tmp_path, b"so  good<br /><br />a\tfilm\r\n", b"so bad <BR/> a film")
    assert [document.text for document in read_documents(str(tmp_path)).documents] == [
        "so good a film",
        "so bad a film",
    ]


def test_what_is_no_review_of_its_own_is_left_out_and_counted(tmp_path: Path) -> None:
    good = f"{GOOD}\nA very GOOD film\ntoo short\nof two minds about it\n"
    corpus = read_documents(str(lines(tmp_path, good.encode(), f"{BAD}\nof two minds about it".encode())))
    assert corpus.documents == BOTH
    assert corpus.left_out == {"too short": 1, "repeated": 1, "labelled both ways": 2}


@pytest.mark.parametrize(
    ("content", "text", "encoding"),
    [
        ("\ufeffune comédie — légère".encode(), "une comédie — légère", None),
        ("une comédie — légère".encode("cp1252"), "une comédie — légère", "Windows-1252"),
        ("une comédie\x81 légère".encode("latin-1"), "une comédie\x81 légère", "Latin-1"),
        # In Latin-1 this byte would be the end of a line.
        (b"one moment\x85 and it is over", "one moment… and it is over", "Windows-1252"),
    ],
)
def test_what_is_not_utf8_is_read_and_said(content: bytes, text: str, encoding: str | None, tmp_path: Path) -> None:
    corpus = read_documents(str(lines(tmp_path, content, BAD.encode())))
    assert corpus.documents[0].text == text
    pos = tmp_path / "rt-polarity.pos"
    assert list(corpus.remarks) == ([f"{pos} is not UTF-8 and is read as {encoding}."] if encoding else [])


def test_rows_without_text_or_label_are_skipped_and_named(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": GOOD, "label": 1}, {"text": BAD, "label": 0}, {"text": None, "label": 1}, {"text": GOOD, "label": -1},
    ]  # fmt: skip
    corpus = read_documents(save(tmp_path, {"train.jsonl": rows}))
    assert sorted(corpus.documents) == sorted(BOTH)
    assert corpus.remarks == (
        f"{tmp_path}: skipped 2 of 4 records: line 3 (text: no text), line 4 (label: -1 is neither 0 nor 1).",
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nowhere", r"nowhere is missing: give a data set folder"),
        (lambda folder: lines(folder, GOOD.encode(), b""), "holds no negative review of 3 words or more: give reviews"),
        (lambda folder: lines(folder, b"", BAD.encode()), "holds no positive review of 3 words or more: give reviews"),
        (lambda folder: folder, "holds no data file"),
        (
            lambda folder: save(folder, {"train.jsonl": [{"text": GOOD, "label": "good"}]}),
            r"no positive review.*line 1 \(label: 'good' is neither 0 nor 1\)",
        ),
        (lambda folder: save(folder, {"train.jsonl": [{"review": GOOD}]}), r"line 1 \(text: no text\)"),
    ],
)
def test_what_cannot_be_read_is_refused(make: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_documents(str(make(tmp_path)))


def test_half_of_rt_polarity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rt-polarity.pos").write_text(GOOD)
    with pytest.raises(InputError, match=r"has no file \*\.neg: give one \*\.pos and one \*\.neg"):
        read_documents(str(tmp_path))
    with pytest.raises(InputError, match=r"rt-polarity\.pos holds reviews of one label only: give the folder"):
        read_documents(str(tmp_path / "rt-polarity.pos"))


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"^stanfordnlp/imdb is no folder here, the hub cannot be reached .* --source"):
        read_documents("stanfordnlp/imdb")


def test_the_real_sentences(data_folder: Path) -> None:
    """10,662 of them; 15 have less than three words."""
    corpus = read_documents(str(data_folder / "rt-polarity"))
    assert len(corpus.documents) == 10_647 and corpus.left_out == {"too short": 15} and not corpus.remarks
    assert 5_300 < sum(document.positive for document in corpus.documents) < 5_331
