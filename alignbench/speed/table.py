"""The comparison on the terminal and in a file: ratios first, because another machine has other seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ..results import Json

NAMES = {"alignbench": "alignbench", "plain": "plain", "trl": "TRL", "trl cached": "TRL, cached"}
MEANT = {
    "plain": "plain: every sequence padded, all logits, a live reference model",
    "trl": "TRL: its trainer as it comes, but for gradient checkpointing, which is off",
    "trl cached": "TRL, cached: the reference's log-probs computed beforehand, its fastest setting",
}


@dataclass(frozen=True)
class Block:
    """A table: what it shows, its columns, and its rows as they are printed."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def blocks(result: Json) -> list[Block]:
    """Ratios, then whether the losses are the same, then what each contender measured."""
    summary = result["summary"]
    found = [_measured(summary)]
    if summary["checks"]:
        found = [_ratios(summary), _checks(summary), *found]
    return found


def print_summary(result: Json, console: Console) -> None:
    """Print everything that `speed` returned; whatever others named goes through `Text`, which knows no markup."""
    console.print(Text(_heading(result), style="bold"), soft_wrap=True)
    for block in blocks(result):
        grid = Grid(box=SIMPLE_HEAD, title=Text(block.title), title_justify="left", pad_edge=False)
        for position, column in enumerate(block.columns):
            grid.add_column(Text(column), justify="left" if position == 0 else "right", overflow="fold")
        for row in block.rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    for line in _remarks(result):
        console.print(Text(line), soft_wrap=True)


def as_markdown(result: Json) -> str:
    lines = [f"# {_heading(result)}", ""]
    for block in blocks(result):
        lines += [f"{block.title}", "", _line(block.columns), _line(["---", *["---:"] * (len(block.columns) - 1)])]
        lines += [*map(_line, block.rows), ""]
    lines += [f"- {line}" for line in _remarks(result)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _heading(result: Json) -> str:
    settings = result["settings"]
    return (
        f"Speed: {settings['objective']} on {settings['model']}, {settings['dtype']}, batches of "
        f"{settings['batch_size']}, {settings['threads']} threads on {result['hardware']['device']}"
    )


def _ratios(summary: Json) -> Block:
    rows: list[tuple[str, ...]] = []
    for name in summary["checks"]:
        ratios = summary["ratios"][name]
        if ratios is None:
            rows.append((NAMES[name], "another loss", "not compared", ""))
        else:
            rates = (_times(ratios[f"rate_{epochs}"]) for epochs in (1, 3))
            rows.append((NAMES[name], *rates, _times(ratios["memory"])))
    unit = summary["unit"]
    columns = ("alignbench against", f"{unit}/s, one epoch", f"{unit}/s, three epochs", "peak memory")
    return Block("How many times as fast, and as much memory (median, least .. most)", columns, tuple(rows))


def _checks(summary: Json) -> Block:
    rows = []
    for name, check in summary["checks"].items():
        ours, theirs = check["first_losses"]
        tokens = "{:,} and {:,}".format(*check["first_tokens"])
        verdict = "the same" if check["same_loss"] else "NOT the same"
        rows.append((NAMES[name], f"{ours:.6f} and {theirs:.6f}", f"{check['difference']:.1e}", verdict, tokens))
    columns = ("alignbench and", "loss at the first step", "difference", "", "tokens in it")
    return Block(f"The first step (called the same up to {summary['tolerance']:g} of the loss)", columns, tuple(rows))


def _measured(summary: Json) -> Block:
    unit = summary["unit"]
    measures: tuple[tuple[str, str, str, float], ...] = (
        (f"{unit}/s, one epoch", "rate_1", "{:.3g}", 1.0),
        (f"{unit}/s, three epochs", "rate_3", "{:.3g}", 1.0),
        ("tokens/s, one epoch", "tokens", "{:,.0f}", 1.0),
        ("peak memory, GB", "memory", "{:.2f}", 1e9),
        ("s of training, a batch", "training_seconds", "{:.3g}", 1.0),
        ("s of reference pass, a batch", "reference_seconds", "{:.3g}", 1.0),
        ("matrix products, GFLOP/s", "matrix", "{:,.0f}", 1e9),
        ("share of it, one epoch", "share", "{:.0f} %", 0.01),
        ("share of it, training", "training_share", "{:.0f} %", 0.01),
    )
    found = summary["contenders"]
    if all(of.get("phase_sample", {}).get("most") for of in found.values()):
        shown = (("sampling", "sample"), ("scoring", "score"), ("optimizing", "train"))
        phases = tuple((f"s of it {label}", f"phase_{name}", "{:.3g}", 1.0) for label, name in shown)
        measures = (*measures[:5], *phases, *measures[5:])
    rows = []
    for label, name, form, scale in measures:
        cells = (_spread(of[name], form, scale) if of[name]["most"] else "in training" for of in found.values())
        rows.append((label, *cells))
    columns = ("", *(NAMES[name] for name in found))
    return Block("What was measured (median, least .. most)", columns, tuple(rows))


def _spread(found: Json, form: str = "{:.3g}", scale: float = 1.0) -> str:
    middle, least, most = (form.format(found[name] / scale) for name in ("median", "least", "most"))
    return middle if least == most else f"{middle} ({least} .. {most})"


def _times(found: Json) -> str:
    return _spread(found, "{:.3g}x")


def _remarks(result: Json) -> list[str]:
    settings, data = result["settings"], result["data"]
    epochs = (
        f"One epoch takes the reference pass and one round of training over the same {result['summary']['unit']}; "
        f"three epochs take a reference that is computed beforehand once. {settings['steps']} timed batches after one "
        f"that warms up, {settings['repeats']} times in turn, each in a process of its own."
    )
    texts = (
        f"Data: {data['source']}, {data['records']} records, on average {data['mean_prompt_tokens']:.0f} prompt and "
        f"{data['mean_completion_tokens']:.0f} completion tokens; a vocabulary of {data['vocabulary']:,}."
    )
    if settings["online"]:
        texts += f" Completions are sampled, {settings['max_new_tokens']} tokens at most."
    share = (
        "The share is that of the machine's own rate of matrix products (2048 x 2048, in the same process) which the "
        "needed arithmetic reaches; what is computed twice to save memory does not count."
    )
    said = [MEANT[name] for name in result["runs"] if name in MEANT] + [epochs, texts, share]
    said += settings["remarks"]
    said += [f"{NAMES[name]} failed: {reason}" for name, reason in result["failed"].items()]
    return said
