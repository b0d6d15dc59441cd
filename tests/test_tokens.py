from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from alignbench.batch import Tokens
from alignbench.data import read_records
from alignbench.errors import InputError
from alignbench.formats import Skipped
from alignbench.mismatched import mismatched_partners, mismatched_rows
from alignbench.records import Completion, Demonstration, LabelledCompletion, Pair, Prompt
from alignbench.tokens import (
    Dataset,
    encode_prompt,
    prompt_id,
    tokenize,
    tokenize_demonstrations,
)
from tests.small_tokenizers import BOS, CHAT, EOS, WORDS, chat, one, pair, pieces, text, words

# --- truncation ---


def lengths(found: Dataset) -> list[tuple[int, int, int]]:
    return [(len(c.prompt), len(c.completion), len(r.completion)) for c, r in found.pairs]


@pytest.mark.parametrize("begin", [True, False])
def test_a_pair_is_cut_once_by_its_longer_completion(begin: bool) -> None:
    tokenizer = words(begin)
    records = [
        pair("a b c d e", "f", "g h", 1),  # fits: 5 (+1) + 3
        pair("a b c d e", "f g h a", "b", 2),  # 5 (+1) + 5: the prompt loses 1 (2)
        pair("a b c d e", "f", "a a a a a a a a a a", 3),  # the completion alone is too long: both are cut
    ]
    found = tokenize(records, tokenizer, 9)
    first = BOS + " " if begin else ""
    assert [text(tokenizer, chosen.prompt) for chosen, _ in found.pairs] == [
        f"{first}a b c d e",
        f"{first}c d e" if begin else "b c d e",
        f"{first}e",
    ]
    assert all(chosen.prompt == rejected.prompt for chosen, rejected in found.pairs)
    assert lengths(found) == [(5 + begin, 2, 3), (4, 5, 2), (1 + begin, 2, 8 - begin)]
    assert [(chosen.ended, rejected.ended) for chosen, rejected in found.pairs] == [
        (True, True),
        (True, True),
        (True, False),
    ]
    assert (found.truncated, found.skipped) == (2, ())
    # What is sampled from is the whole prompt.
    assert [text(tokenizer, prompt.prompt) for prompt in found.prompts] == [f"{first}a b c d e"]
    assert tokenize(records, tokenizer, 99).truncated == 0


def test_room_for_a_sample_is_kept() -> None:
    tokenizer = words(True)
    records = [pair("a b c d e f", "g", "h"), pair("g h", "a", "b"), pair("a b c d", "a a a a a a", "b")]
    found = tokenize(records, tokenizer, 9, reserve=4)
    # Five ids are left to a prompt unless its own completions need more room than the sample.
    assert [text(tokenizer, chosen.prompt) for chosen, _ in found.pairs] == [f"{BOS} c d e f", f"{BOS} g h", f"{BOS} d"]
    assert found.truncated == 2
    for record, (chosen, _) in list(zip(records, found.pairs, strict=True))[:2]:
        assert encode_prompt(record.prompt, tokenizer, 9, reserve=4).prompt == chosen.prompt


def test_no_row_is_longer_than_the_context() -> None:
    rng = random.Random(5)

    def some(longest: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))

    tokenizer = words(True)
    records = [pair(some(14), some(16), some(16), line) for line in range(1, 400)]
    found = tokenize(records, tokenizer, 12)
    for chosen, rejected in found.pairs:
        longest = max(len(chosen.completion), len(rejected.completion))
        assert chosen.prompt == rejected.prompt
        assert len(chosen.prompt) + longest <= 12
        assert chosen.prompt[0] == tokenizer.bos_token_id
        assert chosen.completion != rejected.completion
        assert chosen.completion
        assert rejected.completion
    whole = tokenize(records, tokenizer, 99)
    fitting = sum(
        max(len(c.prompt) + len(c.completion), len(r.prompt) + len(r.completion)) <= 12 for c, r in whole.pairs
    )
    assert found.truncated == len(found.pairs) - fitting
    assert len(found.pairs) + len(found.skipped) == 399
    assert {skip.reason for skip in found.skipped if skip.field == "prompt"} == {
        f"{n} tokens leave no room in a context of 12" for n in (12, 13, 14, 15)
    }


def test_what_cannot_be_used_is_skipped_and_listed() -> None:
    tokenizer = words(False)
    records = [
        pair("a b c d e f", "g", "h", 4),  # as long as the context
        pair("a", "b c d e f g", "b c d e f h", 6),  # differ only in what is cut off
        pair("", "a", "b", 8),  # nothing to begin with
        pair("a", "b", "c", 9),
    ]
    found = tokenize(records, tokenizer, 6)
    assert len(found.pairs) == 1
    assert found.skipped == (
        Skipped(4, "prompt", "6 tokens leave no room in a context of 6"),
        Skipped(6, "rejected", "the same tokens as chosen within a context of 6"),
        Skipped(8, "prompt", "no tokens"),
    )
    with pytest.raises(InputError) as caught:
        tokenize(records[:3], tokenizer, 6)
    assert str(caught.value).startswith(
        "no record fits this tokenizer and a context of 6 tokens: skipped 3 of 3 records: line 4 (prompt: 6 tokens"
    )
    empty = LabelledCompletion(Prompt("a"), Completion("", ended=False), True, line=2)
    with pytest.raises(InputError, match=r"line 2 \(completion: no tokens\)"):
        tokenize([empty], tokenizer, 6)


# --- the data set ---


def test_a_prompt_has_the_same_ids_everywhere() -> None:
    for tokenizer in (words(True), pieces(False, CHAT)):
        prompts = [Prompt("a b"), Prompt("c"), *([chat("a b")] if tokenizer.chat_template else [])]
        found = tokenize([pair(prompt, "Well", "Bad") for prompt in [*prompts, *prompts]], tokenizer, 99)
        assert [encode_prompt(prompt, tokenizer, 99) for prompt in prompts] == list(found.prompts)
        assert len(found.pairs) == 2 * len(prompts)
        for (chosen, _), prompt in zip(found.pairs, found.prompts * 2, strict=True):
            assert (chosen.prompt, chosen.prompt_id) == (prompt.prompt, prompt.prompt_id)
        assert found.prompt_texts == {prompt_id(prompt): prompt for prompt in prompts}
    with pytest.raises(InputError, match=r"prompt 'a b' cannot be used: 3 tokens leave no room in a context of 3\."):
        encode_prompt(Prompt("a b"), words(True), 3)


def test_prompt_ids_are_stable() -> None:
    # The first 48 bits of sha256("abc"), a test vector of FIPS 180.
    assert prompt_id(Prompt("abc")) == 0xBA7816BF8F01
    assert prompt_id(chat("abc")) != prompt_id(Prompt("abc"))


def test_pairs_and_labels() -> None:
    tokenizer = words(True)
    pairs = tokenize([pair("a", "b", "c"), pair("d", "e", "f")], tokenizer, 9)
    labels = tokenize(
        [
            LabelledCompletion(Prompt(x), Completion(y), good)
            for x, y, good in (("a", "b", True), ("a", "c", False), ("d", "e", True), ("d", "f", False))
        ],
        tokenizer,
        9,
    )
    assert (pairs.kind, labels.kind) == ("pairs", "labels")
    assert pairs.as_labelled() == labels.as_labelled() == labels.labelled
    assert [good for _, good in pairs.as_labelled()] == [True, False, True, False]
    assert not pairs.labelled
    assert not labels.pairs
    assert pairs.prompts == labels.prompts


def test_the_fingerprint_follows_the_ids() -> None:
    tokenizer = words(True)
    records = [pair("a", "b", "c"), pair("d", "e", "f")]
    prints = {
        tokenize(records, tokenizer, 9).fingerprint,
        tokenize(records[::-1], tokenizer, 9).fingerprint,
        tokenize(records[:1], tokenizer, 9).fingerprint,
        tokenize(records, words(False), 9).fingerprint,
        tokenize([LabelledCompletion(Prompt("a"), Completion("b"), True)], tokenizer, 9).fingerprint,
        tokenize([LabelledCompletion(Prompt("a"), Completion("b"), False)], tokenizer, 9).fingerprint,
    }
    assert len(prints) == 6
    assert tokenize(records, words(True), 9).fingerprint in prints


def test_demonstrations() -> None:
    tokenizer = words(True)
    shown = [Demonstration(Prompt("a b"), Completion("c")), Demonstration(Prompt("a b c d e f"), Completion("c"))]
    (row,) = tokenize_demonstrations(shown, tokenizer, 6)
    assert row == one(pair("a b", "c", "d"), tokenizer)[0]


# --- mismatched partners ---


def items(counts: Sequence[int]) -> list[Tokens]:
    """`counts[i]` items of prompt i, shuffled."""
    made = [Tokens((1, p), (10 * p + i, 2), prompt_id=p * 7919 % 97) for p, n in enumerate(counts) for i in range(n)]
    random.Random(3).shuffle(made)
    return made


@pytest.mark.parametrize(
    "counts",
    [(1, 1), (2, 2), (1, 2), (2, 1, 2), (2,) * 7, (3, 1, 4, 1, 5), (9, 1), (1, 1, 9), (5, 5), (4, 2, 2), (1,) * 11],
)
def test_a_partner_has_another_prompt(counts: Sequence[int]) -> None:
    given = items(counts)
    partners = mismatched_partners(given)
    assert len(partners) == len(given)
    assert all(given[i].prompt_id != given[j].prompt_id for i, j in enumerate(partners))
    assert partners == mismatched_partners(list(given))
    used = Counter(partners)
    if 2 * max(counts) <= sum(counts):
        assert set(used.values()) == {1}, "no completion counts twice where that can be avoided"
        assert len(used) == len(given)


def test_partners_need_two_prompts() -> None:
    for counts in ((1,), (5,)):
        with pytest.raises(InputError, match="the data hold one prompt only: give two or more"):
            mismatched_partners(items(counts))


def test_mismatched_rows_join_a_prompt_and_the_completion_of_another() -> None:
    tokenizer = words(True)
    records = [pair("a", "b b b b b b", "c"), pair("a b c d e f", "d", "e"), pair("g", "h b b b b", "f b b b b")]
    found = tokenize(records, tokenizer, 9)
    items = [row for row, _ in found.as_labelled()]
    rows = mismatched_rows(found)
    for row, item, partner in zip(rows, items, mismatched_partners(items), strict=True):
        assert (row.prompt, row.prompt_id) == (item.prompt, item.prompt_id)
        assert row.prompt_id != items[partner].prompt_id
        assert len(row.prompt) + len(row.completion) <= 9
        assert row.completion == items[partner].completion[: 9 - len(row.prompt)]
        assert row.ended == (row.completion == items[partner].completion)
    assert any(not row.ended for row in rows), "a long completion behind a long prompt must be cut here"


# --- the real file ---


def test_the_real_transcripts(data_folder: Path) -> None:
    from alignbench.models import SmallModel, small_tokenizer

    records = read_records(str(data_folder / "hh" / "harmless-base-test-1500.jsonl.gz")).records[:400]
    corpus = [record.prompt.text for record in records]
    tokenizer = small_tokenizer(corpus, SmallModel(vocabulary=1000))
    found = tokenize(records, tokenizer, 256)
    assert len(found.pairs) + len(found.skipped) == 400
    kept = {skip.line for skip in found.skipped}
    for record, (chosen, rejected) in zip((r for r in records if r.line not in kept), found.pairs, strict=True):
        assert isinstance(record, Pair)
        for row, completion in ((chosen, record.chosen), (rejected, record.rejected)):
            ids = row.prompt + row.completion
            assert ids.count(tokenizer.bos_token_id) == 1
            assert ids[0] == tokenizer.bos_token_id
            assert ids.count(tokenizer.eos_token_id) == row.ended
            assert record.prompt.text.endswith(text(tokenizer, row.prompt[1:]))
            assert (completion.text + EOS).startswith(text(tokenizer, row.completion)) or not row.ended
    rows = [row for pair in found.pairs for row in pair]
    assert max(len(row.prompt) + len(row.completion) for row in rows) == 256
    assert all(a.prompt_id == b.prompt_id for a, b in zip(rows, mismatched_rows(found), strict=True))
