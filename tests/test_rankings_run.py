"""A run on a file of ranked lists, end to end: objectives on pairs, on labels, on lists and on samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignbench.errors import InputError
from alignbench.plugins import parse_objectives
from alignbench.report.store import read_store
from alignbench.results import Json, read_json, read_jsonl
from alignbench.run import Config, run
from alignbench.run.checks import check_needs
from alignbench.run.world import World
from tests.preference_files import lines

LISTED = '''
from dataclasses import dataclass
from torch.nn.functional import softplus
from alignbench import Listwise

@dataclass(frozen=True)
class Listed(Listwise):
    """-log sigmoid of the margin between the best and the worst."""
    paper = "none"

    def loss(self, batch):
        ratio = batch.table(batch.completions.log_ratio)
        last = batch.present.sum(1, keepdim=True) - 1
        return softplus(ratio.gather(1, last).squeeze(1) - ratio[:, 0])
'''
SMALL = {
    "vocabulary": 300, "layers": 1, "width": 16, "context": 64, "max_new_tokens": 6, "eval_prompts": 6,
    "curve_points": 1, "curve_prompts": 2, "sft_epochs": 1.0, "reward_epochs": 1.0, "eval_share": 0.2,
}  # fmt: skip
WORDS = ("good", "fine", "so so", "poor", "bad")


def listed(i: int) -> Json:
    """Five completions, or four where two have the same score."""
    return {
        "prompt": f"Question {i}?",
        "completions": [f"{word} answer {i}" for word in WORDS[::-1]],
        "scores": [1, 2, 3, 4, 4 + i % 2],
    }


def config(folder: Path, rows: list[Json], objectives: str, judge: str = "reward") -> Config:
    (folder / "data.jsonl").write_bytes(lines(*rows))
    specs = parse_objectives(objectives)
    return Config(
        objectives=tuple(spec.text for spec in specs),
        files=tuple((spec.text, str(spec.path), spec.source) for spec in specs if spec.path is not None),
        benchmark="files",
        benchmark_fields=(("data", str(folder / "data.jsonl")), *SMALL.items()),
        out=str(folder / "out"),
        judges=((judge, "somewhere" if judge == "lm" else ""),),
        seeds=1,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "listed.py").write_text(LISTED)
    wanted = config(folder, [listed(i) for i in range(60)], f"dpo,kto,ppo,{folder / 'listed.py'}")
    assert not run(wanted, lambda event: None, lambda *_: None)
    return folder / "out"


def trained(folder: Path) -> dict[str, Json]:
    records = [read_json(path) for path in folder.glob("cells/*/seed-0/train.json")]
    assert [record["status"] for record in records] == ["done"] * 4
    return {Path(record["objective"]).stem: record for record in records}


def test_all_objectives_meet_the_same_prompts_and_use_the_same_budget(finished: Path) -> None:
    cells = trained(finished)
    info = read_json(next(finished.glob("stages/data-*/info.json")))
    longest = max((record["consumed"] for record in cells.values()), key=len)
    for name, record in cells.items():
        assert record["consumed"] == longest[: len(record["consumed"])], name
        assert record["cost"]["completions"] == info["train_completions"], name
    offline = [record["consumed"] for name, record in cells.items() if name != "ppo"]
    assert offline[0] == offline[1] == offline[2]
    assert len(offline[0]) == info["train_records"]
    assert len(read_store(finished).cells) == 4, "the report finds no fault in it"


def test_the_reference_was_asked_once_for_every_completion_there_is(finished: Path) -> None:
    assert {name: r["cost"]["reference_forwards"] for name, r in trained(finished).items() if name != "ppo"} == {
        "dpo": 0,
        "kto": 0,
        "listed": 0,
    }


def test_run_json_counts_lists_pairs_and_what_is_left_out(finished: Path) -> None:
    data, rows = read_json(finished / "run.json")["data"], read_jsonl(next(finished.glob("stages/data-*/train.jsonl")))
    odd = sum(len(row["completions"]) == 5 for row in rows)
    assert 0 < odd < len(rows)
    assert data["kind"] == "rankings"
    assert data["train_pairs"] == 2 * len(rows)
    assert data["train_completions"] == 4 * len(rows)
    assert data["train_rankings"] == {"lists": len(rows), "pairs": 2 * len(rows), "unpaired": odd, "longest": 5}
    assert len(data["data"]["left_out"]) == 30
    warnings = read_json(finished / "run.json")["warnings"]
    assert f"{odd} completions in the middle of ranked lists are read by objectives on lists only" in warnings
    assert any("skipped 30 of 300 completions of the other records: line 1 (completions[4]: as" in w for w in warnings)


def test_judges_are_held_against_the_best_and_the_worst(finished: Path) -> None:
    held = read_json(next(finished.glob("stages/held_out-*/pairs.json")))
    rows = read_jsonl(next(finished.glob("stages/data-*/eval.jsonl")))
    sides = [(row["completions"][0]["text"], row["completions"][-1]["text"]) for row in rows]
    assert all(worst.startswith("bad") and best.split()[0] in ("good", "fine") for best, worst in sides)
    assert len(held["lengths"]) == min(len(rows), SMALL["eval_prompts"])
    reward = read_json(next(finished.glob("stages/reward-*/train.json")))
    assert reward["held_out_pairs"] == 2 * len(rows)
    assert read_json(finished / "run.json")["chosen"]


def test_lists_and_pairs_serve_objectives_on_lists_and_labels_do_not(tmp_path: Path) -> None:
    (tmp_path / "listed.py").write_text(LISTED)
    wanted = f"{tmp_path / 'listed.py'}"
    pairs = [{"prompt": f"Question {i}?", "chosen": "a", "rejected": "b"} for i in range(40)]
    labels = [{"prompt": f"Question {i}?", "completion": "a", "label": i % 2 == 0} for i in range(40)]
    check_needs(World(config(tmp_path, pairs, wanted)))
    check_needs(World(config(tmp_path, [listed(i) for i in range(40)], f"dpo,kto,ppo,preferred_ft,{wanted}")))
    with pytest.raises(InputError) as caught:
        check_needs(World(config(tmp_path, labels, wanted, judge="lm")))
    assert str(caught.value).endswith(
        "listed.py needs rankings: the data hold labelled completions, and ranked lists cannot be made of them."
    )
