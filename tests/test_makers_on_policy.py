"""Pairs of a model's own samples: which samples, which score, which pair, and what an interruption costs."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from alignbench.data import read_records
from alignbench.encoding import Encoder
from alignbench.errors import InputError
from alignbench.evaluate.measure import decode
from alignbench.judges.reward import reward_scores
from alignbench.makers import Judging, Sampling, write_pairs
from alignbench.makers.comparing import Scored, different, mean_scores, ring
from alignbench.makers.drawing import Drawing, Drawn, Tally
from alignbench.makers.scoring import Scoring
from alignbench.makers.sources import Item
from alignbench.models import RewardModel, load_policy
from alignbench.records import Completion, Prompt, Verdict
from alignbench.results import derive
from alignbench.sampling import sample
from alignbench.tokens import encode_prompt

from .faulty_server import Asked, FaultyServer, Reply, failed, said
from .making import JUDGE, PROMPTS, Listener, by_first_word, made, models, prompts


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three prompts a block where each has four samples."""
    monkeypatch.setattr("alignbench.makers.drawing.BLOCK", 12)
    monkeypatch.setattr("gc.collect", lambda: 0)  # it would go through what all tests before have left
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def drawn(*texts: str) -> Drawn:
    return Drawn(Item(Prompt("x"), None, 1), tuple(map(Completion, texts)))


def log_of(tmp_path: Path) -> tuple[Judging, Path]:
    """A judge of the user's that writes down what it is asked."""
    (tmp_path / "mine.py").write_text(JUDGE, encoding="utf-8")
    return Judging(str(tmp_path / "mine.py"), str(tmp_path / "log")), tmp_path / "log.txt"


def test_the_best_and_the_worst_by_a_reward_model(tmp_path: Path, folders: tuple[str, str]) -> None:
    """Samples and rewards are made here once more, without blocks, store and batches."""
    sampling = Sampling(folders[0], n=4, temperature=0.8, max_new_tokens=6, seed=3)
    found = made(prompts(tmp_path / "p.jsonl"), sampling, Judging("reward", folders[1]), tmp_path / "work")
    assert len(found.records) == 10 and not found.dropped and found.samples == 40 and found.scored == "reward"
    policy, rewards = load_policy(folders[0]), RewardModel.load(folders[1])
    for block in range(4):
        asked = [encode_prompt(Prompt(text), policy.tokenizer, 64) for text in PROMPTS[3 * block : 3 * block + 3]]
        rows = sample(policy, [row for row in asked for _ in range(4)], derive(3, f"pairs/{block}"), 6, 0.8)
        texts = [decode(policy.tokenizer, row) for row in rows]
        for i in range(len(asked)):
            record, own = found.records[3 * block + i], texts[4 * i : 4 * i + 4]
            scores = [reward_scores(rewards, [Prompt(record["prompt"])], [text])[0] for text in own]
            assert record["scores"] == pytest.approx([s if t.text else None for s, t in zip(scores, own, strict=True)])
            ranked = sorted((score, text.text) for score, text in zip(scores, own, strict=True) if text.text)
            assert (record["rejected"], record["chosen"]) == (ranked[0][1], ranked[-1][1])
            assert record["score_chosen"] == max(s for s in record["scores"] if s is not None)
            ends = {text.text: text.ended for text in own}
            assert record["ended"] == {side: ends[record[side]] for side in ("chosen", "rejected")}
    record = found.records[0]
    assert record["sampling"] == {"n": 4, "temperature": 0.8, "max_new_tokens": 6, "seed": 3, "dtype": "float32"}
    assert record["model"]["fingerprint"].startswith("sha256 ") and record["how"] == "on-policy"
    assert record["judge"]["name"] == f"reward:{folders[1]}" and record["line"] == 1
    gaps = [record["score_chosen"] - record["score_rejected"] for record in found.records]
    assert found.gap == pytest.approx(sum(gaps) / 10) and min(gaps) > 0
    write_pairs(tmp_path / "pairs.jsonl", found)
    read = read_records(str(tmp_path / "pairs.jsonl")).records
    back = [(pair.prompt.text, *(text.text for text in pair.completions)) for pair in read]
    assert back == [(record["prompt"], record["chosen"], record["rejected"]) for record in found.records]


def test_equal_samples_are_judged_once_and_alike_ones_make_no_pair(tmp_path: Path, folders: tuple[str, str]) -> None:
    judging, log = log_of(tmp_path)
    source = prompts(tmp_path / "p.jsonl")
    greedy = Sampling(folders[0], n=4, temperature=0, max_new_tokens=4)
    found = made(source, greedy, judging, tmp_path / "work")
    assert not found.records and found.dropped == {"samples all alike or empty": 10} and not log.exists()
    # One token each: many are equal, and a tie for a judge who counts words.
    found = made(source, replace(greedy, temperature=1.0, max_new_tokens=1), judging, tmp_path / "work")
    asked = [tuple(json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
    assert asked and max(Counter((p, *sorted(pair)) for p, *pair in asked).values()) == 1
    assert all(first.strip() and second.strip() and first != second for _, first, second in asked)
    assert not found.records and set(found.dropped) == {"samples all alike or empty", "best and worst tied"}
    assert found.dropped.total() == 10 and any("were empty" in note for note in found.notes)
    assert any("cut off after 1 token, and training gives them no end token" in note for note in found.notes)


def test_samples_that_repeat_another_are_counted(tmp_path: Path, folders: tuple[str, str]) -> None:
    tally = Tally(5)
    for each in (drawn("a", " a", "", "", "b"), drawn("a", "b"), drawn("a\n", "a", "a")):
        tally.add(each)
    assert (tally.samples, tally.alike, tally.empty) == (10, 3, 2)
    sampling = Sampling(folders[0], n=12, max_new_tokens=1)
    found = made(prompts(tmp_path / "p.jsonl", PROMPTS[:1]), sampling, Judging("length"), tmp_path / "work")
    (file,) = (tmp_path / "work" / "samples").iterdir()
    texts = [text for text, _ in json.loads(file.read_text("utf-8"))["samples"] if text]
    assert found.alike == len(texts) - len(set(texts)) > 0


def test_a_sample_scores_the_mean_of_its_comparisons() -> None:
    five = drawn("a", "b ", "", "a", "c")
    assert different(five) == [0, 1, 4]
    verdicts = {
        (0, 1): Verdict("first", "first"),  # a 1, b 0
        (0, 4): Verdict("first", "second"),  # a contradiction: 1/2 each
        (1, 4): Verdict("tie", "refused"),  # 1/2 each
    }
    assert mean_scores(five, verdicts) == Scored((0.75, 0.25, None, 0.75, 0.5), 3, 1, refused=1)
    assert mean_scores(five, {(0, 1): Verdict("unparsed", "unanswered")}) == Scored(
        (0.5, 0.5, None, 0.5, None), 1, unparsed=1, unanswered=1
    )


@pytest.mark.parametrize(("size", "reach"), [(2, 1), (3, 1), (5, 1), (6, 2), (8, 3), (8, 4), (7, 3), (4, 0), (5, 9)])
def test_on_a_ring_all_have_equally_many_rivals(size: int, reach: int) -> None:
    pairs = list(ring(size, reach))
    assert len(set(pairs)) == len(pairs) and all(i < j for i, j in pairs)
    rivals = Counter(itertools.chain.from_iterable(pairs))
    assert set(rivals.values()) == {min(2 * reach or size, size - 1)} and len(rivals) == size


def test_how_many_questions_is_known_without_counting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    scoring = Scoring(Drawing([], Sampling("none"), Path("none")), Judging("length"), Listener())
    scoring.sizes = [2, 3, 5, 8, 8]
    assert [scoring.asked(reach) for reach in range(9)] == [
        2 * sum(len(list(ring(k, reach))) for k in scoring.sizes) for reach in range(9)
    ]
    # Ten thousand prompts of 64 samples: their comparisons are counted, not gone through.
    monkeypatch.setattr("alignbench.makers.scoring.ring", None)
    for limit, reach in [(0, 0), (64 * 10**4 * 63, 0), (64 * 10**4 * 63 - 1, 31), (64 * 10**4 * 4, 2), (2 * 10**6, 1)]:
        many = Scoring(scoring.drawing, Judging("length", questions=limit), Listener())
        many.sizes = [64] * 10**4
        assert many.reach == reach


def test_questions_can_be_bounded(tmp_path: Path, folders: tuple[str, str]) -> None:
    judging, log = log_of(tmp_path)
    source, sampling = prompts(tmp_path / "p.jsonl", PROMPTS[:3]), Sampling(folders[0], n=8, max_new_tokens=8)
    listener = Listener()
    found = made(source, sampling, replace(judging, questions=120), tmp_path / "work", listener)
    asked = log.read_text(encoding="utf-8").splitlines()
    most = len(made(source, sampling, judging, tmp_path / "work").records) and log.read_text("utf-8").count("\n")
    assert 72 < 2 * len(asked) <= 120 < 2 * (most - len(asked)) <= 168, "each comparison is two questions"
    assert found.records and "will be asked up to 168 questions, 56 a prompt" in listener.told[0]
    assert f"{2 * len(asked)} questions on 3 prompts, each sample against 4 others" in listener.told[1]
    with pytest.raises(InputError, match=r"--judge-questions 20: 3 prompts need \d+ questions at least"):
        made(source, sampling, replace(judging, questions=20), tmp_path / "work")


def test_the_server_is_asked_once_and_its_cost_is_told(tmp_path: Path, folders: tuple[str, str]) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl", PROMPTS[:6]), Sampling(folders[0], n=3, max_new_tokens=6)
    with FaultyServer(by_first_word) as server:
        judging = Judging("openai", "tiny", url=server.url, price=(1.0, 2.0))
        found = made(source, sampling, judging, tmp_path / "work")
        count = len(server.requests)
        again = made(source, sampling, judging, tmp_path / "work")
    for record in found.records:
        texts = {record["chosen"]: record["score_chosen"], record["rejected"]: record["score_rejected"]}
        assert min(texts) == record["chosen"] and texts[record["chosen"]] > texts[record["rejected"]]
    assert len(found.records) + found.dropped.total() == 6 and len(found.records) > 3
    usage = found.usage
    assert usage is not None and usage.questions == count - 1 > 0, "one request finds out whether it answers"
    assert usage.prompt_tokens == 50 * count and usage.cost == pytest.approx((50 * count + 2 * 2 * count) / 1e6)
    assert list(again.lines()) == list(found.lines()) and again.usage is None and len(server.requests) == count
    kept = "".join(path.read_text("utf-8") for path in (tmp_path / "work").rglob("*.json*"))
    assert server.url not in kept and json.loads(next(found.lines()))["judge"]["url"] == server.url


def test_an_interruption_loses_nothing(tmp_path: Path, folders: tuple[str, str]) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl", PROMPTS[:7]), Sampling(folders[0], n=2, max_new_tokens=6)
    with FaultyServer(by_first_word) as server:
        judging = Judging("openai", "tiny", url=server.url)
        whole = list(made(source, sampling, judging, tmp_path / "whole").lines())
        needed = server.requests.copy()
        # The question that finds out whether the server answers is asked by each call.
        probe = next(question for question in needed if "Which number is larger?" in question)
        for number, stop in enumerate(("sampling: prompt 7", "openai:tiny: block 2", "openai:tiny: 5 of")):
            server.requests.clear()
            work = tmp_path / str(number)
            with pytest.raises(KeyboardInterrupt):
                made(source, sampling, replace(judging, concurrency=1), work, Listener(stop))
            stamps = {file: file.stat().st_mtime_ns for file in (work / "samples").iterdir()}
            assert len(server.requests) < len(needed) and stamps
            assert list(made(source, sampling, judging, work).lines()) == whole
            assert {q: n for q, n in server.requests.items() if q != probe} == {q: 1 for q in needed if q != probe}
            assert {file: file.stat().st_mtime_ns for file in stamps} == stamps, "no block was drawn again"


def test_what_a_server_has_not_answered_is_asked_again(tmp_path: Path, folders: tuple[str, str]) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl", PROMPTS[:6]), Sampling(folders[0], n=3, max_new_tokens=6)
    refusing = [True]

    def respond(asked: Asked) -> Reply:
        about = PROMPTS[4] in asked.question and refusing[0]
        return (
            failed(400, "too long")
            if about
            else said("no idea")
            if PROMPTS[1] in asked.question
            else by_first_word(asked)
        )

    with FaultyServer(respond) as server:
        judging = Judging("openai", "tiny", url=server.url)
        part = made(source, sampling, judging, tmp_path / "work")
        assert part.dropped["judge has not answered"] == 1 and part.unanswered in (2, 6) and len(part.problems) == 1
        assert PROMPTS[4] not in [record["prompt"] for record in part.records]
        assert part.unparsed in (2, 6) and part.dropped["best and worst tied"] == 1
        refusing[0], before = False, server.answered.total()
        full = made(source, sampling, judging, tmp_path / "work")
        assert server.answered.total() - before == part.unanswered + 1
    assert not full.unanswered and full.dropped["judge has not answered"] == 0
    assert [r for r in full.records if r["prompt"] != PROMPTS[4]] == list(part.records)
    # A server that has gone away is found out before anything is drawn.
    with pytest.raises(InputError, match=r"the server at .* cannot be reached"):
        made(source, replace(sampling, seed=5), judging, tmp_path / "work2")
    assert not (tmp_path / "work2" / "samples").exists()


def test_a_server_that_stops_answering_is_left_alone(tmp_path: Path, folders: tuple[str, str]) -> None:
    source, sampling = prompts(tmp_path / "p.jsonl"), Sampling(folders[0], n=3, max_new_tokens=6)

    def respond(asked: Asked) -> Reply:
        return by_first_word(asked) if len(server.requests) < 12 else failed(401, "no more")

    with FaultyServer(respond) as server:
        part = made(source, sampling, Judging("openai", "tiny", url=server.url, concurrency=1), tmp_path / "work")
        asked = server.requests.total()
    assert part.unanswered > 20 and asked < 40 and part.records and "(401)" in part.problems[0]
    assert part.dropped["judge has not answered"] + len(part.records) == 10


def test_a_file_that_grows_keeps_its_samples(tmp_path: Path, folders: tuple[str, str]) -> None:
    sampling, judging = Sampling(folders[0], n=4, max_new_tokens=6), Judging("length")
    short = made(prompts(tmp_path / "p.jsonl", PROMPTS[:6]), sampling, judging, tmp_path / "work")
    listener = Listener()
    grown = made(prompts(tmp_path / "q.jsonl", PROMPTS), sampling, judging, tmp_path / "work", listener)
    assert listener.told[0].startswith("2 of 4 blocks of samples are in")
    for old, new in zip(short.records, grown.records, strict=False):
        assert old | {"key": ""} == new | {"key": ""}
    assert short.records[0]["key"] != grown.records[0]["key"]
    # Neither the batch nor the device is part of what is kept.
    other = Listener()
    made(str(tmp_path / "q.jsonl"), replace(sampling, batch_size=3), judging, tmp_path / "work", other)
    assert other.shown == []
    small = made(str(tmp_path / "q.jsonl"), replace(sampling, batch_size=5), judging, tmp_path / "anew")
    assert list(small.lines()) == list(grown.lines())


def test_prompts_that_the_model_cannot_read_are_named(tmp_path: Path, folders: tuple[str, str]) -> None:
    long = [" ".join(["w01"] * length) for length in (54, 55, 80)]  # a begin token, 9 new ones, 64 in all
    source, sampling = prompts(tmp_path / "p.jsonl", [*PROMPTS[:2], *long]), Sampling(folders[0], 4, max_new_tokens=9)
    found = made(source, sampling, Judging("reward", folders[1]), tmp_path / "work")
    assert [record["line"] for record in found.records] == [1, 2, 3]
    assert found.dropped == {"too long for the context": 2} and found.samples == 12
    assert "prompts too long for the context: line 4, 5." in found.notes
    with pytest.raises(InputError, match="--max-tokens 64 leaves no room for a prompt in the model's context of 64"):
        made(source, replace(sampling, max_new_tokens=64), Judging("length"), tmp_path / "work")
    assert len(Encoder(load_policy(folders[0]).tokenizer).prompt_ids([long[0]])[0]) == 55
