"""`alignbench data`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..errors import InputError
from .ending import fail

if TYPE_CHECKING:
    from ..data import Records
    from ..doctor import Examination
    from ..encoding import Encoder
    from ..results import Json


def data(
    sources: Annotated[list[str], typer.Argument(help="Preference data: files, data set folders or hub ids.")],
    split: Annotated[str, typer.Option(help="The split of a data set; default: train, or the only one.")] = "",
    model: Annotated[str, typer.Option(help="A model's folder or hub id: its tokenizer counts the tokens.")] = "",
    context: Annotated[int, typer.Option(min=0, help="Tokens of the context; 0: what --model has.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the tables.")] = False,
    plot: Annotated[str, typer.Option(help="Also draw lengths, words and agreement into this PNG file.")] = "",
    lines: Annotated[int, typer.Option(min=0, help="Lines of the data that a finding names.")] = 5,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where a finding is bad.")] = False,
) -> None:
    """What in preference data will hurt, before anything is trained on them: a table of findings for each source."""
    picture = _picture(plot, sources)
    encoder, room = _reader(model, context)
    console, found = Console(), []
    try:
        for source in sources:
            records, remarks, examination = _examined(source, split, encoder, room)
            found.append({"remarks": remarks, **examination.json()})
            if as_json:
                found[-1] = _described(records, split, model, room) | found[-1]
            else:
                _show(found[-1], source, console, lines)
        if picture is not None:
            _draw(found[0], picture, Console(stderr=as_json))
    except KeyboardInterrupt:
        fail("stopped.", 130)
    if as_json:
        # ASCII alone: no text of a record can speak to the terminal.
        typer.echo(json.dumps({"schema": 1, "sources": found}, indent=1, allow_nan=False))
    bad = any(finding["level"] == "bad" for each in found for finding in each["findings"])
    raise typer.Exit(1 if strict and bad else 0)


def _picture(plot: str, sources: list[str]) -> Path | None:
    """Where to draw: known to be possible before anything is read."""
    if not plot:
        return None
    path = Path(plot)
    if path.suffix.lower() != ".png":
        raise InputError(f"--plot {plot}: the picture is a PNG file, so give a name that ends in .png.")
    if len(sources) > 1:
        raise InputError(f"--plot draws one source and {len(sources)} are given: name one, or leave --plot out.")
    if path.is_dir():
        raise InputError(f"--plot {plot} is a folder: give the name of the picture.")
    if not path.parent.is_dir():
        raise InputError(f"--plot {plot}: there is no folder {path.parent}, make it first.")
    return path


def _reader(model: str, context: int) -> tuple[Encoder | None, int | None]:
    """The way from text to tokens, and the room for them; neither is known without a model."""
    if not model:
        if context:
            raise InputError(f"--context {context} counts tokens, which only a tokenizer can: name a --model as well.")
        return None, None
    from ..encoding import Encoder
    from ..pretrained import load_config, load_tokenizer

    encoder = Encoder(load_tokenizer(model))
    if context:
        return encoder, context
    try:
        config = load_config(model)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; or give its context by --context.") from error
    return encoder, getattr(config, "max_position_embeddings", None)


def _examined(
    source: str, split: str, encoder: Encoder | None, context: int | None
) -> tuple[Records, list[str], Examination]:
    """The records, what is to be said of how they were read, and what was found."""
    from ..doctor import examine
    from .sources import read_any

    # On the other stream: what is piped on is the table alone.
    status = Console(stderr=True)
    with status.status(Text(f"examining {_visible(source)}")) if status.is_terminal else nullcontext():
        records, remarks = read_any(source, split or None)
        return records, remarks, examine(records.records, encoder, context, skipped=records.skipped)


def _visible(text: str) -> str:
    from ..report.text import plain  # not above: it brings the plots with it

    return plain(text)


def _described(records: Records, split: str, model: str, context: int | None) -> Json:
    """What the JSON says besides the examination: what was examined, and how it was read."""
    return {
        "source": records.source,
        "split": split or None,
        "fingerprint": records.fingerprint,
        "model": model or None,
        "context": context,
    }


def _show(found: Json, source: str, console: Console, lines: int) -> None:
    from ..report.data_terminal import print_findings

    print_findings(found, console, source, lines)
    for remark in found["remarks"]:
        console.print(Text(f"{_visible(remark)}\n"))


def _draw(found: Json, path: Path, console: Console) -> None:
    from ..report.data_plots import overview

    said = f"drawn to {path}" if overview(found, path) else "nothing is drawn: too little is known of these data"
    console.print(Text(_visible(said)), soft_wrap=True)
