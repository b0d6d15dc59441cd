"""Judging a run: what is compared with what, each comparison once, and what a judge has left open is asked again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from alignbench.errors import InputError
from alignbench.judge import Judge, JudgeContext, by_score, checked
from alignbench.matches import read_match
from alignbench.records import Comparison, Usage, Verdict
from alignbench.results import read_json, read_jsonl
from alignbench.run.judging import HELD_OUT, Progress, Roster, judge_folder, judge_seed, summed_up
from tests.test_run import TINY, config, go

SPECS = "dpo,preferred_ft"
EXTRAS: dict[str, Any] = {"temperatures": (0.0, 0.5), "best_of": (1, 4), "seeds": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "reviews"
    _, failed = go(config(folder, SPECS, **EXTRAS))
    assert not failed
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "reviews"))


def roster(folder: Path, **changes: Any) -> Roster:
    return Roster(folder, {**read_json(folder / "run.json"), **changes})


@dataclass
class Counting(Judge):
    """Prefers the longer text; leaves open whatever is asked while `down`."""

    summary: ClassVar[str] = "counts what it is asked"
    asked: list[Sequence[Comparison]] = field(default_factory=list)
    down: bool = False
    used: Usage = field(default_factory=Usage)

    @classmethod
    def open(cls, argument: str, context: JudgeContext) -> Counting:
        return cls()

    def compare(self, question: str, items: Sequence[Comparison]) -> list[Verdict]:
        self.asked.append(items)
        self.used.questions += 2 * len(items)
        if self.down:
            return [Verdict("unanswered", "unanswered") for _ in items]
        return [by_score(len(item.first.text), len(item.second.text)) for item in items]

    def usage(self) -> Usage:
        return self.used

    def problems(self) -> list[str]:
        return ["no route to it"] if self.down else []


def silent(fraction: float, text: str) -> None:
    """Nobody watches."""


def test_what_is_compared_with_what(finished: Path) -> None:
    found = roster(finished)
    run, seed = found.run, 1
    files = {cell["spec"]: f"{cell['folder']}/seed-{seed}/" for cell in run["cells"]}
    assert set(files) == {"dpo", "preferred_ft"}
    names = run["cells"][0]["samples"]
    assert set(names) == {"0", "0.5", "1"}
    reference = run["reference"][str(seed)]
    best = [run["best_of"][n][str(seed)] for n in ("1", "4")]
    everybody = [*(place + name for place in files.values() for name in names.values()), *best]
    expected = {(file, opponent) for file in everybody for opponent in (reference["1"], run["chosen"])}
    expected |= {(reference[t], opponent) for t in ("0", "0.5") for opponent in (reference["1"], run["chosen"])}
    expected |= {(reference["1"], run["chosen"]), (files["dpo"] + names["1"], files["preferred_ft"] + names["1"])}
    pairings = list(found.pairings(seed))
    assert set(pairings) == expected and len(pairings) == len(expected), "each once"
    assert list(found.pairings(HELD_OUT)) == [(f"{run['held_out']}#chosen", f"{run['held_out']}#rejected")]


@pytest.mark.parametrize(
    ("against", "count"),
    [(("reference",), 8 + 2), (("reference", "chosen"), 2 * (8 + 2) + 1), (("reference", "each-other"), 11)],
)
def test_less_is_compared_where_less_is_asked_for(finished: Path, against: tuple[str, ...], count: int) -> None:
    found = roster(finished)
    found.run["config"]["against"] = against
    assert len(list(found.pairings(0))) == count


def test_a_judge_sees_the_texts_that_were_sampled(finished: Path) -> None:
    found = roster(finished)
    ours, theirs = next(iter(found.pairings(0)))
    items, positions = found.comparisons(0, ours, theirs)
    lines, others = read_jsonl(finished / ours), read_jsonl(finished / theirs)
    assert positions is None and len(items) == TINY["eval_prompts"] == len(lines)
    for item, line, other in zip(items, lines, others, strict=True):
        assert item.prompt.text == line["prompt"] == other["prompt"]
        assert (item.first.text, item.second.text) == (line["completion"], other["completion"])
        assert item.first.ended == line["ended"]


def test_against_the_chosen_only_prompts_with_a_known_preference_are_asked(copied: Path) -> None:
    records = copied / roster(copied).run["eval_records"]
    kept = records.read_text().splitlines()[1::2]
    records.write_text("".join(line + "\n" for line in kept))
    found = roster(copied)
    items, positions = found.comparisons(0, next(iter(found.pairings(0)))[0], found.run["chosen"])
    known = {row["prompt"]["text"]: row["chosen"]["text"] for row in read_jsonl(records)}
    assert positions is not None and 0 < len(items) == len(positions) < TINY["eval_prompts"]
    assert [item.second.text for item in items] == [known[item.prompt.text] for item in items]
    prompts = [line["prompt"] for line in read_jsonl(copied / found.run["reference"]["0"]["1"])]
    assert [prompts[i] for i in positions] == [item.prompt.text for item in items]


def test_every_comparison_is_asked_once_and_open_ones_again(finished: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "verdicts")
    found, judge = roster(finished), Counting()
    pairings = list(found.pairings(0))
    assert judge_seed(found, judge, folder, 0, Progress(silent)) == []
    assert len(judge.asked) == len(pairings)
    assert judge_seed(found, judge, folder, 0, Progress(silent)) == [] and len(judge.asked) == len(pairings), (
        "nothing is left"
    )
    judge.down = True
    unfinished = judge_seed(found, judge, folder, 1, Progress(silent))
    assert len(unfinished) == len(pairings)
    said = f"judge counting left {24 * len(pairings)} questions unanswered (no route to it)"
    assert summed_up("counting", unfinished).startswith(said)
    first = read_match(Path(folder), *next(iter(found.pairings(1))))
    assert first is not None and first.unanswered == 24 and first.problems == ("no route to it",)
    judge.down = False
    assert judge_seed(found, judge, folder, 1, Progress(silent)) == []
    assert len(judge.asked) == 3 * len(pairings)
    again = read_match(Path(folder), *next(iter(found.pairings(1))))
    assert again is not None and not again.unanswered and again.usage is not None
    assert again.usage.questions == 2 * 24, "both attempts count"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([Verdict("first", "first")], "a list of one Verdict for each of the 2"),
        ([("first", "first")] * 2, "a list of one Verdict for each of the 2"),
        ([Verdict("A", "first")] * 2, "answered 'A': give one of first, second, tie"),  # type: ignore[arg-type]
    ],
)
def test_what_a_judge_of_the_user_s_returns_is_held_to_the_contract(returned: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"judge Counting .*{said}"):
        checked(returned, 2, Counting())


def test_a_judge_that_gives_up_fails_alone(tmp_path: Path) -> None:
    """The policies are trained, and the other judge is at work, all the same."""
    recorded = tmp_path / "verdicts.jsonl"
    recorded.write_text('{"prompt": "p", "output_1": "a", "output_2": "b", "forward": "first", "swapped": "first"}\n')
    judges = (("gold", ""), ("replay", str(recorded)))
    _, failed = go(config(tmp_path / "r", "preferred_ft", judges=judges, seeds=1))
    assert set(failed) == {f"judging by replay:{recorded} of held-out pairs", f"judging by replay:{recorded} seed 0"}
    assert "other data" in str(failed) and list((tmp_path / "r").glob("cells/*/seed-0/evaluations/*.json"))


def test_a_judge_of_the_user_s_may_need_the_benchmark_s_own_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from alignbench import Judge, by_score\n"
        "class Mine(Judge):\n"
        "    summary = 'asks for a model'\n"
        "    needs = frozenset({'lm'})\n"
        "    @classmethod\n"
        "    def open(cls, argument, context):\n"
        "        assert (context.models['lm'] / 'config.json').exists()\n"
        "        return cls()\n"
        "    def compare(self, question, items):\n"
        "        return [by_score(1, 0) for _ in items]\n"
    )
    judges = (("gold", ""), (str(file), ""))
    log, failed = go(config(tmp_path / "r", "preferred_ft", judges=judges, seeds=1))
    assert not failed and "judge lm" in log.worked


def test_held_out_pairs_are_as_many_as_prompts(tmp_path: Path) -> None:
    go(config(tmp_path / "r", "preferred_ft", seeds=1, fields={"eval_prompts": 5}))
    found = roster(tmp_path / "r")
    assert len(read_json(tmp_path / "r" / found.run["held_out"])["votes"]) == 5
    match = read_match(tmp_path / "r" / found.run["judges"]["gold"], *next(iter(found.pairings(HELD_OUT))))
    assert match is not None and len(match.verdicts) == 5


def test_progress_is_of_all_comparisons() -> None:
    heard: list[tuple[float, str]] = []
    progress = Progress(lambda fraction, text: heard.append((fraction, text)), over=1, count=4)
    progress(0.5, "12 of 24 questions")
    assert heard == [(0.375, "comparison 2 of 4  12 of 24 questions")]


def test_the_one_who_is_named_first_wins_where_his_reward_is_higher(finished: Path) -> None:
    run = read_json(finished / "run.json")
    for first, second in roster(finished).pairings(1):
        if second == run["chosen"]:
            continue
        match = read_match(finished / run["judges"]["gold"], first, second)
        assert match is not None
        for verdict, ours, theirs in zip(
            match.verdicts, read_jsonl(finished / first), read_jsonl(finished / second), strict=True
        ):
            assert verdict == by_score(ours["reward"], theirs["reward"])


def test_missing_samples_are_passed_over(copied: Path) -> None:
    found = roster(copied)
    cell = next(cell for cell in found.run["cells"] if cell["spec"] == "dpo")
    shutil.rmtree(copied / cell["folder"] / "seed-0")
    assert len(list(found.pairings(0))) == len(list(found.pairings(1))) - (3 * 2 + 1)


def test_the_folder_of_a_judge_depends_on_what_its_answers_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"reward": "stages/judge_reward-a", "lm": "stages/judge_lm-a"}

    def place(name: str, argument: str = "", **changes: Any) -> str:
        given = {"question": "better ?", "models": models, "gold": "g", "url": "", **changes}
        return judge_folder(name, argument, **given)

    asked, own = place("lm", "a/b:c"), place("lm")
    assert place("gold") != place("gold", gold="h") and place("reward") == place("reward", gold="h")
    assert place("reward") != place("reward", models={**models, "reward": "stages/judge_reward-b"})
    assert place("reward") == place("reward", models={**models, "lm": "stages/judge_lm-b"})
    assert place("lm") != place("lm", question="worse ?")
    assert place("length") == place("length", url="http://127.0.0.1:1/v1"), "it asks no server"
    assert place("openai", "m") != place("openai", "m", url="http://127.0.0.1:1/v1") != place("openai", "n")
    verdicts = tmp_path / "verdicts.jsonl"
    for argument in (str(verdicts), f"{verdicts}::gpt-4"):
        verdicts.write_text("{}\n")
        before = place("replay", argument)
        verdicts.write_text("{} \n")
        assert place("replay", argument) != before
    monkeypatch.setattr("alignbench.judges.lm.VERSION", 2)
    assert place("lm", "a/b:c") != asked and place("lm") == own, "the benchmark's own judge is asked in other words"
    assert place("lm", "a/b:c").startswith("verdicts/lm_a_b_c-")
