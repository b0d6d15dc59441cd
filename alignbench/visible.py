"""Text of anybody, made fit for a terminal."""

from __future__ import annotations

import unicodedata


def plain(text: object) -> str:
    """`text` on one line; control, direction and unpaired surrogate characters become visible escapes (`\\x1b`).

    A terminal escape sequence or a right-to-left override in a spec or a completion must not reach a reader.
    """
    shown = (" " if character in "\n\r\t" else character for character in str(text))
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else character
        for character in shown
    )
