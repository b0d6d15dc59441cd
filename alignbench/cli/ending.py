"""How a command ends that cannot go on."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console
from rich.text import Text

from ..visible import plain


def fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(Text(plain(message)), soft_wrap=True)
    raise SystemExit(code)
