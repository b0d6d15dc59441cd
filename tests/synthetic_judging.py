"""The judges of a synthetic results folder, what they compared, and the baselines that they compared it with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alignbench.matches import Match, held_out_names, match_file, write_match
from alignbench.records import Verdict
from alignbench.results import write_json, write_jsonl

from .synthetic import HELD_OUT, Synthetic, cell_folder, player_file

Triple = list[Any]


def match_path(folder: Path, what: Synthetic, judge: str, player: str, opponent: str, seed: int) -> Path:
    """The file of a judge's verdicts on two players at temperature 1, to be looked at or changed."""
    first, second = player_file(what, player, seed), player_file(what, opponent, seed)
    return match_file(folder / "verdicts" / f"{judge}-j1", first, second)


def write_verdicts(
    folder: Path, what: Synthetic, judge: str, player: str, opponent: str, seed: int, triples: Sequence[Triple]
) -> None:
    """Put other verdicts in the place of those that are there."""
    first, second = player_file(what, player, seed), player_file(what, opponent, seed)
    match = Match([Verdict(*triple) for triple in triples])
    write_match(folder / "verdicts" / f"{judge}-j1", first, second, match)


def write_matches(folder: Path, what: Synthetic, seed: int) -> None:
    """Every judge on every two players that a run has compared, cells that are not there left out."""
    missing = {spec for spec, at in (*what.failed, *what.unevaluated, *what.untrained) if at == seed}
    specs = [spec for spec in what.specs if spec not in missing]
    best = [f"best-of-{n}" for n in what.best_of]
    played = [(player, against, 1.0) for player in (*specs, *best) for against in ("reference", "chosen")]
    played.append(("reference", "chosen", 1.0))
    played += [
        (player, against, t) for player in specs for against in ("reference", "chosen") for t in what.temperatures
    ]
    played += [("reference", against, t) for against in ("reference", "chosen") for t in what.temperatures]
    if what.head_to_head:
        played += [(a, b, 1.0) for i, a in enumerate(specs) for b in specs[i + 1 :]]
    for judge in what.judges:
        for player, opponent, t in played:
            margin = what.gold_of(player, seed, t) - what.gold_of(opponent, seed)
            words = f"{judge}/{player}/{opponent}/{seed}/{t}"
            rng = np.random.default_rng([ord(letter) for letter in words])
            triples = verdicts(rng, margin, judge, what.unparsed)
            usage = what.usage if judge == "lm" else None
            match = Match([Verdict(*triple) for triple in triples], None, 1.0, usage)
            first, second = player_file(what, player, seed, t), player_file(what, opponent, seed)
            write_match(folder / "verdicts" / f"{judge}-j1", first, second, match)


def write_baselines(folder: Path, what: Synthetic, seed: int) -> None:
    """The samples of the reference at every temperature, and of best-of-n."""
    players = [("reference", t) for t in (1.0, *what.temperatures)] + [(f"best-of-{n}", 1.0) for n in what.best_of]
    for player, t in players:
        gold = what.gold_of(player, seed, t)
        rows = [
            {
                "prompt_id": i,
                "prompt": f"this film number {i}",
                "completion": "a dull film .",
                "ended": i != 0,
                "length": 12.0 + i % 24,
                "reward": float(value) if what.gold else None,
                "proxy_reward": 1.4 * float(value),
            }
            for i, value in enumerate(gold)
        ]
        write_jsonl(folder / player_file(what, player, seed, t), rows)


def write_capability(folder: Path, what: Synthetic) -> None:
    rng = np.random.default_rng(11)
    hits = rng.uniform(size=200) < 0.9
    _write_tasks(folder / "stages/capability-l1/result.json", hits)
    for spec in what.specs:
        for seed in what.seeds:
            lost = rng.uniform(size=200) < 0.05
            _write_tasks(folder / cell_folder(what, spec) / f"seed-{seed}" / "capability-l1.json", hits & ~lost)


def _write_tasks(path: Path, hits: Any) -> None:
    share = float(np.mean(hits))
    metric = {
        "value": share,
        "stderr": (share * (1 - share) / len(hits)) ** 0.5,
        "n": len(hits),
        "higher_is_better": True,
    }
    task = {"metrics": {"acc": metric}, "version": 1, "n_shot": 0, "samples": [float(hit) for hit in hits]}
    write_json(path, {"schema": 1, "tasks": {"reviews_grammar": task}, "lm_eval": "0.4.13"})


def verdicts(rng: np.random.Generator, margin: Any, judge: str, unparsed: float = 0.0) -> list[Triple]:
    """Gold and reward judges answer alike in both orders, the `lm` judge is noisy and favours what it reads first."""
    rows: list[Triple] = []
    for value in margin:
        seen = {"gold": 0.0, "reward": 0.3, "lm": 0.6}[judge] * rng.normal(size=2)
        first, second = value + seen[0], value + (seen[1] if judge == "lm" else seen[0])
        bias = 0.2 if judge == "lm" else 0.0
        answers = ["first" if first + bias > 0 else "second", "first" if second - bias > 0 else "second"]
        if judge != "gold" and rng.uniform() < unparsed:
            answers[1] = "unparsed"
        rows.append([*answers, float(first)])
    return rows


def random_held_out(folder: Path, what: Synthetic) -> None:
    rng = np.random.default_rng(7)
    margin = rng.normal(0.7, 0.8, what.pairs)
    votes = [[bool(vote > 0) for vote in value + rng.normal(0, 0.6, 2)] for value in margin]
    triples = {judge: verdicts(rng, margin, judge) for judge in what.judges}
    lengths = rng.integers(20, 60, (what.pairs, 2)).tolist()
    write_held_out(
        folder, votes if what.votes else [[] for _ in votes], margin.tolist() if what.gold else None, triples, lengths
    )


def write_held_out(
    folder: Path,
    votes: Sequence[Sequence[bool]],
    gold: Sequence[float] | None,
    triples: dict[str, list[Triple]],
    lengths: Sequence[Sequence[int]] | None = None,
) -> None:
    """The held-out pairs, and judges' verdicts on them. `lengths`: characters of (chosen, rejected)."""
    shown = [[10, 10] for _ in votes] if lengths is None else lengths
    write_json(folder / HELD_OUT, {"schema": 1, "votes": votes, "gold": gold, "lengths": shown})
    for judge, rows in triples.items():
        match = Match([Verdict(*row) for row in rows])
        write_match(folder / "verdicts" / f"{judge}-j1", *held_out_names(HELD_OUT), match)
