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
from ..visible import plain
from .ending import fail

if TYPE_CHECKING:
    from ..data import Records
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
            records, examined = _examined(source, split, encoder, room)
            found.append(_described(records, split, model, room) | examined if as_json else examined)
            if not as_json:
                _show(examined, source, console, lines)
        if as_json:
            # ASCII alone: no text of a record can speak to the terminal.
            typer.echo(json.dumps({"schema": 1, "sources": found}, indent=1, allow_nan=False))
        if picture is not None:
            _draw(found[0], picture, Console(stderr=as_json))
    except KeyboardInterrupt:
        fail("stopped.", 130)
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
    there = path.exists()
    if there and not path.is_file():
        raise InputError(f"--plot {plot} is no file but a device or a pipe: give the name of the picture.")
    try:
        path.open("ab").close()
    except OSError as error:
        raise InputError(f"--plot {plot} cannot be written ({error.strerror}): give another place.") from None
    if not there:
        path.unlink()  # nothing is left behind where nothing comes to be drawn
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


def _examined(source: str, split: str, encoder: Encoder | None, context: int | None) -> tuple[Records, Json]:
    """The records, and what was found, with remarks on how they were read."""
    from ..doctor import examine
    from .sources import read_any

    # On the other stream: what is piped on is the table alone.
    status = Console(stderr=True)
    with status.status(Text(f"examining {plain(source)}")) if status.is_terminal else nullcontext():
        records, remarks, ties = read_any(source, split or None)
        found = examine(records.records, encoder, context, skipped=records.skipped).json()
    if found["figures"].get("agreement"):
        found["figures"]["agreement"]["ties"] = ties._asdict()
    return records, {"remarks": remarks, **found}


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
        console.print(Text(f"{plain(remark)}\n"))


def _draw(found: Json, path: Path, console: Console) -> None:
    from ..report.data_plots import overview

    said = f"drawn to {path}" if overview(found, path) else "nothing is drawn: too little is known of these data"
    console.print(Text(plain(said)), soft_wrap=True)
