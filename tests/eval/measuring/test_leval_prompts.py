"""L-Eval's prompts against strings written by hand, and its truncation by brute force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measuring.llm.leval.prompts import Generation, chat, fact_prompt, prompt, tokens_of, truncated
from eval.measuring.llm.leval.tasks import TASKS
from posgen.errors import BadValue
from tests.tiny_chat_model import tokenizer

TOEFL = (
    "[INST]<<SYS>>\nNow you are given a very long document. Please follow the instruction based on this document. For "
    "multi-choice questions, there is only a sinlge correct option. Please only provide the letter corresponding to "
    "the answer (like A or B) when answering. For other questions, please directly give the concise and accurate answer"
    ". \n<</SYS>>\n\nDocument is as follows. It {rains}. \nQuestion: why?.  Please directly give the answer without "
    "any additional output or explanation [/INST]\nAnswer:"
)
GSM = (
    "[INST]<<SYS>>\nGiven several question answer pairs, you need to follow a similar format to answer the last "
    "question. Make sure the response is end with The answer is _ . \n<</SYS>>\n\nQuestion: 1 + 1\n\nQuestion: 2 + 2"
)
QUESTION = "Can it, True or False? Answer this question based on the world described in the document."


def test_the_prompts() -> None:
    assert prompt(TASKS["tpo"], "It {rains}.", "why?", "leval", None) == (TOEFL, True)
    assert prompt(TASKS["gsm"], "Question: 1 + 1", "Question: 2 + 2", "leval", None) == (GSM, True)
    assert fact_prompt(QUESTION, "leval", None) == (
        "Can it, True or False? Answer this question based on the real-world knowledge and facts up until your last "
        "trainingPlease directly answer without any additional output or explanation. \nAnswer:",
        True,
    )


def test_what_formatting_does_to_code() -> None:
    """The authors give document and question to str.format: braces that do not name a field leave all as it is."""
    for code, kept in (("x = {}", "x = {}"), ("{{1}}", "{1}"), ("{a.b}", "{a.b}"), ("}", "}"), ("{inst:>9}", None)):
        text, _ = prompt(TASKS["codeU"], code, "Run it.", "leval", None)
        assert text.endswith(f"\n<</SYS>>\n\n{kept or code}\n\nRun it."), code


def test_the_chat_template() -> None:
    text, special = prompt(TASKS["tpo"], "It rains.", "why?", "chat", tokenizer())
    assert text.startswith("<system>Now you are")
    assert text.endswith("explanation \n<assistant>Answer:")
    assert "[INST]" not in text
    assert not special
    assert fact_prompt(QUESTION, "chat", tokenizer())[0].startswith("<user>Can it")
    bare = tokenizer()
    bare.chat_template = None
    with pytest.raises(BadValue, match="no chat template"):
        chat(bare, "x")


@given(st.lists(st.integers(1, 9), max_size=60), st.integers(1, 40), st.booleans())
def test_truncation_by_brute_force(words: list[int], budget: int, from_left: bool) -> None:
    """Count: a token a letter, and one in front. With fewer than 250 tokens of budget one step of 250 empties the
    slice from the right, or takes the words after the first 250 - budget from the left."""
    document = " ".join("x" * length for length in words)
    count = lambda text: 1 + text.count("x")  # noqa: E731
    text, step = document, 0
    while count(text) > budget:
        parts = text.split(" ")
        kept = len(parts)
        if from_left:
            start = 250 * step - budget
            begin = max(0, kept + start) if start < 0 else min(kept, start)
            parts = [parts[i] for i in range(begin, kept)]
        else:
            stop = budget - 250 * step
            end = min(kept, stop) if stop >= 0 else max(0, kept + stop)
            parts = [parts[i] for i in range(end)]
        text, step = " ".join(parts), step + 1
    assert truncated(document, count, budget, from_left) == text
    assert count(text) <= budget


def test_lengths_are_thousands() -> None:
    assert [tokens_of(text) for text in ("16k", "4k", "0.5k", "2048")] == [16000, 4000, 500, 2048]
    assert Generation("leval", 16000, 512).budget == 15488
    with pytest.raises(BadValue, match="max_length=sixteen"):
        tokens_of("sixteen")
    with pytest.raises(BadValue, match="more than max_new_tokens"):
        Generation("leval", 512, 512)
