"""The hub: whether it answers, and the files of a data set on it as a local folder in its own layout."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .errors import InputError

# Where the hub keeps its own conversion to parquet of a data set that was once made by a script.
EXPORT = "refs/convert/parquet"
PATIENCE = 5.0  # seconds to wait for the hub's first answer


@cache
def offline() -> bool:
    """Whether the hub does not answer: asked once in a process, without a second try."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # noqa: BLE001  which one depends on the transport; all of them mean that nobody answered
        return True
    return False


@contextmanager
def asked_once(source: str) -> Iterator[None]:
    """Within it, libraries that load `source` from a hub that does not answer turn to their caches at once, as with
    HF_HUB_OFFLINE=1; left alone, each of them retries for half a minute. Nothing happens where `source` is a path."""
    if os.path.exists(os.path.expanduser(source)) or not offline():  # noqa: PTH110, PTH111  (a user may be unknown)
        yield
        return
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


class Fetched(NamedTuple):
    """Files of a data set, and whether they are those that the cache happens to hold."""

    folder: Path
    files: tuple[Path, ...]  # below the folder, in order of their names
    cached: bool


def fetch(source: str, alternatives: Sequence[Sequence[str]], instead: str) -> Fetched | None:
    """The files of a data set which match one of some patterns (`*` also goes over folders).

    The first of the `alternatives` is taken that some file matches; where the repository itself has no such file, the
    hub's own export to parquet; None where neither has. The hub is asked first. Where it cannot be reached, the files
    are those of its cache on this machine: all there are, as far as the cache knows the list of them, which it does
    not if it was filled one file at a time. `cached` says so, and the caller what is missing.

    Raises:
        InputError: the hub cannot be reached and its cache lacks a file, or it has no such data set; `instead` says
            what to give then.
    """
    refused = _refused(source, instead)
    for patterns in alternatives:
        for revision in ("main", EXPORT):
            folder = _snapshot(source, patterns, revision, refused is not None, instead)
            files = _matching(folder, patterns) if folder else ()
            if folder and files:
                return Fetched(folder, files, refused is not None)
    if refused is not None:
        raise InputError(refused)
    return None


def _matching(folder: Path, patterns: Sequence[str]) -> tuple[Path, ...]:
    """The cache may hold more files of a data set than anybody asks for here."""
    there = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return tuple(p for p in there if any(fnmatch(p.relative_to(folder).as_posix(), each) for each in patterns))


def _refused(source: str, instead: str) -> str | None:
    """What to say if the cache does not help either; None where the hub knows the data set.

    Asked without a second try, so that whoever has no network hears of it at once.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().dataset_info(source, timeout=PATIENCE)
    except (HfHubHTTPError, HFValidationError) as error:
        return _no_such(source, error, instead)
    except Exception:  # noqa: BLE001  which one depends on the transport; all of them mean that nobody answered
        return (
            f"{source} is no folder here, the hub cannot be reached and its cache does not hold the whole set: give "
            f"{instead}, or connect to the network."
        )
    return None


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")[:160]


def _no_such(source: str, error: Exception, instead: str) -> str:
    why = first_line(error)
    return f"{source}: the hub gave no such data set ({why}): give {instead}, or check the id and the network."


def _snapshot(source: str, patterns: Sequence[str], revision: str, cached: bool, instead: str) -> Path | None:
    """The folder of one revision, None where there is none (in the cache, or at all)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # that a revision has no such file is expected here, and no warning
    try:
        found = snapshot_download(
            source, repo_type="dataset", revision=revision, allow_patterns=list(patterns), local_files_only=cached
        )
    except RevisionNotFoundError:
        return None
    except (LocalEntryNotFoundError, HFValidationError) as error:
        if cached:
            return None
        raise InputError(_no_such(source, error, instead)) from None
    except Exception as error:  # noqa: BLE001  whatever the transport raises, the user can do the same about it
        raise InputError(_no_such(source, error, instead)) from None
    return Path(found)
