"""A run with two judges, one of them behind a server that goes away and comes back."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alignbench.errors import InputError
from alignbench.judge import JudgeContext
from alignbench.judges.openai import OpenAI
from alignbench.matches import Match, read_match
from alignbench.report import write_report
from alignbench.results import read_json
from alignbench.run.judging import HELD_OUT, Roster
from tests.faulty_server import Asked, FaultyServer, Reply, failed, said
from tests.test_run import config, go

JUDGES = (("gold", ""), ("openai", "served"))


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def impatient(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """Judges that wait little between tries and give up after `patience` seconds without an answer."""
    opened = OpenAI.open

    def quick(argument: str, context: JudgeContext) -> OpenAI:
        return replace(opened(argument, context), pause=0.02, longest_pause=0.1, patience=patience)

    monkeypatch.setattr(OpenAI, "open", quick)


def wanted(folder: Path, url: str, **changes: Any) -> Any:
    return config(folder, "dpo,preferred_ft", judges=JUDGES, judge_url=url, seeds=1, **changes)


def longer(asked: Asked) -> Reply:
    return said("A" if len(asked.shown("A")) >= len(asked.shown("B")) else "B")


def about_the_run(answered: Counter[str]) -> Counter[str]:
    """Without the question that finds out whether the server answers at all."""
    return Counter(
        {question: count for question, count in answered.items() if "Which number is larger?" not in question}
    )


def judged(folder: Path) -> list[Match]:
    """Every comparison of the run by the served judge."""
    run = read_json(folder / "run.json")
    roster = Roster(folder, run)
    pairings = [pairing for seed in (HELD_OUT, 0) for pairing in roster.pairings(seed)]
    assert len(pairings) == 1 + 2 * 2 + 1 + 1, "held-out pairs, each spec twice, the two, the reference"
    found = [read_match(folder / run["judges"]["openai:served"], *pairing) for pairing in pairings]
    assert all(match is not None for match in found)
    return [match for match in found if match is not None]


def test_a_server_that_goes_away_and_comes_back_judges_every_pair_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 60.0)
    gone, lock = threading.Event(), threading.Lock()
    answered: list[str] = []

    def respond(asked: Asked) -> Reply:
        """After 30 answers the server is taken away, whatever is under way is lost, and another takes its place."""
        with lock:
            if len(answered) == 30 and not gone.is_set():
                gone.set()
                threading.Thread(target=restart, daemon=True).start()
            if gone.is_set():
                return Reply(body=b"{", how="cut")
            answered.append(asked.question)
        return longer(asked)

    def restart() -> None:
        servers[0].__exit__()
        servers.append(FaultyServer(longer, int(servers[0].url.split(":")[2].split("/")[0])).__enter__())

    servers = [FaultyServer(respond).__enter__()]
    try:
        _, failures = go(wanted(tmp_path / "r", servers[0].url))
        assert not failures and gone.is_set()
        matches = judged(tmp_path / "r")
        assert not any(match.unanswered for match in matches)
        asked = sum(match.usage.questions - match.usage.cached for match in matches if match.usage)
        once = about_the_run(servers[0].answered + servers[1].answered)
        assert set(once.values()) == {1} and len(once) == asked
        paid = sum(match.usage.prompt_tokens for match in matches if match.usage)
        assert paid == 50 * asked and sum(match.usage.retries for match in matches if match.usage) > 0
        log, _ = go(wanted(tmp_path / "r", servers[0].url))
        assert not log.worked
    finally:
        for server in servers:
            server.__exit__()


def test_what_a_server_did_not_answer_is_said_and_asked_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 0.3)
    folder, broken = tmp_path / "r", [False]

    def respond(asked: Asked) -> Reply:
        with lock:
            broken[0] = broken[0] or len(server.answered) >= 40
        return failed(503, "overloaded") if broken[0] else longer(asked)

    lock = threading.Lock()
    with FaultyServer(respond) as server:
        _, failures = go(wanted(folder, server.url))
        assert set(failures) <= {f"judging by openai:served {of}" for of in ("of held-out pairs", "seed 0")}
        reason = failures["judging by openai:served seed 0"]
        assert re.match(r"judge openai:served left \d+ questions unanswered \(.*503", reason)
        assert "the same command asks for the rest" in reason
        open_ones = sum(match.unanswered for match in judged(folder))
        assert open_ones > 0
        summary = write_report(folder)
        assert summary["judges"]["openai:served"]["unanswered"] > 0
        assert "503" in " ".join(summary["judges"]["openai:served"]["problems"])
        assert summary["rows"][0]["win_rate"]["value"] is not None, "the headline judge is another"
        kept, broken[0] = len(server.answered), False
        server.respond = longer
        log, failures = go(wanted(folder, server.url))
        assert not failures and log.worked <= {
            f"judging by openai:served {of}" for of in ("of held-out pairs", "seed 0")
        }
        assert not any(match.unanswered for match in judged(folder))
        once = about_the_run(server.answered)
        assert set(once.values()) == {1} and len(once) > kept, "no answer was asked for twice"


@pytest.mark.parametrize(
    ("status", "said_there", "says"),
    [(401, "Incorrect API key provided: sk-hidden", "401"), (404, "no such model", "404")],
)
def test_a_judge_that_can_never_answer_is_refused_before_anything_is_trained(
    status: int, said_there: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    with FaultyServer(lambda asked: failed(status, said_there)) as server, pytest.raises(InputError) as caught:
        go(wanted(tmp_path / "r", server.url))
    assert says in str(caught.value) and "sk-hidden" not in str(caught.value)
    assert not list(tmp_path.rglob("policy")) and not list(tmp_path.rglob("stages/*"))
    assert not any(b"sk-hidden" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
