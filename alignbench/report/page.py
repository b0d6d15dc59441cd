"""`report.html`: the whole report as one file that asks nothing of any server."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..results import Json
from .store import Store, samples
from .tables import Table
from .text import count, duration, number, plain

SHOWN_PROMPTS = 4
TITLES = {
    "frontier": "Reward against KL",
    "win_rates": "Win rates",
    "training": "Training",
    "proxy_gold": "Proxy against gold reward",
    "agreement": "Agreement of the judges",
    "lengths": "Lengths",
    "cost": "Where the time goes",
}


def write_page(summary: Json, table: Table, plots: Sequence[Path], examples: Sequence[Json]) -> str:
    """The page; every string is shown as text, whatever it holds."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "duration": duration, "number": number}
    images = [(TITLES.get(path.stem, path.stem), base64.b64encode(path.read_bytes()).decode("ascii")) for path in plots]
    stages = [(plain(stage["name"]), _seconds(stage)) for stage in summary["stages"]]
    page = environment.get_template("report.html").render(
        summary=_visible(summary), table=table, images=images, examples=_visible(examples), stages=stages,
        visible=plain,
    )  # fmt: skip
    return page + "\n"


def examples(store: Store) -> list[Json]:
    """What each spec writes after the first evaluation prompts, by its first evaluated seed, beside the reference."""
    found: dict[str, Json] = {}
    for cell in store.cells:
        for record in cell.evaluated[:1]:
            for row in samples(record, SHOWN_PROMPTS):
                theirs = (row[f"reference_{name}"] for name in ("completion", "reward", "ended"))
                first = [_example("reference", *theirs)]
                entry = found.setdefault(row["prompt_id"], {"prompt": row["prompt"], "completions": first})
                entry["completions"].append(_example(cell.spec, row["completion"], row["reward"], row["ended"]))
    return list(found.values())


def _example(spec: str, text: str, reward: float | None, ended: bool) -> Json:
    return {"spec": spec, "text": text, "reward": reward, "ended": ended}


def _seconds(stage: Json) -> float | None:
    """How long a stage took; an earlier version recorded training alone, phase by phase, else nothing."""
    if "seconds" in stage:
        return float(stage["seconds"])
    costs = [part["cost"]["seconds"] for part in stage.get("phases", [stage]) if "cost" in part]
    return sum(costs) if costs else None


def _visible(value: Any) -> Any:
    """`value` with the control characters of every string made visible; its lines stay lines."""
    if isinstance(value, str):
        return "\n".join(plain(line) for line in value.split("\n"))
    if isinstance(value, dict):
        return {key: _visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(item) for item in value]
    return value
