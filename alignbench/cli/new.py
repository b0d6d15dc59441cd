"""`alignbench new`."""

from __future__ import annotations

import ast
import keyword
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..errors import InputError

FAMILIES = ("paired", "unpaired", "listwise", "online")
CLASS = "NewObjective"  # what the templates call it


def new(
    path: Annotated[str, typer.Argument(help="The file to write, my_loss.py say.")],
    online: Annotated[bool, typer.Option("--online", help="On the policy's own samples and a reward.")] = False,
    unpaired: Annotated[bool, typer.Option("--unpaired", help="On completions labelled good or bad.")] = False,
    listwise: Annotated[bool, typer.Option("--listwise", help="On ranked lists of completions.")] = False,
) -> None:
    """A working objective to start from, on pairs unless another kind is asked for; it passes `alignbench check`."""
    asked = [name for name, wanted in zip(FAMILIES[1:], (unpaired, listwise, online), strict=True) if wanted]
    if len(asked) > 1:
        raise InputError(f"--{asked[0]} and --{asked[1]}: an objective is of one kind, give one of them.")
    file = Path(path)
    text = template(asked[0] if asked else "paired", class_name(file))
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(f"{path} is there already: name another file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): check the path.") from None
    said = f"{path} is written: edit it, then `alignbench check {shlex.quote(path)}`."
    Console().print(Text(said), soft_wrap=True)


def template(family: str, name: str) -> str:
    """The text of a new file of a family whose class is called `name`, with `Objective` behind it where Python or the
    file uses that name itself."""
    file = resources.files("alignbench.check") / "templates" / f"{family}.py.txt"
    text = file.read_text(encoding="utf-8")
    imports = (node.names for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom))
    taken = keyword.iskeyword(name) or name in {alias.name for names in imports for alias in names}
    return text.replace(CLASS, f"{name}Objective" if taken else name)


def class_name(file: Path) -> str:
    """`my_loss.py` makes `MyLoss`. Raises `InputError` where a spec could not name the file or Python the class."""
    words = re.findall(r"[A-Za-z0-9]+", file.stem)
    name = "".join(word[0].upper() + word[1:] for word in words)
    if file.suffix != ".py" or not name.isidentifier():
        raise InputError(f"{file}: the file's name must begin with a letter and end in .py, as my_loss.py does.")
    if bad := sorted(set(",:") & set(str(file))):
        raise InputError(f"{file}: {bad[0]!r} has a meaning in specs: leave it out of the path.")
    return name
