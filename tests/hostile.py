"""A results folder in which everything that somebody else wrote wants to break out of the page."""

from __future__ import annotations

from pathlib import Path

from alignbench.matches import read_match, write_match
from alignbench.results import read_jsonl, write_jsonl

from .synthetic import Synthetic, player_file
from .synthetic_store import write_store

RUN = "document.title='ran';window.ran=1;document.documentElement.dataset.ran='1'"
TEXTS = (
    f"<script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f"</p></pre></textarea></title></style><script>{RUN}</script>",
    f'<svg onload={RUN}><iframe src="javascript:{RUN}"></iframe>',
    f'[here](javascript:{RUN}) <a href="javascript:{RUN}" id=results>here</a>',
    f'"><body onload="{RUN}"><style>body {{ display: none }} h1 {{ background: url(http://192.0.2.1/) }}</style>',
    "<base href=http://192.0.2.1/><meta http-equiv=refresh content='0;url=http://192.0.2.1/'><link rel=icon href=/x>",
    f"{{{{ 7 * 7 }}}} {{% raw %}} ${{{RUN}}} <!-- ]]> --> &lt;b&gt; &#60;b&#62;",
    "w" * 5000,
    "\u202egnp.exe\u202c \u2066\u2067isolated\u2069 \u200f\u200e \u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645",
    "null \x00 bell \x07 escape \x1b[31m delete \x7f next \x85 line\u2028paragraph\u2029 feed \x0c tab \t end",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 損失 e" + "\u0301" * 60,
    "\n\n\n  many\n\n   lines   \n" * 20,
    "",
)
ALL = " ".join(TEXTS)
NAME = " ".join((*TEXTS[:3], "w" * 300, *TEXTS[9:12]))  # of specs and judges, which stand in many places


def hostile_store(folder: Path) -> Path:
    """Hostile specs, judges, prompts, completions, reasons, problems, command, data: wherever a text may come from."""
    what = Synthetic(
        specs=(NAME, "損失\U0001f642", "w" * 300),
        seeds=(0, 1),
        prompts=len(TEXTS),
        pairs=4,
        failed=[("損失\U0001f642", 1)],
        reason=ALL,
        best_of=(4,),
        temperatures=(0.5,),
        capability=True,
    )
    judges = {"gold": "verdicts/gold-j1", NAME: "verdicts/lm-j1", "w" * 300: "verdicts/reward-j1"}
    trial = {
        "spec": NAME,
        "trial": NAME,
        "point": {NAME: ALL},
        "value": None,
        "low": None,
        "high": None,
        "status": "failed",
        "reason": ALL,
    }
    what.run = {
        "name": ALL,
        "benchmark": NAME,
        "question": ALL,
        "command": ALL,
        "warnings": [ALL],
        "judges": judges,
        "headline": "gold",
        "agreement_judge": NAME,
        "identity": {NAME: ALL, "model": "w" * 3000},
        "data": {"fingerprint": ALL, "train_pairs": 600, "eval_prompts": len(TEXTS), "kind": ALL},
        "models": {"path": ALL},
        "versions": {NAME: NAME},
        "hardware": {"cpu": ALL},
        "tuning": {
            "folder": "tuning", "grid": {NAME: [0.1]}, "seed": 999, "prompts": 8, "judge": "gold",
            "trials": [trial | {"chosen": False}],
        },
    }  # fmt: skip
    write_store(folder, what)
    for seed in what.seeds:
        for player in (*what.specs, "reference"):
            _rewrite(folder / player_file(what, player, seed))
    first, second = (player_file(what, player, 0) for player in (NAME, "reference"))
    match = read_match(folder / "verdicts/lm-j1", first, second)
    assert match is not None
    changed = type(match)(match.verdicts, match.positions, match.seconds, match.usage, (ALL,))
    write_match(folder / "verdicts/lm-j1", first, second, changed)
    return folder


def _rewrite(file: Path) -> None:
    """Put the texts in the place of prompts and completions, each prompt another."""
    rows = read_jsonl(file)
    for i, row in enumerate(rows):
        row |= {"prompt": TEXTS[i], "completion": TEXTS[i]}
        if "reference_completion" in row:
            row["reference_completion"] = TEXTS[(i + 1) % len(TEXTS)]
    write_jsonl(file, rows)
