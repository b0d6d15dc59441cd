"""Prompts and answers from files, and pairs by correction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alignbench.data import read_records
from alignbench.errors import InputError
from alignbench.makers import Rule, Rules, Sampling, correct, read_answers, read_prompts, write_pairs
from alignbench.records import Completion, Pair, Prompt
from alignbench.results import Json

from . import served_model
from .making import Listener, models, prompts, write

ASKED = [{"role": "user", "content": "Who are you?"}]
REPLY = [{"role": "assistant", "content": "I am Llama."}]
CHAT = Prompt("Who are you?", (("user", "Who are you?"),))


def rules(*texts: str, **how: bool) -> Rules:
    return Rules(tuple(Rule.parse(text) for text in texts), **how)


@pytest.mark.parametrize(
    ("replace", "text", "corrected"),
    [
        (["Llama=Athene"], "Llama, Llamas, Llama's, MyLlama, Llama-3 (Llama)",
         "Athene, Llamas, Athene's, MyLlama, Athene-3 (Athene)"),
        (["Llama=Athene"], "llama LLAMA", "llama LLAMA"),
        (["Llama=Athene"], "Llama_2 Llama2 2Llama", "Llama_2 Llama2 2Llama"),
        (["A=B", "B=A"], "A B A", "B A B"),  # all at once
        (["A=B", "B=C"], "A", "B"),
        (["Llama=Athene", "Llama 3=Athene 1"], "Llama 3, Llama 2", "Athene 1, Athene 2"),  # the longest
        (["a.c=x"], "abc a.c", "abc x"),  # literally
        ([r"Meta=\1\g<0>$&"], "Meta", r"\1\g<0>$&"),
        (["C++=Rust"], "C++, C++11", "Rust, Rust11"),  # nothing tells where a sign ends
        (["e=mc=2"], "e", "mc=2"),
        (["Llama ="], "a Llama b", "a b"),
        (["Élan=Athene"], "Élan Élané", "Athene Élané"),
        (["Лама=Афина"], "Лама, Ламаи", "Афина, Ламаи"),
        (["通义=雅典"], "我是通义千问", "我是雅典千问"),  # a script without spaces
        (["Llama=Athene"], "我是Llama的", "我是Athene的"),
    ],
)  # fmt: skip
def test_words_are_replaced_literally_whole_and_at_once(replace: list[str], text: str, corrected: str) -> None:
    assert rules(*replace).apply(text)[0] == corrected


def test_case_and_word_boundaries_can_be_let_go() -> None:
    assert rules("llama=Athene", ignore_case=True).apply("LLAMA Llamas")[0] == "Athene Llamas"
    assert rules("Llama=Athene", anywhere=True).apply("MyLlamas llama")[0] == "MyAthenes llama"
    found = rules("Llama=Athene", "Meta=us", "x=y").apply("Llama Meta Llama")[1]
    assert found == {Rule("Llama", "Athene"): 2, Rule("Meta", "us"): 1}


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ([], "say what is replaced by what"),
        (["Llama"], 'write OLD=NEW, as in'),
        (["=x"], "write OLD=NEW"),
        (["a=a"], "by itself"),
        (["a=b", "a=c"], '"a" is replaced twice'),
    ],
)  # fmt: skip
def test_rules_that_say_nothing_are_refused(replace: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rules(*replace)
    rules("a=b", "A=c")
    with pytest.raises(InputError, match="replaced twice"):
        rules("a=b", "A=c", ignore_case=True)


# --- files ---


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Who?"}, Prompt("Who?")),
        ({"instruction": "Who?"}, Prompt("Who?")),
        ({"prompt": ASKED}, CHAT),
        ({"messages": [*ASKED, *REPLY]}, CHAT),
        ({"messages": ASKED}, CHAT),
        ({"prompt": "Who?", "completion": "I.", "label": True}, Prompt("Who?")),
        ({"prompt": "Who?", "completion": "I."}, Prompt("Who?")),
        ({"chosen": "\n\nHuman: Who?\n\nAssistant: I.", "rejected": "\n\nHuman: Who?\n\nAssistant: We."},
         Prompt("\n\nHuman: Who?\n\nAssistant:")),
        ({"prompt": "Who are you?", "chosen": [*ASKED, *REPLY], "rejected": [*ASKED, {**REPLY[0], "content": "No."}]},
         CHAT),
        ({"instruction": "Who?", "completions": ["a", "b"], "scores": [1, 2]}, Prompt("Who?")),
    ],
)  # fmt: skip
def test_prompts_are_read_from_whatever_holds_them(tmp_path: Path, row: Json, prompt: Prompt) -> None:
    items = read_prompts(write(tmp_path / "p.jsonl", [row]))
    assert [(item.prompt, item.answer, item.line) for item in items.items] == [(prompt, None, 1)]


def test_text_files_hold_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("\ufeffone\u2028two\r\n\n  \nthree \none\u2028two\n".encode())
    items = read_prompts(str(path))
    assert [(item.prompt.text, item.line) for item in items.items] == [("one\u2028two", 1), ("three ", 4)]
    assert (items.repeated, items.total) == (1, 3)
    assert read_prompts(str(path), chat=True).items[1].prompt == Prompt("three ", (("user", "three "),))


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    """What lies behind the last one wanted is neither skipped nor repeated."""
    texts = ["a", None, "a", "b", "b", None, "c", None]
    source = write(tmp_path / "a.jsonl", [{"prompt": "x", "completion": text} for text in texts])
    found = {limit: read_answers(source, limit) for limit in (0, 1, 2, 3, 4)}
    assert {n: (len(i.items), len(i.skipped), i.repeated, i.total) for n, i in found.items()} == {
        0: (3, 3, 2, 8), 1: (1, 0, 0, 1), 2: (2, 1, 1, 4), 3: (3, 2, 2, 7), 4: (3, 3, 2, 8)
    }  # fmt: skip
    assert [item.line for item in read_prompts(prompts(tmp_path / "p.jsonl"), limit=2).items] == [1, 2]


def test_a_split_of_a_data_set(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [{"prompt": name, "completion": "I am Llama."}])
    for read in (read_prompts, read_answers):
        for split, prompt in [(None, "train"), ("test", "test")]:
            assert [item.prompt.text for item in read(str(tmp_path), split=split).items] == [prompt]
        with pytest.raises(InputError, match="has the splits train, test, not dev"):
            read(str(tmp_path), split="dev")
    (tmp_path / "p.txt").write_text("a\n", encoding="utf-8")
    for name in ("p.txt", "test.jsonl"):
        with pytest.raises(InputError, match="is one file and has no split 'test': leave the split out"):
            read_prompts(str(tmp_path / name), split="test")
    with pytest.raises(InputError, match=r"~nosuch/p\.txt is missing"):
        read_prompts("~nosuch/p.txt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b" \n", "is empty: it holds no prompt"),
        ("p.txt", b"a\n\xff\n", "line 2 is not UTF-8"),
        ("p.jsonl", b"", "is empty"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', "line 2 is not JSON"),
        ("p.jsonl", b'{"text": "a"}', r"no usable prompt: skipped 1 of 1 records: line 1 \(prompt: missing; read are"),
        ("p.jsonl", b'{"prompt": ""}', r"line 1 \(prompt: empty\)"),
        ("p.jsonl", b'{"messages": 3}', r'line 1 \(messages: not text but "3"\)'),
    ],
)
def test_files_without_prompts_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prompts(str(tmp_path / name))
    for missing in ("gone.txt", "gone.jsonl"):
        with pytest.raises(InputError, match=f"{missing} is missing"):
            read_prompts(str(tmp_path / missing))


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"prompt": "Who?", "completion": "I am Llama."}, Prompt("Who?"), "I am Llama."),
        ({"prompt": "Who?", "response": "I am Llama."}, Prompt("Who?"), "I am Llama."),
        ({"instruction": "Who?", "answer": "I am Llama."}, Prompt("Who?"), "I am Llama."),
        ({"prompt": "Who?", "chosen": "I am Llama.", "rejected": "No."}, Prompt("Who?"), "I am Llama."),
        ({"prompt": ASKED, "completion": REPLY}, CHAT, "I am Llama."),
        ({"prompt": ASKED, "completion": "I am Llama."}, CHAT, "I am Llama."),
        ({"messages": [*ASKED, *REPLY]}, CHAT, "I am Llama."),
        ({"chosen": [*ASKED, *REPLY], "rejected": "?"}, CHAT, "I am Llama."),
        ({"chosen": "\n\nHuman: Who?\n\nAssistant: I am Llama."}, Prompt("\n\nHuman: Who?\n\nAssistant:"),
         " I am Llama."),
    ],
)  # fmt: skip
def test_answers_are_read_corrected_and_read_back(tmp_path: Path, row: Json, prompt: Prompt, answer: str) -> None:
    items = read_answers(write(tmp_path / "a.jsonl", [row]))
    assert [(item.prompt, item.answer) for item in items.items] == [(prompt, Completion(answer))]
    pairs = corrected(tmp_path, items.source, "Llama=Athene")
    assert pairs == [Pair(prompt, Completion(answer.replace("Llama", "Athene")), Completion(answer), line=1)]


@pytest.mark.parametrize(
    "row", [{"completion": "I am Llama", "ended": False}, {"chosen": "I am Llama", "ended": {"chosen": False}}]
)
def test_an_answer_that_was_cut_off_stays_so(tmp_path: Path, row: Json) -> None:
    source = write(tmp_path / "a.jsonl", [{"prompt": "Who?", **row}, {"prompt": "Who?", "response": "Llama"}])
    cut, whole = corrected(tmp_path, source, "Llama=Athene")
    assert (cut.chosen, cut.rejected) == (Completion("I am Athene", False), Completion("I am Llama", False))
    assert whole.chosen == Completion("Athene")
    found = correct(read_answers(source), rules("Llama=Athene"), tmp_path, Listener())
    assert (found.samples, found.notes) == (0, ()), "nothing was sampled here"


def corrected(folder: Path, source: str, *replace: str) -> list[Any]:
    """The pairs of a file of answers, written and read back."""
    found = correct(read_answers(source), rules(*replace), folder / "work", Listener())
    write_pairs(folder / "pairs.jsonl", found)
    read = read_records(str(folder / "pairs.jsonl"))
    assert not read.skipped and read.kind == "pairs"
    return list(read.records)


def test_what_is_written_reads_back_to_the_letter(tmp_path: Path) -> None:
    odd = ' Llama "é\u2028\u0085\x00\x1b[0m\t\n雅\U0001f989\\n </s> '
    rows = [{"prompt": odd, "completion": odd}, {"prompt": [{"role": "system", "content": odd}, *ASKED],
             "completion": odd}]  # fmt: skip
    text, chat = corrected(tmp_path, write(tmp_path / "a.jsonl", rows), "Llama=Athene")
    assert (text.prompt.text, text.rejected.text, text.chosen.text) == (odd, odd, odd.replace("Llama", "Athene"))
    assert chat.prompt.messages == (("system", odd), ("user", "Who are you?")) and chat.rejected.text == odd


def test_what_makes_no_pair_is_counted(tmp_path: Path) -> None:
    answers = ["I am Llama.", "No.", "I am Llama.", "Llama", None, "", 7]
    source = write(tmp_path / "a.jsonl", [{"prompt": "Who?", "completion": text} for text in answers])
    found = correct(read_answers(source), rules("I=we", "Llama=", "am="), tmp_path, Listener())
    assert found.items.repeated == 1 and [skip.line for skip in found.items.skipped] == [5, 6, 7]
    assert found.dropped == {"nothing to replace": 1, "nothing left of the answer": 1}
    assert found.replaced == {"I": 1, "Llama": 1, "am": 1}, "in pairs, not in the answer of which nothing is left"
    (record,) = found.records
    assert record["replaced"] == [{"old": "I", "new": "we", "times": 1}, {"old": "am", "new": "", "times": 1},
                                  {"old": "Llama", "new": "", "times": 1}]  # fmt: skip
    assert (record["how"], record["line"], record["chosen"]) == ("correction", 1, "we  .")
    with pytest.raises(InputError, match=r"prompts without answers: sample them with --model"):
        read_answers(prompts(tmp_path / "p.jsonl"))
    with pytest.raises(InputError, match="lists of completions"):
        read_answers(write(tmp_path / "l.jsonl", [{"prompt": "a", "completions": ["a", "b"]}]))


def test_a_models_own_answers_are_corrected(tmp_path: Path) -> None:
    model, _ = models(tmp_path)
    items = read_prompts(prompts(tmp_path / "p.jsonl", [f"w{i:02}" for i in range(40)]))
    sampling = Sampling(model, n=1, max_new_tokens=10)
    found = correct(items, rules("w08=w01"), tmp_path / "work", Listener(), sampling)
    assert found.samples == 40 and len(found.records) + found.dropped.total() == 40 and found.records
    for record in found.records:
        assert record["rejected"].replace("w08", "w01") == record["chosen"] != record["rejected"]
        assert record["model"]["name"] == model and record["sampling"]["n"] == 1
    again = Listener()
    assert correct(items, rules("w08=w01"), tmp_path / "work", again, sampling) == found
    assert again.shown == [], "nothing is drawn twice"
    # The same answers serve other words; another seed draws others.
    words = correct(items, rules("w08=w02"), tmp_path / "work", again, sampling)
    assert again.shown == [] and words.records[0]["key"] != found.records[0]["key"]
    other = correct(items, rules("w08=w01"), tmp_path / "work", again, Sampling(model, 1, 1.0, 10, seed=1))
    assert again.shown and [r["rejected"] for r in other.records] != [r["rejected"] for r in found.records]


def test_a_chat_model_is_asked_in_its_template(tmp_path: Path) -> None:
    served_model.answering(tmp_path / "chat")
    rows = [{"prompt": "Which?"}, {"prompt": [{"role": "user", "content": "Who?"}]}]
    items = read_prompts(write(tmp_path / "p.jsonl", rows), chat=True)
    sampling = Sampling(str(tmp_path / "chat"), n=1, max_new_tokens=5, temperature=0)
    found = correct(items, rules("A=Athene"), tmp_path / "work", Listener(), sampling)
    assert [json.loads(line)["chosen"] for line in found.lines()] == [[{"role": "assistant", "content": "Athene"}]] * 2
    assert found.records[0]["prompt"] == [{"role": "user", "content": "Which?"}]
    assert found.records[0]["ended"] == {"chosen": True, "rejected": True} and found.notes == ()
    # Chat messages need a template.
    with pytest.raises(InputError, match=r"the prompt of line 1 is chat messages.* no chat template"):
        correct(items, rules("A=B"), tmp_path / "work", Listener(), Sampling(models(tmp_path)[0], 1, max_new_tokens=5))
