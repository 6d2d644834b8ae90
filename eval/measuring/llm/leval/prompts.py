"""Prompts and truncation of L-Eval's closed-ended tasks (Baselines/llama2-chat-test.py at cd34b050)."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eval.measuring.llm.leval.tasks import Task
from posgen.errors import BadValue, require

STEP = 250
TEMPLATES = ("leval", "chat")
_WORLD = "based on the world described in the document."
_FACTS = "based on the real-world knowledge and facts up until your last training"
_DIRECTLY = "Please directly answer without any additional output or explanation. \nAnswer:"
_EXAM = "Document is as follows. {document} \nQuestion: {inst}.  Please directly give the answer without any additional output or explanation "  # noqa: E501 - one text


@dataclass(frozen=True)
class Generation:
    """How answers are made: greedily, one question at a time. `template`: `leval` is Llama 2's marks as the authors
    write them (for gsm and codeU without the closing one), `chat` the tokenizer's own chat template. `max_length`
    counts the new tokens and the document, but not the question and the system prompt."""

    template: str = "leval"
    max_length: int = 16000
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        require(self.template in TEMPLATES, "template", self.template, f"one of {', '.join(TEMPLATES)}")
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "use at least 1")
        require(
            self.max_length > self.max_new_tokens, "max_length", self.max_length,
            f"use more than max_new_tokens={self.max_new_tokens}, which it counts",
        )  # fmt: skip

    @property
    def budget(self) -> int:
        """Tokens that a document may have."""
        return self.max_length - self.max_new_tokens


def tokens_of(text: str) -> int:
    """`16k` -> 16,000, as L-Eval reads it; plain numbers as they are. BadValue for what is no length."""
    try:
        value = float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)
        if not 1 <= value <= 10_000_000:
            raise ValueError
    except ValueError:
        raise BadValue("max_length", text, "use a number of tokens, or thousands such as 16k") from None
    return int(value)


def truncated(document: str, count: Callable[[str], int], budget: int, from_left: bool) -> str:
    """The document with at most `budget` tokens by `count`: words at spaces, `budget` of them, then 250 fewer each
    time; its end where `from_left`."""
    fewer = 0
    while count(document) > budget:
        words = document.split(" ")
        document = " ".join(words[fewer - budget :] if from_left else words[: budget - fewer])
        fewer += STEP
    return document


def count_of(tokenizer: Any) -> Callable[[str], int]:
    """Tokens of a text as the tokenizer makes them, special ones included."""
    return lambda text: len(tokenizer(text)["input_ids"])


def prompt(task: Task, document: str, question: str, template: str, tokenizer: Any) -> tuple[str, bool]:
    """(the text of the prompt, whether the tokenizer is to add its special tokens): a chat template has its own."""
    if task.answer in ("number", "output"):
        body, answer = f"{document}\n\n{question}", ""
        if template == "leval":
            return _as_formatted(f"{_opening(task)}{body}", document, question), True
    else:
        body = _EXAM.format(document=document, inst=question)
        answer = "\nAnswer:"
        if template == "leval":
            return f"{_opening(task)}{body}[/INST]{answer}", True
    return chat(tokenizer, body, task.system) + answer.lstrip("\n"), False


def fact_prompt(question: str, template: str, tokenizer: Any) -> tuple[str, bool]:
    """The second question of sci_fi, about the real world and without the document."""
    text = question.replace(_WORLD, _FACTS) + _DIRECTLY
    return (text, True) if template == "leval" else (chat(tokenizer, text), False)


def chat(tokenizer: Any, text: str, system: str = "") -> str:
    """The turn of a user, ready for the answer. BadValue where the tokenizer has no chat template."""
    if not getattr(tokenizer, "chat_template", None):
        raise BadValue("template", "chat", "the model's tokenizer has no chat template; use template leval")
    turns = [{"role": "system", "content": system}] if system else []
    made: str = tokenizer.apply_chat_template(
        [*turns, {"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    return made


def _opening(task: Task) -> str:
    return f"[INST]<<SYS>>\n{task.system}\n<</SYS>>\n\n"


def _as_formatted(message: str, document: str, question: str) -> str:
    """The message after Python's `str.format`, to which the authors give the whole of it: doubled braces of the text
    become single ones, and {document} and {inst} are put in. What would be an error leaves it as it was.

    Any other field of the text is an error there, or (a format after a colon) an abuse, and leaves it as it was."""
    try:
        fields = [(name, spec, how) for _, name, spec, how in string.Formatter().parse(message) if name is not None]
    except ValueError:
        return message
    if any(name not in ("document", "inst") or spec or how for name, spec, how in fields):
        return message
    return message.format(document=document, inst=question)
