"""Examinations of preference data for tests: what a `doctor.json` may hold."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

Json = dict[str, Any]
HOSTILE = (
    "<script>document.title='ran'</script>[bold]x[/] $\\alpha_1$ | `y` \x1b[31mred\x1b[2J\u202e\x07 損失 " + "w" * 300
)


def finding(check: str, level: str, said: str, advice: str = "Mend it.", lines: tuple[int, ...] = ()) -> Json:
    return {"check": check, "level": level, "said": said, "advice": advice, "lines": list(lines), "count": len(lines)}


def word(text: str, weight: float, chosen: int = 30, rejected: int = 4) -> Json:
    return {"word": text, "weight": weight, "chosen": chosen, "rejected": rejected}


FOUND: Json = {
    "schema": 1,
    "kind": "pairs",
    "records": 1200,
    "findings": [
        finding("shortcut", "bad", "Words alone tell the sides apart.", "Balance them."),
        finding("near_duplicates", "look", "90 pairs are almost the same.", lines=tuple(range(3, 273, 3))),
        finding("no_end", "fine", "Every completion ends.", "Nothing to do."),
        finding("context", "unknown", "Nothing is known of tokens.", "Name a model."),
    ],
    "figures": {
        "lengths": {
            "unit": "words", "edges": [0, 10, 20, 30], "chosen": [5, 20, 3], "rejected": [9, 15, 4],
            "mean_chosen": 14.25, "mean_rejected": 12.5, "longer_chosen": 0.5625,
        },
        "words": [word("sorry", 1.5), word("help", 0.75), word("kill", -1.25, 2, 31)],
        "shortcut": {"accuracy": 0.7, "low": 0.65, "high": 0.76, "n": 1200, "baseline": 0.55},
        "margins": {"of": "gold reward", "edges": [-2, -1, 0, 1, 2], "counts": [1, 2, 30, 7], "agree": 0.925},
        "agreement": {
            "annotators": 3, "pairs": 1200, "unanimous": 0.62, "pairwise": 0.75, "with_gold": 0.81, "alpha": 0.5,
        },
        "balance": None,
    },
}  # fmt: skip
LABELS = {"names": ["desirable", "undesirable"]}


def changed(**figures: Any) -> Json:
    """The examination with other figures; None takes one away."""
    found = deepcopy(FOUND)
    found["figures"] |= figures
    return found


def crowded() -> Json:
    """As many words as there may be, long ones; lengths whose bins grow; shares at their ends."""
    texts = [*("w" * (i + 1) for i in range(11)), HOSTILE]
    words = [word(text, 2 - i / 9, 123_456, 99_999) for i, text in enumerate(texts)]
    words += [word(text, i / 9 - 2, 1, 123_456) for i, text in enumerate(texts)]
    edges = sorted({round(x) for x in np.geomspace(1, 20_000, 31)})
    lengths = {"edges": edges, "chosen": [10_000] * (len(edges) - 1), "rejected": list(range(len(edges) - 1))}
    agreement = {
        "annotators": 3,
        "pairs": 1_000_000,
        "unanimous": 1.0,
        "pairwise": 1.0,
        "with_gold": None,
        "alpha": -0.5,
    }
    return changed(
        lengths=FOUND["figures"]["lengths"] | lengths | {"unit": "tokens", "mean_chosen": 1234.5},
        words=words,
        shortcut={"accuracy": 1.0, "low": 0.99, "high": 1.0, "n": 50, "baseline": 0.3},
        margins=FOUND["figures"]["margins"] | {"of": HOSTILE},
        agreement=agreement,
    )
