"""Small folders in the layout of the hub's data sets, and a cache of the hub that holds one."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.preference_files import save_parquet

Row = dict[str, Any]


def save(folder: Path, files: Mapping[str, Iterable[Row]]) -> str:
    """Write each file in the format that its name says; returns the folder."""
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            save_parquet(path, list(rows))
            continue
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(folder)


def cached(cache: Path, source: str, revision: str, files: Mapping[str, Iterable[Row]]) -> None:
    """A data set in the hub's cache, as a download leaves it."""
    folder = cache / f"datasets--{source.replace('/', '--')}"
    commit = hashlib.sha256(revision.encode()).hexdigest()[:40]
    (folder / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    save(folder / "snapshots" / commit, files)


def dialogue(name: str, turns: int = 1) -> Row:
    """A row of Anthropic/hh-rlhf."""
    before = "".join(f"\n\nHuman: {name} {turn}?\n\nAssistant: well." for turn in range(1, turns))
    prompt = f"{before}\n\nHuman: {name}?\n\nAssistant:"
    return {"chosen": f"{prompt} good {name}", "rejected": f"{prompt} bad {name}"}


def comparison(name: str, choice: int = 0, worker: str = "w", texts: tuple[str, str] | None = None, **info: Any) -> Row:
    """A row of openai/summarize_from_feedback, comparisons."""
    first, second = texts or (f" first {name}", f" second {name}")
    post: Row = {"id": name, "post": f"I am {name}.", "title": f"About {name}", "subreddit": "all"}
    return {
        "info": {**post, "site": None, "article": None, **info},
        "summaries": [{"text": text, "policy": "sup4", "note": None} for text in (first, second)],
        "choice": choice, "worker": worker, "batch": "batch3", "split": "train", "extra": {"confidence": None},
    }  # fmt: skip


def tldr_prompt(name: str, between: str = "\n\n", ending: str = "TL;DR:") -> str:
    """The prompt of a comparison's post."""
    return between.join(
        part for part in ("SUBREDDIT: r/all", f"TITLE: About {name}", f"POST: I am {name}.", ending) if part
    )


def named(count: int, make: Callable[[str], Row], prefix: str = "n") -> list[Row]:
    return [make(f"{prefix}{i}") for i in range(count)]
