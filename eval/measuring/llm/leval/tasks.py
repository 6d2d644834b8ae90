"""The six closed-ended tasks of L-Eval that Table 2 of the paper has, and how a task is told from a file's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from posgen.errors import BadValue, nearest

Answer = Literal["letter", "letters", "number", "output", "truth"]
LETTERS = "ABCD"


@dataclass(frozen=True)
class Task:
    """`title`: its column of Table 2; `file`: the name of its data file without suffix; `key`: what a file name has to
    contain for the authors' code to take it for this task. `answer`: what is asked for: one letter, one or several, a
    number, the output of a program, or true/false twice. `questions`: how many L-Eval has."""

    name: str
    title: str
    file: str
    key: str
    answer: Answer
    questions: int
    system: str

    @property
    def judgements(self) -> int:
        """0/1 results of a question: sci_fi is asked twice."""
        return 2 if self.answer == "truth" else 1


_DOCUMENT = "Now you are given a very long document. Please follow the instruction based on this document. "
_ONE = (
    _DOCUMENT + "For multi-choice questions, there is only a sinlge correct option. Please only provide the letter "
    "corresponding to the answer (like A or B) when answering. For other questions, please directly give the concise "
    "and accurate answer. "
)
_SEVERAL = (
    _DOCUMENT + "For multi-choice questions, there could be a sinlge correct option or multiple correct options. "
    "Please only provide the letter corresponding to the answer (like A or AB) when answering. "
)
_NUMBER = (
    "Given several question answer pairs, you need to follow a similar format to answer the last question. Make sure "
    "the response is end with The answer is _ . "
)
_CODE = (
    "Now you are given a code base consisting of a large amount of functions and the corresponding comments. In the "
    "end, I will call some functions defined in the code base. Please carefully read these codes and comments and "
    "answer the question."
)
_FICTION = (
    'Now you are given a scientific fiction. I will ask you some questions and the answer should be "True" or "False". '
    "Notice that you should answer the question based on the evidence in the document instead of your background "
    "knowledge."
)
# System prompts are L-Eval's (LEval_config.py at cd34b050), misspelling included: they are part of the protocol.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("coursera", "Coursera", "coursera", "coursera", "letters", 172, _SEVERAL),
        Task("gsm", "GSM", "gsm100", "gsm", "number", 100, _NUMBER),
        Task("quality", "QuALITY", "quality", "quality", "letter", 202, _ONE),
        Task("tpo", "TOEFL", "tpo", "tpo", "letter", 269, _ONE),
        Task("codeU", "CodeU", "codeU", "codeU", "output", 90, _CODE),
        Task("sci_fi", "SFiction", "sci_fi", "sci_fi", "truth", 64, _FICTION),
    )
}
"""By name, in the order of Table 2."""


def chosen(names: Sequence[str]) -> list[Task]:
    """The tasks of these names, each once. BadValue for one that is unknown."""
    for name in names:
        if name not in TASKS:
            raise BadValue("tasks", name, nearest(name, TASKS))
    if not names:
        raise BadValue("tasks", "", f"name one of {', '.join(TASKS)}")
    return [TASKS[name] for name in dict.fromkeys(names)]


def of_file_name(name: str, exact: bool = False) -> Task | None:
    """The task of a file: the first whose key occurs anywhere in its name, as the authors' code has it, or (`exact`)
    the one whose name or data file is all that stands before the first dot; None where there is none."""
    if exact:
        stem = name.split(".")[0]
        return next((task for task in TASKS.values() if stem in (task.name, task.file)), None)
    return next((task for task in TASKS.values() if task.key in name), None)
