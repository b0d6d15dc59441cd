from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from alignbench.doctor import Examination, examine, view
from alignbench.encoding import Encoder
from alignbench.records import Completion, LabelledCompletion, Pair, Prompt, Ranking
from alignbench.tokens import tokenize
from tests.doctor_records import found, pairs
from tests.small_tokenizers import BOS, CHAT, EOS, LLAMA, TURN, chat, pair, pieces, words


def seen(records: Any, tokenizer: Any, context: int | None = 100, reserve: int = 0) -> Examination:
    return examine(records, Encoder(tokenizer), context, reserve)


# --- the context ---


def test_what_a_context_cuts_by_hand() -> None:
    """A context of 9 with a begin token in front of prompts and an end token behind completions."""
    records = [
        pair("a b c", "d", "e", 3),  # 4 + 2
        pair("a b c d e f", "a", "b", 5),  # 7 + 2: just fits
        pair("a b c d e f", "a b", "b", 8),  # 7 + 3: the prompt loses one
        pair("a b", "a", "a b c d e f g h", 13),  # the completion alone fills it: both are cut
        pair("a b c d e f g h", "a", "b", 21),  # 9 leave no room
    ]
    examination = seen(records, words(True), 9)
    finding = found(examination, "context")
    assert finding.lines == (8, 13, 21) and finding.count == 3 and finding.level == "bad"
    assert finding.said == (
        "In a context of 9 tokens 2 of 5 pairs (40.0 %) lose the beginning of the prompt, 1 of 5 pairs (20.0 %) loses "
        "the end of a completion and 1 of 5 pairs (20.0 %) is left out (prompt: 9 tokens leave no room in a context of "
        "9)."
    )
    assert found(seen(records, words(True), 12), "context").level == "fine"
    assert found(seen(records[:2], words(True), 9), "context").said == "Every record fits a context of 9 tokens."


def test_the_reserve_of_a_sample_is_kept() -> None:
    records = [pair("a b c d", "e", "f", line) for line in (1, 2)]
    assert found(seen(records, words(True), 9, 4), "context").level == "fine"
    finding = found(seen(records, words(True), 9, 5), "context")
    assert finding.lines == (1, 2) and "with 5 kept for a sample" in finding.said


def test_the_context_counts_as_training_does() -> None:
    """The figures are those of the `Dataset` that objectives read, for every kind of record."""
    source = pairs(80, seed=2)
    tokenizer = pieces(True)
    lists = [Ranking(p.prompt, (*p.completions, q.chosen), p.line) for p, q in pairwise(source)]
    marked = [LabelledCompletion(p.prompt, p.chosen, i % 2 == 0, p.line) for i, p in enumerate(source)]
    for records in (source, lists, marked):
        for context in (150, 260, 380):
            data = tokenize(records, tokenizer, context, 20)
            finding = found(examination := seen(records, tokenizer, context, 20), "context")
            figures = examination.figures["context"]
            assert finding.count == data.truncated + len(data.skipped)
            assert figures["left_out"] == len(data.skipped)
            assert {skip.line for skip in data.skipped} <= set(finding.lines)


def test_nothing_fits_or_nothing_can_be_read() -> None:
    records = [pair("a b c d e f g h", "a", "b", line) for line in (4, 6)]
    finding = found(seen(records, words(True), 5), "context")
    assert (finding.lines, finding.level) == ((4, 6), "bad") and "2 of 2 pairs (100.0 %) are left out" in finding.said
    same = [pair("a b", "c d", " c  d", 3), pair("a b", "c d", "e", 5)]
    finding = found(seen(same, words(True)), "context")
    assert (
        finding.lines == (3,)
        and "1 of 2 pairs (50.0 %) is left out (rejected: the same tokens as chosen)." in finding.said
    )
    unread = found(seen(same[:1], words(True)), "context")
    assert (unread.level, unread.lines) == ("bad", (3,))  # a run would refuse them
    assert unread.said == (
        "No record fits this tokenizer: skipped 1 of 1 records: line 3 (rejected: the same tokens as chosen)."
    )
    cut = [pair("a", "a b c d e f g h", "a b c d e f g h a b", 4)]  # the same tokens, in so small a context
    assert "(prompt or completions: they do not fit a context of 5)" in found(seen(cut, words(True), 5), "context").said
    chats = [pair(chat("a"), "b", "c", line) for line in (1, 2)]
    examination = seen(chats, words(True))
    finding = found(examination, "context")
    assert (finding.level, finding.lines) == ("bad", (1, 2)) and "no chat template" in finding.said
    assert examination.figures["lengths"]["unit"] == "words"


def test_lengths_are_tokens_where_a_tokenizer_is_known() -> None:
    records = [pair("a", "b c d", "e", line) for line in range(40)]
    lengths = seen(records, words(False), None).figures["lengths"]
    assert (lengths["unit"], lengths["mean_chosen"], lengths["mean_rejected"]) == (
        "tokens",
        4.0,
        2.0,
    )  # with end tokens
    examination = seen(records, words(False), None)
    assert found(examination, "context").level == "unknown" and "--context" in found(examination, "context").advice
    assert "the longest record has 5 tokens" in found(examination, "context").said
    blind = found(examine(records), "context")
    assert blind.said == "There is no tokenizer to count with." and "`alignbench data --model`" in blind.advice


# --- begin and end tokens ---


def test_texts_without_special_tokens_are_fine() -> None:
    records = [pair("a b", "c", "d", line) for line in range(1, 4)]
    assert found(seen(records, words(True)), "begin_end_tokens").level == "fine"
    assert found(examine(records), "begin_end_tokens").level == "unknown"
    assert "`alignbench data --model`" in found(examine(records), "begin_end_tokens").advice


def test_tokens_that_would_come_double() -> None:
    records = [
        pair("a b", "c", "d", 1),
        pair(f"{BOS} a b", "c", "d", 2),
        pair("a b", f"c {EOS}", "d", 3),
        pair("a b", f"c {EOS} d", "e", 4),
    ]
    looked = found(seen(records[:3], words(True)), "begin_end_tokens")
    assert (looked.level, looked.lines, looked.count) == ("look", (2, 3), 2)
    assert "a completion that brings its own end token" in looked.said and "its own begin token" in looked.said
    assert "trains on one" in looked.advice
    # What it says of alignbench is so: one begin token, one end token.
    data = tokenize(records[:3], words(True), 50)
    for chosen, rejected in data.pairs:
        assert chosen.prompt.count(1) == 1 and chosen.completion.count(2) == rejected.completion.count(2) == 1
    bad = found(seen(records, words(True)), "begin_end_tokens")
    assert (bad.level, bad.lines) == ("bad", (2, 3, 4)) and f'"{EOS}" 2 times' in bad.said
    assert "1 of 4 pairs (25.0 %) has a special token of the model inside" in bad.said


def test_the_template_of_another_model() -> None:
    records = [
        pair("<|im_start|>user\na<|im_end|>", "b", "c", 7),
        pair("[INST] a [/INST]", "b", "c", 8),
        pair("a", "b", "c", 9),
    ]
    for finding in (found(seen(records, words(True)), "begin_end_tokens"), found(examine(records), "begin_end_tokens")):
        assert (finding.level, finding.lines) == ("look", (7, 8)) and '"<|im_start|>" once' in finding.said


def test_a_prompt_in_the_models_own_template_is_right_and_a_message_is_not() -> None:
    tokenizer = pieces(False, CHAT)
    written = [pair(f"<|user|>a{TURN}\n<|assistant|>", "b", "c", 1)]
    assert found(seen(written, tokenizer), "begin_end_tokens").level == "fine"
    message = [pair(chat(f"<|user|>a{TURN}"), "b", "c", 1), pair(chat("a"), "b", "c", 2)]
    finding = found(seen(message, tokenizer), "begin_end_tokens")
    assert (finding.level, finding.lines) == ("bad", (1,))


@pytest.mark.parametrize(
    ("adds", "template", "double"), [(True, LLAMA, True), (False, LLAMA, False), (True, CHAT, False)]
)
def test_a_template_that_begins_where_the_tokenizer_does(adds: bool, template: str, double: bool) -> None:
    records = [pair(chat("a b"), "c", "d", line) for line in (1, 2)]
    tokenizer = pieces(adds, template)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "a b"}], tokenize=False)
    assert (tokenizer(rendered)["input_ids"][:2] == [tokenizer.bos_token_id] * 2) == double
    finding = found(seen(records, tokenizer, 200), "begin_end_tokens")
    assert finding.level == ("look" if double else "fine")
    if double:
        assert "alignbench trains on one, other tools would train on two" in finding.said and finding.lines == ()
        assert all(
            row.prompt[:2].count(tokenizer.bos_token_id) == 1 for row in tokenize(records, tokenizer, 200).pairs[0]
        )


# --- completions that nobody ended ---


def test_completions_without_an_end_token() -> None:
    records: list[Pair] = pairs(50)
    records[4] = replace(records[4], rejected=replace(records[4].rejected, ended=False))
    finding = found(examine(records), "no_end")
    assert (finding.level, finding.lines, finding.count) == ("look", (50,), 1)
    assert finding.said.startswith(
        "1 of 100 completions (1.0 %) has no end token (0.0 % of chosen and 2.0 % of rejected)"
    )
    cut = [replace(p, chosen=replace(p.chosen, ended=False)) for p in records[:20]]
    assert found(examine([*cut, *records[20:]]), "no_end").level == "bad"
    assert found(examine(pairs(50)), "no_end").level == "fine"


def test_texts_that_look_cut_off() -> None:
    records = pairs(50)
    broken = [
        replace(p, chosen=Completion(p.chosen.text.rstrip(".!?") + " and")) if i in (3, 9) else p
        for i, p in enumerate(records)
    ]
    finding = found(examine(broken), "no_end")
    assert (finding.level, finding.lines) == ("look", (40, 100))
    assert "2 of 100 completions (2.0 %) look cut off, without punctuation" in finding.said
    # One that was cut at its limit is counted as such, and not by its looks.
    broken[20] = replace(broken[20], chosen=Completion("so it is and", ended=False))
    finding = found(examine(broken), "no_end")
    assert finding.lines == (40, 100, 210) and "2 of 99 others (2.0 %) look cut off" in finding.said
    # Where texts without punctuation are usual, its lack says nothing.
    usual = [replace(p, chosen=Completion(p.chosen.text.rstrip(".!?"))) for p in records]
    finding = found(examine(usual), "no_end")
    assert finding.level == "fine" and "only 50.0 % end with punctuation" in finding.said and finding.lines == ()


@pytest.mark.parametrize(
    "end",
    [*'.?…"”“»«)」』】》）！？。｡।؟;', "```", "🙂", "</s>", "<|im_end|>", "** \n"],
)
def test_ends_of_texts(end: str) -> None:
    from alignbench.doctor.ends import final

    assert final(f"so it is{end}") and not final("so it is") and not final("the list:") and not final("first,")
    assert not final("") and not final("列表：") and not final("第一，") and not final("call(")


def test_many_completions_of_the_greatest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of sampling shows: of 24 different completions 10 have one and the same greatest length."""
    source = [pair("a b", " ".join("abcd"[: 1 + i % 4]), "e f", i + 1) for i in range(60)]
    long = [" ".join("abcdefgh"[j % 8] for j in range(i, i + 23)) + f" {'abcdefgh'[i % 8]}" for i in range(8)]
    long += [" ".join("ab" * 12), " ".join("ba" * 12)]
    limited = [replace(p, rejected=Completion(long[i // 6])) if i % 6 == 0 else p for i, p in enumerate(source)]
    finding = found(seen(limited, words(False)), "no_end")
    assert finding.level == "look" and finding.lines == tuple(range(1, 60, 6))
    assert finding.said.endswith(
        "10 different completions of the greatest length, 25 tokens, look like a limit of sampling."
    )
    assert found(seen(source, words(False)), "no_end").level == "fine"
    copies = [replace(p, rejected=Completion(long[0])) if i % 6 == 0 else p for i, p in enumerate(source)]
    assert found(seen(copies, words(False)), "no_end").level == "fine"
    monkeypatch.setattr(view, "SAMPLE", 59)
    said = found(seen(limited, words(False)), "no_end").said
    assert said.endswith("look like a limit of sampling (in a sample of 59 of the 60 records).")


def test_completions_of_a_fixed_length_end_by_it() -> None:
    from alignbench import SmallModel
    from alignbench.models import small_tokenizer

    texts = ["t0 t1 t2 t0"] * 40
    tokenizer = small_tokenizer(["t0 t1 t2 q"], SmallModel("words", vocabulary=16, context=40))
    tokenizer.eos_token = None
    tokenizer.init_kwargs["fixed_length"] = True
    records = [Pair(Prompt("q"), Completion(a), Completion("t1 t1 t0 t2"), line=i + 1) for i, a in enumerate(texts)]
    assert Encoder(tokenizer).fixed_length
    assert found(seen(records, tokenizer), "no_end").said.startswith("Completions end by their fixed length")
