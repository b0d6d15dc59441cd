"""What every test shares: no network, one torch thread, the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before anything imports huggingface_hub, which reads it once; programs that tests start inherit it.
os.environ["HF_HUB_OFFLINE"] = "1"
# Every core has a worker already: threads of theirs, and of programs that tests start, would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """The order of a sum depends on the number of threads, and bit-identity is tested."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data: `ALIGNBENCH_DATA`, or `../shared/data` beside the repository; skips where there is none."""
    folder = Path(os.environ.get("ALIGNBENCH_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set ALIGNBENCH_DATA)")
    return folder
