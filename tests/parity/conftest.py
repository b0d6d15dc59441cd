"""The table at the end of `make parity`."""

from __future__ import annotations

import pytest

from .table import lines

# What transformers has renamed and TRL 1.16 still calls by its old name is not ours to mend.
RENAMED = "ignore:`(is_)?gradient_checkpointing(_enable)?` is deprecated:FutureWarning"
UNSTABLE = "ignore:You are importing from 'trl.experimental'"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(RENAMED))
        item.add_marker(pytest.mark.filterwarnings(UNSTABLE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if table := lines():
        terminalreporter.section("our losses beside TRL's")
        for line in table:
            terminalreporter.write_line(line)
