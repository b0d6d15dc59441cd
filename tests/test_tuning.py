"""Tuning: the same trials for everybody, on a seed and on prompts that the comparison never uses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError, TrainingError
from alignbench.matches import Match, match_file, read_match, write_match
from alignbench.plugins import create_benchmark, parse_objectives
from alignbench.records import Verdict
from alignbench.results import read_json, read_jsonl
from alignbench.run import Config
from alignbench.run.prompts import evaluation_prompts
from alignbench.run.tuning import SEED, at_the_edge, parse_grid, trial_config, trials_of, tuned
from tests.test_run import LOSS, TINY, config, go

SPECS = "dpo,preferred_ft"
GRID = "learning_rate=0.001/0.01:batch_size=8/16"


def tuned_config(folder: Path, **changes: Any) -> Config:
    given = {"tune": "learning_rate=0.001/0.01", "held_back": 10, "seeds": 1, **changes}
    return config(folder, SPECS, **given)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "reviews"
    _, failed = go(tuned_config(folder))
    assert not failed
    return folder


def test_every_objective_has_every_point_of_the_grid() -> None:
    assert parse_grid(GRID) == {"learning_rate": ["0.001", "0.01"], "batch_size": ["8", "16"]}
    trials = trials_of(parse_objectives("dpo:beta=0.5,kto"), GRID)
    assert [trial.spec for trial in trials] == ["dpo:beta=0.5"] * 4 + ["kto"] * 4
    assert [trial.text for trial in trials[:2]] == [
        "dpo:beta=0.5:learning_rate=0.001:batch_size=8", "dpo:beta=0.5:learning_rate=0.001:batch_size=16",
    ]  # fmt: skip
    assert len({trial.text for trial in trials}) == 8


@pytest.mark.parametrize(
    ("specs", "grid", "said"),
    [
        ("dpo,preferred_ft", "beta=0.1/0.5", "the same for every objective, and preferred_ft has no field 'beta'"),
        ("dpo:learning_rate=0.1", "learning_rate=1/2", "sets learning_rate itself"),
        ("dpo:beta=0.5", "beta=0.1/0.2", "sets beta itself"),
        ("dpo", "learning_rate", "write field=value/value"),
        ("dpo", "learning_rate=1//2", "write field=value/value"),
        ("dpo", "learning_rate=1/1", "given twice"),
        ("dpo", "learning_rate=1:learning_rate=2", "given twice"),
        ("dpo", "learning_rate=0.1", "holds one point"),
        ("dpo", "learning_rate=a/b", "learning_rate"),
    ],
)
def test_a_grid_that_is_not_the_same_for_all_is_refused(specs: str, grid: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        trials_of(parse_objectives(specs), grid)


def test_trials_share_no_seed_and_no_prompt_with_the_comparison(finished: Path) -> None:
    run, trials = read_json(finished / "run.json"), read_json(finished / "tuning" / "run.json")
    assert trials["seeds"] == [SEED] and SEED not in run["seeds"]
    chosen_on = {row["prompt"] for row in read_jsonl(finished / "tuning" / trials["reference"][str(SEED)]["1"])}
    evaluated = {row["prompt"] for row in read_jsonl(finished / run["reference"]["0"]["1"])}
    assert len(chosen_on) == 10 and len(evaluated) == TINY["eval_prompts"] and not chosen_on & evaluated
    assert list(trials["judges"]) == ["gold"] and trials["config"]["against"] == ["reference"]
    assert not (finished / "tuning" / "stages").exists(), "the stages are those of the comparison"


def test_the_trial_that_the_headline_judge_prefers_is_compared(finished: Path) -> None:
    noted, run = read_json(finished / "run.json")["tuning"], read_json(finished / "run.json")
    assert noted == read_json(finished / "tuning.json")
    assert noted["grid"] == {"learning_rate": ["0.001", "0.01"]} and noted["judge"] == "gold" and noted["prompts"] == 10
    trials = read_json(finished / "tuning" / "run.json")
    for spec in ("dpo", "preferred_ft"):
        own = [entry for entry in noted["trials"] if entry["spec"] == spec]
        assert len(own) == 2
        for entry in own:
            cell = next(cell for cell in trials["cells"] if cell["spec"] == entry["trial"])
            file = f"{cell['folder']}/seed-{SEED}/{cell['samples']['1']}"
            judge = finished / "tuning" / trials["judges"]["gold"]
            match = read_match(judge, file, trials["reference"][str(SEED)]["1"])
            assert match is not None and len(match.verdicts) == 10
            assert entry["value"] == pytest.approx(sum(v.score for v in match.verdicts) / 10)
        best = max(own, key=lambda entry: entry["value"])  # the first of equals
        assert [entry["chosen"] for entry in own] == [entry is best for entry in own]
        assert best["trial"] in [cell["spec"] for cell in run["cells"]]
    assert len(run["cells"]) == 2


def test_a_second_call_trains_nothing(finished: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(finished, tmp_path / "reviews"))
    log, failed = go(tuned_config(copied))
    assert not failed and not log.worked


def verdicts_of(config: Config, text: str, verdicts: list[Verdict] | None) -> None:
    """Put verdicts in the place of those on a trial."""
    folder = config.folder / "tuning"
    run = read_json(folder / "run.json")
    cell = next(cell for cell in run["cells"] if cell["spec"] == text)
    files = (f"{cell['folder']}/seed-{SEED}/{cell['samples']['1']}", run["reference"][str(SEED)]["1"])
    if verdicts is None:
        match_file(folder / run["judges"]["gold"], *files).unlink()
    else:
        write_match(folder / run["judges"]["gold"], *files, Match(verdicts))


def choose(config: Config) -> list[str]:
    return list(tuned(config, parse_objectives(SPECS), lambda trials: {})[0].objectives)


def test_the_choice_follows_the_verdicts(finished: Path, tmp_path: Path) -> None:
    wanted = tuned_config(Path(shutil.copytree(finished, tmp_path / "reviews")))
    won, lost, silent = ([Verdict(a, a)] * 10 for a in ("first", "second", "unparsed"))
    names = [f"{spec}:learning_rate={rate}" for spec in ("dpo", "preferred_ft") for rate in ("0.001", "0.01")]
    for text, found in zip(names, (lost, won, won, won), strict=True):
        verdicts_of(wanted, text, found)
    assert choose(wanted) == ["dpo:learning_rate=0.01", "preferred_ft:learning_rate=0.001"], "the first of equals"
    # A judge that would not answer says nothing for a trial: at 1/2 it would beat one that has lost.
    verdicts_of(wanted, names[0], silent)
    verdicts_of(wanted, names[1], lost)
    assert choose(wanted)[0] == "dpo:learning_rate=0.01"
    noted = read_json(wanted.folder / "tuning.json")["trials"][0]
    assert noted["status"] == "failed" and "100.0% of the judge's answers" in noted["reason"] and noted["value"] is None
    verdicts_of(wanted, names[1], None)
    with pytest.raises(TrainingError, match="no trial of dpo could be measured"):
        choose(wanted)


def test_open_questions_about_trials_choose_nothing(finished: Path, tmp_path: Path) -> None:
    """Which trials were judged whole would else decide which is best."""
    wanted = tuned_config(Path(shutil.copytree(finished, tmp_path / "reviews")))
    noted = (wanted.folder / "tuning.json").read_bytes()
    failed = {f"judging by gold seed {SEED}": "judge gold left 3 questions unanswered"}
    with pytest.raises(TrainingError, match="not all judged, so none is chosen: judge gold left 3"):
        tuned(wanted, parse_objectives(SPECS), lambda trials: failed)
    assert (wanted.folder / "tuning.json").read_bytes() == noted


def test_a_failed_trial_is_told_and_the_others_are_chosen_from(tmp_path: Path) -> None:
    loss = tmp_path / "picky.py"
    loss.write_text(LOSS.replace("return softplus", "assert self.scale < 1, 'too steep'\n        return softplus"))
    wanted = config(tmp_path / "r", str(loss), tune="scale=0.1/2", held_back=10, seeds=1)
    log, failed = go(wanted)
    assert set(failed) == {f"tuning: picky.py:scale=2 seed {SEED}"} and "too steep" in str(failed)
    assert "picky.py seed 0" in log.worked, "the default scale was chosen"
    entry = read_json(tmp_path / "r" / "tuning.json")["trials"][1]
    assert entry["status"] == "failed" and "too steep" in entry["reason"] and not entry["chosen"]


def test_a_trial_is_the_run_itself_but_for_what_it_must_not_share(tmp_path: Path) -> None:
    wanted = tuned_config(tmp_path, temperatures=(0.0,), best_of=(4,), lm_eval=("reviews_grammar",), seeds=3)
    trial = trial_config(wanted, trials_of(parse_objectives(SPECS), wanted.tune))
    assert (trial.seed_numbers, trial.tuning_prompts, trial.held_back, trial.tune) == ((SEED,), 10, 0, "")
    assert (trial.temperatures, trial.best_of, trial.lm_eval, trial.judges) == ((), (), (), wanted.judges[:1])
    same = ("model", "benchmark", "budget", "dtype", "lora", "device", "max_tokens", "reference", "reward_model")
    assert all(getattr(trial, name) == getattr(wanted, name) for name in same)
    given, own = dict(trial.benchmark_fields), dict(wanted.benchmark_fields)
    assert given == {**own, "curve_points": 0}


def test_a_choice_at_the_end_of_the_grid_is_said() -> None:
    grid = {
        "learning_rate": ["1e-3", "1e-4", "1e-2"],
        "beta": ["0.1", "0.5", "0.2"],
        "flag": ["true", "false"],
        "optimizer": ["adamw", "rmsprop"],
    }
    points = {"dpo": ("1e-2", "0.2"), "kto": ("1e-2", "0.1"), "ppo": ("1e-3", "0.2")}
    trials = [
        {
            "spec": spec,
            "point": {"learning_rate": rate, "beta": beta, "flag": "true", "optimizer": "adamw"},
            "chosen": chosen,
        }
        for spec, (rate, beta) in points.items()
        for chosen in (True, False)
    ]
    assert at_the_edge({"grid": grid, "trials": trials}) == [
        "tuning chose learning_rate=1e-2, the largest of the grid, for dpo, kto: a wider grid may do better",
        "tuning chose beta=0.1, the smallest of the grid, for kto: a wider grid may do better",
    ]


def test_prompts_are_dealt_out_once(tmp_path: Path) -> None:
    """Also where so few are there that the comparison would reach those of the trials."""
    rows = [{"prompt": f"q{i}", "chosen": "good", "rejected": "bad"} for i in range(9)]
    files = {name: tmp_path / f"{name}.jsonl" for name in ("data", "eval_data")}
    files["data"].write_text("".join(json.dumps({**row, "prompt": f"t{row['prompt']}"}) + "\n" for row in rows))
    files["eval_data"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = create_benchmark(f"files:data={files['data']}:eval_data={files['eval_data']}").plugin
    wanted = tuned_config(tmp_path, held_back=4)
    trial = replace(wanted, tuning_prompts=4, held_back=0)
    own, tried = (evaluation_prompts(benchmark, c, lambda prompt: True, 64) for c in (wanted, trial))
    assert len(own) == 5 and len(tried) == 4 and not set(own) & set(tried)
    assert own == tuple(benchmark.prompts("eval")[:5])


def test_too_many_tuning_prompts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than half of the"):
        go(replace(tuned_config(tmp_path / "a"), held_back=5000))
