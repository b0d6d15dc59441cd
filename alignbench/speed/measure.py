"""The measuring instruments of a worker: its clock, the machine's matrix products, and the memory it took."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

SIDE = 2048  # of the square matrices whose product is the yardstick
PRODUCTS = 3  # before and after the work


class Yardstick:
    """The machine's own rate of matrix products, taken again and again through the run: other processes come and go."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self._device = device
        self._a, self._b = (torch.randn(SIDE, SIDE, generator=generator).to(device, dtype) for _ in range(2))
        self._out = torch.empty_like(self._a)
        self.rates: list[float] = []  # floating-point operations a second
        self._product()  # the first one also sets the library up

    def measure(self, times: int = 1) -> None:
        for _ in range(times):
            self.rates.append(2 * SIDE**3 / self._product())

    def _product(self) -> float:
        started = now(self._device)
        torch.mm(self._a, self._b, out=self._out)
        return now(self._device) - started


class Rounds:
    """Times rounds of training that differ in what they draw, the matrix products between them left out."""

    def __init__(self, yardstick: Yardstick, device: str, tell: Callable[[str], None]) -> None:
        self._yardstick, self._device, self._tell = yardstick, device, tell
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._last_draw: object = None
        self._started = now(device)

    def begin(self) -> None:
        self._started = now(self._device)

    def end_step(self, draw: object, loss: float) -> None:
        """A step on the batch `draw` is over; steps on one draw (inner epochs) are one round."""
        took = now(self._device) - self._started
        if draw == self._last_draw:
            self.seconds[-1] += took
        else:
            self.seconds.append(took)
            self._tell(f"round {len(self.seconds)}")
        self._last_draw = draw
        self.losses.append(loss)
        self._yardstick.measure()
        self.begin()


def now(device: str) -> float:
    """The time when everything that was sent to the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def resident_peak() -> int:
    """The largest resident set of this process so far, in bytes."""
    # `ru_maxrss` of a started program may still hold what its parent had, so Linux's own figure comes first.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_memory(device: str) -> int:
    """Bytes: of the GPU where there is one, else the largest resident set of the process."""
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else resident_peak()
