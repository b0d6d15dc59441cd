"""Files of a data set on the hub, as a local folder in the data set's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from .errors import InputError

# Where the hub keeps its own conversion to parquet of a data set that was once made by a script.
EXPORT = "refs/convert/parquet"


def fetch(source: str, alternatives: Sequence[Sequence[str]], instead: str) -> Path | None:
    """The folder that holds the files of a data set which match one of some patterns (`*` also goes over folders).

    The first of the `alternatives` is taken that some file matches. What the hub's cache on this machine holds whole is
    taken from there, so that every process of a run reads the same files. Where the repository itself has no such file,
    the hub's own export to parquet is taken; None where neither has.

    Raises:
        InputError: the hub cannot be reached and its cache lacks a file, or it has no such data set; `instead` says
            what to give then.
    """
    for cached in (True, False):
        for patterns in alternatives:
            for revision in ("main", EXPORT):
                folder = _snapshot(source, patterns, revision, cached, instead)
                if folder is not None and _holds(folder, patterns):
                    return folder
    return None


def _holds(folder: Path, patterns: Sequence[str]) -> bool:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return any(fnmatch(name, pattern) for name in names for pattern in patterns)


def _snapshot(source: str, patterns: Sequence[str], revision: str, cached: bool, instead: str) -> Path | None:
    """The folder of one revision, None where there is none (in the cache, or at all)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # that a revision has no such file is expected here, and no warning
    try:
        found = snapshot_download(
            source, repo_type="dataset", revision=revision, allow_patterns=list(patterns), local_files_only=cached
        )
    except RevisionNotFoundError:
        return None
    except LocalEntryNotFoundError:
        if cached:
            return None
        raise InputError(
            f"{source} is no folder here, the hub cannot be reached and its cache does not hold the data set: give "
            f"{instead}, or connect to the network."
        ) from None
    except Exception as error:  # noqa: BLE001  whatever the transport raises, the user can do the same about it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")[:160]
        raise InputError(
            f"{source}: the hub gave no such data set ({reason}): give {instead}, or check the id and the network."
        ) from None
    return Path(found)
