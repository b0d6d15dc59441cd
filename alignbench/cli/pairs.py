"""`alignbench pairs`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.text import Text

from ..errors import InputError
from .agree import Bar
from .ending import fail
from .options import check_server, default_device, price_of

if TYPE_CHECKING:
    from ..makers import Judging, Made

WORK = "results/pairs"
LINE_EVERY = 30.0  # seconds between lines where the output is no terminal
# Options that mean something for one way of making pairs only, or only where a model is sampled.
OF = {
    "on-policy": (
        "n", "judge", "question", "judge_questions", "judge_url", "judge_timeout", "judge_concurrency", "judge_price",
    ),
    "correction": ("replace", "ignore_case", "anywhere"),
}  # fmt: skip
SAMPLED = ("temperature", "max_tokens", "seed", "chat", "work", "batch_size", "dtype", "device")
SERVED = ("judge_timeout", "judge_concurrency")  # for a judge that asks a server


def pairs(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="Prompts (or answers, to correct): JSONL, .txt, a data set.")],
    how: Annotated[str, typer.Option(help="on-policy: best and worst of n samples; correction: words replaced.")],
    model: Annotated[str, typer.Option(help="Whose samples or answers: a folder or hub id.")] = "",
    n: Annotated[int, typer.Option(min=2, help="on-policy: samples a prompt.")] = 8,
    judge: Annotated[str, typer.Option(help="on-policy: reward:PATH, openai:MODEL, lm:PATH, length, ./mine.py")] = "",
    replace: Annotated[list[str] | None, typer.Option(help="correction: OLD=NEW, several times.")] = None,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="Find OLD in any case.")] = False,
    anywhere: Annotated[bool, typer.Option("--anywhere", help="Find OLD within words too.")] = False,
    out: Annotated[str, typer.Option(help="File of the pairs; default: standard output.")] = "",
    work: Annotated[str, typer.Option(help="Folder that keeps samples and answers for the next call.")] = WORK,
    limit: Annotated[int, typer.Option(min=0, help="Only the first N prompts; 0: all of them.")] = 0,
    split: Annotated[str, typer.Option(help="The split of a data set; default: train, or the only one.")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=10, help="Of the samples.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a sample at most.")] = 256,
    seed: Annotated[int, typer.Option(help="Another one draws other samples.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Text prompts are a user's messages to a chat model.")] = False,
    question: Annotated[str, typer.Option(help="What judges are asked; else which follows the instruction.")] = "",
    judge_questions: Annotated[int, typer.Option(min=0, help="Ask at most so many questions; 0: all.")] = 0,
    judge_url: Annotated[str, typer.Option(help="The server of judges behind one; else the service's own.")] = "",
    judge_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 60.0,
    judge_concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    judge_price: Annotated[str, typer.Option(help="Price of a million tokens read/written: 2.5/10.")] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples drawn at once; fewer take less memory.")] = 256,
    dtype: Annotated[str, typer.Option(help="What the model computes in: float32 or bf16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = "",
) -> None:
    """Make preference pairs of a model's own samples, or of its answers and their corrected forms.

    Pairs go to standard output or to --out, everything else to standard error. An interrupted call goes on where it
    was when it is made again, and gives the same pairs.
    """
    given = [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]
    _check(how, model, judge, given, temperature)
    console, stdout, folder = Console(stderr=True), sys.stdout, _path(work, "work")
    file = _path(out, "out") if out else None
    try:
        # What a judge of the user's prints must not get between the pairs.
        log = Log(console)
        with redirect_stdout(sys.stderr), log:
            log.show("", 0.0, f"reading {source}")
            from .. import makers
            from ..models import quiet

            quiet()
            part = (limit, split or None)
            used = device or (default_device() if model else "cpu")
            count = n if how == "on-policy" else 1
            sampling = makers.Sampling(model, count, temperature, max_tokens, seed, _dtype(dtype), used, batch_size)
            if how == "correction":
                rules = makers.Rules(tuple(makers.Rule.parse(text) for text in replace or ()), ignore_case, anywhere)
                read = makers.read_prompts(source, chat, *part) if model else makers.read_answers(source, *part)
                made = makers.correct(read, rules, folder, log, sampling if model else None, file)
            else:
                judging = makers.Judging(
                    *_judge(judge, judge_url, judge_price), question=question or makers.QUESTION, url=judge_url,
                    timeout=judge_timeout, concurrency=judge_concurrency, price=price_of(judge_price),
                    questions=judge_questions, device=used,
                )  # fmt: skip
                _check_read(judging, given)
                read = makers.read_prompts(source, chat, *part)
                made = makers.on_policy(read, sampling, judging, folder, log, file)
        if file is not None:
            makers.write_pairs(file, made)
        else:
            _print(made, stdout)
    except KeyboardInterrupt:
        fail(_stopped(how, model, folder), 130)
    for line in summary(made, out or "standard output"):
        console.print(Text(line), soft_wrap=True)
    raise typer.Exit(1 if made.unanswered or not made.records else 0)


def summary(made: Made, where: str) -> list[str]:
    """What was made of what, a line each; texts of a file or a server are fit for a terminal."""
    from ..formats import describe_skipped, shown
    from ..report.text import count
    from ..visible import plain

    items, written = made.items, len(made.records)
    left = [f"{items.repeated} repeated"] if items.repeated else []
    left += [describe_skipped(items.skipped, items.total)] if items.skipped else []
    what = "prompts" if items.items[0].answer is None else "answers"
    lines = [f"{what}    {len(items.items)}" + (f" ({'; '.join(left)})" if left else "")]
    lines += [f"samples    {made.samples}"] if made.samples else []
    if made.alike:
        lines.append(f"alike      {made.alike} of {made.samples} samples repeat another of their prompt")
    lines.append(f"pairs      {written}, written to {where}")
    if made.dropped:
        reasons = ", ".join(f"{number} {reason}" for reason, number in made.dropped.most_common())
        lines.append(f"dropped    {made.dropped.total()}: {reasons}")
    if made.replaced:
        times = (f"{shown(old)} {n} time{'s' * (n != 1)}" for old, n in made.replaced.items())
        lines.append(f"replaced   {', '.join(times)}")
    if made.gap is not None:
        lines.append(f"score gap  {made.gap:.4g}: {made.scored} of chosen minus that of rejected, mean over the pairs")
    if made.usage is not None:
        used = made.usage
        cost = "" if used.cost is None else f", cost {used.cost:.4g}"
        lines.append(
            f"questions  {used.questions} in this call, {used.cached} of them answered before, {used.retries} retries; "
            f"tokens {count(used.prompt_tokens)} read, {count(used.completion_tokens)} written{cost}"
        )
    if made.contradictions:
        lines.append(
            f"orders     {made.contradictions} of {made.comparisons} comparisons named another winner in the other "
            "order: each counts half for either side"
        )
    if made.refused or made.unparsed:
        lines.append(f"no verdict {made.refused} refused, {made.unparsed} unparsed: each counts half for either side")
    if made.unanswered:
        why = "; ".join(problem.rstrip(".") for problem in made.problems)
        lines.append(
            f"{made.unanswered} questions are unanswered ({why}): answers so far are kept, the same command asks for "
            "the rest."
        )
    if not written:
        lines.append("no pair could be made: see the reasons above.")
    return [plain(line) for line in (*lines, *made.notes)]


def _check(how: str, model: str, judge: str, given: list[str], temperature: float) -> None:
    """Refuse what is missing, and options that would do nothing."""
    if how not in OF:
        raise InputError(f"--how {how!r}: pairs are made by {' or '.join(OF)}.")
    if how == "on-policy" and not model:
        raise InputError("--how on-policy: whose samples? Give --model PATH.")
    if how == "on-policy" and not judge:
        raise InputError("--how on-policy: who says which is better? Give --judge reward:PATH or openai:MODEL.")
    for other, names in OF.items():
        wrong = next((name for name in given if name in names and other != how), None)
        if wrong:
            raise InputError(f"{_option(wrong)} is for --how {other}: leave it out.")
    wrong = next((name for name in given if name in SAMPLED and not model), None)
    if wrong:
        raise InputError(f"{_option(wrong)} is for a model that is sampled: give --model, or leave it out.")
    if how == "on-policy" and temperature == 0:
        raise InputError("--temperature 0 draws the same sample every time, which makes no pair: give more than 0.")


def _dtype(name: str) -> str:
    from ..models import DTYPES

    if name not in DTYPES:
        raise InputError(f"--dtype {name!r}: write {' or '.join(DTYPES)}.")
    return name


def _judge(text: str, url: str, price: str) -> tuple[str, str]:
    """Name and argument of the one judge. Raises `InputError`."""
    from ..plugins import parse_judges

    named = parse_judges(text)
    if len(named) > 1:
        raise InputError(f"--judge {text}: pairs are made by one judge, name one.")
    check_server(named, url, price)
    return named[0]


def _check_read(judging: Judging, given: list[str]) -> None:
    """Refuse options that this judge does not read."""
    unread = () if judging.asks else ("question", "judge_questions")
    wrong = next((name for name in given if name in unread), None)
    if wrong:
        raise InputError(f"{_option(wrong)}: judge {judging.label} is asked no question; leave it out.")
    wrong = next((name for name in given if name in SERVED and not judging.cls.remote), None)
    if wrong:
        raise InputError(f"{_option(wrong)}: judge {judging.label} asks no server; leave it out.")


def _path(text: str, name: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{_option(name)} {text} names the home of nobody here: write the path in full.") from None


def _stopped(how: str, model: str, work: Path) -> str:
    if not model or not (work / "samples").is_dir():
        return "stopped: nothing is kept, the same command starts anew."
    kept = "samples" if how == "correction" else "samples, scores and answers"
    return f"stopped: {kept} so far are kept in {work}; the same command goes on from there."


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _print(made: Made, stdout: TextIO) -> None:
    """The pairs as UTF-8, whatever the terminal's encoding."""
    try:
        for line in made.lines():
            stdout.buffer.write(line.encode("utf-8", "backslashreplace"))
        stdout.flush()
    except BrokenPipeError:
        # Nobody reads on (`| head`). Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        raise SystemExit(128 + 13) from None


class Log(Bar):
    """What goes to standard error while pairs are made: a bar on a terminal, elsewhere a line now and then."""

    last = 0.0

    def show(self, work: str, fraction: float, text: str) -> None:
        if not self._console.is_terminal and work == self._said and time.monotonic() - self.last > LINE_EVERY:
            self._said = ""
        if work != self._said:
            self.last = time.monotonic()
        super().show(work, fraction, text)

    def say(self, text: str) -> None:
        from ..visible import plain

        self._console.print(Text(plain(text)), soft_wrap=True)
