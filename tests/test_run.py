"""Runs end to end on a world of seconds: resuming, keys, refusals, failures, one order for all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.objective import Training
from alignbench.plugins import parse_objectives
from alignbench.results import read_json, read_jsonl
from alignbench.run import Config, Event, run
from alignbench.run.plan import Job
from alignbench.run.world import World

TINY = {
    "pairs": 24,
    "judge_pairs": 16,
    "eval_pairs": 12,
    "demonstrations_count": 160,
    "lessons": 16,
    "eval_prompts": 12,
    "curve_prompts": 4,
    "curve_points": 2,
    "max_new_tokens": 12,
    "layers": 1,
    "width": 16,
}
JUDGES = (("gold", ""), ("reward", ""))

LOSS = '''
from dataclasses import dataclass
from torch.nn.functional import softplus
from alignbench import Completions, Paired
import torch

@dataclass(frozen=True)
class Mine(Paired):
    """A squared hinge on the margin."""
    paper = "none"
    scale: float = 0.1

    def loss(self, batch):
        return softplus(1 - self.scale * (batch.chosen.log_ratio - batch.rejected.log_ratio)) ** 2

    @staticmethod
    def example():
        ones = torch.ones(1, 1)
        from alignbench import Pairs
        same = Completions.of(-ones, -ones, ones.bool())
        return Pairs(same, same), torch.tensor([1.724657])
'''


def config(folder: Path, objectives: str, **changes: Any) -> Config:
    specs = parse_objectives(objectives)
    return Config(
        objectives=tuple(spec.text for spec in specs),
        files=tuple((spec.text, str(spec.path), spec.source) for spec in specs if spec.path is not None),
        benchmark="reviews",
        benchmark_fields=tuple({**TINY, **changes.pop("fields", {})}.items()),
        out=str(folder),
        judges=changes.pop("judges", JUDGES),
        seeds=changes.pop("seeds", 2),
        **changes,
    )


class Log:
    """Remembers what a run did."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.reused: set[Job] = set()
        self.events: list[Event] = []

    def begin(self, jobs: Sequence[Job], finished: set[Job], remarks: list[str]) -> None:
        self.jobs, self.reused = list(jobs), set(finished)

    @property
    def worked(self) -> set[str]:
        return {job.label for job in self.jobs if job not in self.reused}


def go(wanted: Config) -> tuple[Log, dict[str, str]]:
    log = Log()
    return log, run(wanted, log.events.append, log.begin)


def fingerprints(folder: Path, pattern: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run of three objectives and two seeds; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("run") / "reviews"
    _, failed = go(config(folder, "dpo,kto,ppo"))
    assert not failed
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "reviews"))


POLICIES = "cells/*/seed-*/policy/model.safetensors"


def test_every_cell_has_its_files(finished: Path) -> None:
    cells = sorted(finished.glob("cells/*/seed-*"))
    assert len(cells) == 6
    for cell in cells:
        record = read_json(cell / "train.json")
        assert record["status"] == "done" and record["path"] == "shared"
        assert (cell / "policy" / "model.safetensors").exists() and list(cell.glob("evaluations/*.json"))
        rows = read_jsonl(cell / "metrics.jsonl")
        points = [row for row in rows if "evaluation" in row]
        assert points[0]["evaluation"]["kl"] == 0.0, "before training the policy is the reference"
        assert len(points) == 1 + TINY["curve_points"]
        assert all(row["evaluation"]["kl"] >= 0 for row in points) and points[-1]["evaluation"]["k1"] != 0
        assert len(read_jsonl(next(cell.glob("samples-*.jsonl")))) == TINY["eval_prompts"]


def test_all_objectives_meet_the_same_prompts_in_the_same_order(finished: Path) -> None:
    for seed in (0, 1):
        records = [read_json(p) for p in finished.glob(f"cells/*/seed-{seed}/train.json")]
        consumed = sorted((record["consumed"] for record in records), key=len)
        assert len(consumed) == 3
        assert all(longer[: len(consumed[0])] == consumed[0] for longer in consumed), f"seed {seed}"
    first, second = (read_json(next(finished.glob(f"cells/dpo*/seed-{k}/train.json"))) for k in (0, 1))
    assert first["consumed"] != second["consumed"], "two seeds see two orders"


def test_all_objectives_train_on_the_same_number_of_completions(finished: Path) -> None:
    counts = {read_json(p)["cost"]["completions"] for p in finished.glob("cells/*/seed-*/train.json")}
    info = read_json(next(finished.glob("stages/data-*/info.json")))
    assert counts == {info["train_completions"]}


def test_a_second_call_does_nothing(copied: Path) -> None:
    before = fingerprints(copied, "cells/**/*.json")
    log, failed = go(config(copied, "dpo,kto,ppo"))
    assert not failed and not log.worked
    assert fingerprints(copied, "cells/**/*.json") == before


def test_one_seed_is_bit_identical_in_another_folder(finished: Path, tmp_path: Path) -> None:
    go(config(tmp_path / "again", "dpo,ppo", seeds=1))
    again = fingerprints(tmp_path / "again", POLICIES)
    once = fingerprints(finished, POLICIES)
    assert len(again) == 2
    assert all(once[name] == found for name, found in again.items())
    assert len(set(once.values())) == 6, "other seeds and objectives give other policies"


def test_a_new_objective_of_a_user_trains_alone_and_an_edit_trains_it_again(copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_loss.py"
    file.write_text(LOSS)
    wanted = f"dpo,kto,ppo,{file}"
    log, failed = go(config(copied, wanted))
    assert not failed
    judged = {f"judging by {judge} seed {seed}" for judge in ("gold", "reward") for seed in (0, 1)}
    assert log.worked == {"my_loss.py seed 0", "my_loss.py seed 1", *judged}
    file.write_text(LOSS.replace("** 2", "** 4"))
    log, failed = go(config(copied, wanted))
    assert not failed
    assert log.worked == {"my_loss.py seed 0", "my_loss.py seed 1", *judged}
    assert len(list(copied.glob("cells/my_loss*"))) == 2, "the cells of the loss before the edit are kept"


def test_another_seed_only_adds(copied: Path) -> None:
    before = fingerprints(copied, POLICIES)
    log, _ = go(config(copied, "dpo", seeds=3))
    judged = {"judging by gold seed 2", "judging by reward seed 2"}
    assert log.worked == {"dpo seed 2", "reference samples seed 2", *judged}
    after = fingerprints(copied, POLICIES)
    assert all(after[name] == found for name, found in before.items())


@pytest.mark.parametrize("change", [{"judges": (*JUDGES, ("lm", ""))}, {"fields": {"eval_prompts": 16}}])
def test_judges_and_evaluation_prompts_only_evaluate_again(copied: Path, change: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.glob(POLICIES)}
    log, failed = go(config(copied, "dpo,kto", **change))
    assert not failed
    cells = {"dpo seed 0", "kto seed 1"}
    assert "judging by gold seed 1" not in log.worked if "judges" in change else cells <= log.worked
    assert {path: path.stat().st_mtime_ns for path in copied.glob(POLICIES)} == before, "nothing trained again"
    cell = next(copied.glob("cells/dpo*/seed-0"))
    found = [json.loads(path.read_text()) for path in cell.glob("evaluations/*.json")]
    if "fields" in change:
        assert len(found) == 2
        short, long = sorted((evaluation["prompts"] for evaluation in found), key=len)
        assert long[: len(short)] == short, "more prompts begin with the fewer"
    else:
        assert not cells & log.worked and len(found) == 1, "the samples are there already"
        judged = {"judging by lm seed 0", "judging by lm seed 1", "judging by lm of held-out pairs"}
        assert log.worked == {"judge lm", *judged}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fields": {"pairs": 25}}, "benchmark field pairs: 24 there, 25 now"),
        ({"fields": {"noise": 0.1}}, "benchmark field noise"),
        ({"budget": "tokens=500"}, "budget"),
    ],
)
def test_a_folder_of_another_configuration_is_refused(finished: Path, change: dict[str, Any], named: str) -> None:
    before = fingerprints(finished, "**/*.json")
    with pytest.raises(InputError, match="--fresh") as caught:
        go(config(finished, "dpo", **change))
    assert named in str(caught.value)
    assert fingerprints(finished, "**/*.json") == before


def test_a_nan_fails_its_cell_and_the_others_go_on(copied: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad_loss.py"
    file.write_text(LOSS.replace("** 2", "* float('nan')").replace("my_loss", "bad_loss"))
    raising = tmp_path / "raising.py"
    raising.write_text(LOSS.replace("return softplus", "raise RuntimeError('a bug of mine')\n        return softplus"))
    log, failed = go(config(copied, f"{file},{raising},preferred_ft", seeds=1))
    assert set(failed) == {"bad_loss.py seed 0", "raising.py seed 0"}
    assert "step 1: the loss is nan" in failed["bad_loss.py seed 0"]
    assert "a bug of mine" in failed["raising.py seed 0"]
    record = read_json(next(copied.glob("cells/bad_loss*/seed-0/train.json")))
    assert record["status"] == "failed" and "step 1" in record["reason"]
    assert "preferred_ft seed 0" in log.worked
    assert read_json(next(copied.glob("cells/preferred_ft*/seed-0/train.json")))["status"] == "done"


def test_side_by_side_equals_one_after_the_other(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parallel"
    log, failed = go(replace(config(folder, "dpo", seeds=1), jobs=2))
    assert not failed and "dpo seed 0" in log.worked
    assert fingerprints(folder, POLICIES).items() <= fingerprints(finished, POLICIES).items()


def test_fresh_deletes_only_when_the_new_run_can_begin(copied: Path) -> None:
    before = fingerprints(copied, POLICIES)
    with pytest.raises(InputError, match="is no row"):
        run(config(copied, "sft"), print, Log().begin, fresh=True)
    assert fingerprints(copied, POLICIES) == before, "nothing is lost by a command that is refused"
    log = Log()
    assert not run(config(copied, "preferred_ft", seeds=1), log.events.append, log.begin, fresh=True)
    assert not log.reused and len(fingerprints(copied, POLICIES)) == 1
    (copied / "identity.json").unlink()
    with pytest.raises(InputError, match="no run wrote"):
        run(config(copied, "preferred_ft", seeds=1), print, Log().begin, fresh=True)


def test_another_reward_objective_measures_every_row_anew(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = World(config(copied, "dpo")).samples_key
    monkeypatch.setattr(World, "training", lambda self, spec: Training(learning_rate=0.5))
    new = World(config(copied, "dpo")).samples_key
    assert old != new, "the samples hold scores of the judge's reward model"


def test_half_written_folders_of_a_killed_run_are_swept_up(copied: Path) -> None:
    left = copied / "stages" / ".reward-0.99.partial"
    left.mkdir()
    go(config(copied, "dpo"))
    assert not left.exists()
