"""Tasks with hidden and interleaved answers, for the tests of several folders."""

from __future__ import annotations

from typing import Any

from posgen.spec import Answers, Task

RULES = ("recursive", "cot", "semi_recursive")


def hidden(rule: str, modulus: int = 17, **changes: Any) -> Task:
    fields = {"far": 1, "gap": 2, "near": 1, **changes}
    return Task("mine", rule, modulus, answers=Answers.hidden, **fields)


def copied(rule: str, modulus: int = 17) -> Task:
    return hidden(rule, modulus, gap=3, near=0)


def interleaved(rule: str, modulus: int = 17, gap: int = 2) -> Task:
    return Task("mine", rule, modulus, far=1, near=1, gap=gap, answers=Answers.interleaved)


TASKS = [*map(hidden, RULES), *map(copied, RULES), interleaved("recursive"), interleaved("semi_recursive")]
NAMED = [f"{task.rule}-{task.answers.value}-{task.near}" for task in TASKS]
