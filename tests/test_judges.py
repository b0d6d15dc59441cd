"""Judges that score each completion by itself: the gold reward and reward models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers as hf
from torch import nn

from alignbench.errors import InputError
from alignbench.judge import JudgeContext, by_score, comparison_prompt
from alignbench.judges.gold import Gold
from alignbench.judges.lm import LM
from alignbench.judges.reward import Reward
from alignbench.models import SmallModel, as_reward_model, small_model, small_tokenizer
from alignbench.plugins import find
from alignbench.records import Comparison, Completion, Prompt

QUESTION = "which review is better ?"
CORPUS = ["the film was good .", "a bad plot", comparison_prompt(QUESTION, "", "", "")]
WORDS = SmallModel("words", vocabulary=60, layers=2, width=32, heads=2, context=64)


def lengths(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float] | None:
    """A gold reward: how long a completion is, but never above 5."""
    return [min(5.0, float(len(completion.text))) for completion in completions]


CONTEXT = JudgeContext(lengths, {})


def item(first: str, second: str, prompt: str = "the film") -> Comparison:
    return Comparison(Prompt(prompt), Completion(first), Completion(second))


def test_gold_prefers_the_higher_reward_and_calls_equal_ones_a_tie() -> None:
    items = [item("abc", "a"), item("a", "abc"), item("abcdefg", "abcdefghi")]
    verdicts = find("judge", "gold").open("", CONTEXT).compare(QUESTION, items)
    assert [(v.forward, v.swapped, v.margin) for v in verdicts] == [
        ("first", "first", 2.0), ("second", "second", -2.0), ("tie", "tie", 0.0)
    ]  # fmt: skip
    assert [v.score for v in verdicts] == [1.0, 0.0, 0.5]
    assert not any(v.contradiction or v.unusable for v in verdicts)
    assert by_score(0.1, 0.1).score == 0.5 and by_score(-math.inf, 0.0).forward == "second"


def test_gold_takes_no_argument_and_needs_a_gold_reward() -> None:
    with pytest.raises(InputError, match="gold takes no argument, but was given 'me': write `gold`"):
        Gold.open("me", CONTEXT)
    nobody = Gold.open("", JudgeContext(lambda prompts, completions: None, {}))
    with pytest.raises(InputError, match="no gold reward"):
        nobody.compare(QUESTION, [item("a", "b")])


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random reward model."""
    folder = tmp_path_factory.mktemp("rewards")
    policy = small_model(small_tokenizer(CORPUS, WORDS), WORDS, seed=2)
    with torch.no_grad():
        policy.model.model.embed_tokens.weight.mul_(20)
    head = nn.Linear(32, 1, bias=False)
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    as_reward_model(policy, head, "rm").save(folder)
    return folder


@pytest.mark.parametrize("named", [True, False])
def test_the_reward_judge_reads_the_score_after_the_end_token(rewards: Path, named: bool) -> None:
    context = JudgeContext(lengths, {} if named else {"reward": rewards})
    judge = Reward.open(str(rewards) if named else "", context)
    items = [item("was good .", "a bad plot"), item("a bad plot", "was good ."), item("good", "good")]
    verdicts = judge.compare(QUESTION, items)
    tokenizer = judge.model.tokenizer
    one, other = (
        judge.model.score([[*tokenizer(f"the film {text}")["input_ids"], tokenizer.eos_token_id]]).item()
        for text in ("was good .", "a bad plot")
    )
    assert abs(one - other) > 0.01
    assert verdicts[0] == by_score(one, other) and verdicts[1] == by_score(other, one)
    assert (verdicts[2].forward, verdicts[2].swapped, verdicts[2].score) == ("tie", "tie", 0.5)
    cut_off = Comparison(Prompt("the film"), Completion("was good .", ended=False), Completion("was good ."))
    assert judge.compare(QUESTION, [cut_off])[0].forward != "tie", "without the end token it is another score"


def test_a_wrong_path_is_one_sentence(tmp_path: Path, rewards: Path) -> None:
    for kind in (Reward, LM):
        with pytest.raises(InputError, match="there is no such folder"):
            kind.open(str(tmp_path / "nothing"), CONTEXT)
    model = hf.AutoModelForSequenceClassification.from_pretrained(rewards)
    model.config.tie_word_embeddings = False  # so that the embedding cannot stand in for the missing head
    model.save_pretrained(tmp_path)
    small_tokenizer(CORPUS, WORDS).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"its weights lack lm_head\.weight"):
        LM.open(str(tmp_path), CONTEXT)
