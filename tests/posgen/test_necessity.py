"""That a hidden answer cannot be told without its far token: a proof by enumeration of every sequence there is."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from posgen.answers import answer, answers
from posgen.functions import resolve
from posgen.generate import generate
from posgen.rules import dependencies
from posgen.spec import Task
from tests.posgen.hidden_tasks import RULES, copied, hidden, interleaved


def best_accuracy(rows: np.ndarray, known: Sequence[int], right: np.ndarray) -> float:
    """The accuracy of the best guess of `right` [N] from the tokens at some positions of `rows` [N, L], all rows
    equally likely: the most frequent answer for every combination of these tokens."""
    groups: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for row, value in zip(rows[:, list(known)].tolist(), right.tolist(), strict=True):
        groups[tuple(row)][value] += 1
    return sum(max(counts.values()) for counts in groups.values()) / len(rows)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("modulus", "length"), [(2, 9), (3, 7)])
@pytest.mark.parametrize("task_of", [hidden, copied])
def test_without_any_one_argument_a_hidden_answer_is_a_guess(
    task_of: Callable[[str, int], Task], modulus: int, length: int, rule: str
) -> None:
    """Given ALL other tokens, those after the answer too, the best accuracy is 1/m to the last digit."""
    task = task_of(rule, modulus)
    rows = np.array(list(itertools.product(range(modulus), repeat=length)), np.uint8)
    right = answers(task, rows)
    for position in range(4, length):
        far, near = dependencies(task, position)
        everywhere = range(length)
        assert best_accuracy(rows, [*far, *near], right[:, position]) == 1.0
        for argument in (*far, *near):
            others = [place for place in everywhere if place != argument]
            assert best_accuracy(rows, others, right[:, position]) == 1 / modulus


@pytest.mark.parametrize("rule", ["recursive", "semi_recursive"])
@pytest.mark.parametrize(("modulus", "gap", "steps"), [(2, 0, 7), (3, 0, 5), (2, 1, 8)])
def test_without_its_far_token_an_interleaved_answer_is_a_guess(rule: str, modulus: int, gap: int, steps: int) -> None:
    """Given all EARLIER tokens but the far one: the later ones tell, since the stream goes on from each answer."""
    task = interleaved(rule, modulus, gap)
    given = gap + 2  # answers that the rule does not define
    free = [2 * s for s in range(steps)] + [2 * s + 1 for s in range(given)]
    rows = np.zeros((modulus ** len(free), 2 * steps), np.uint8)
    rows[:, free] = list(itertools.product(range(modulus), repeat=len(free)))
    h = resolve(task.h)
    for s in range(given, steps):
        position = 2 * s + 1
        rows[:, position] = answer(task, h, rows.T, position)
        far, _ = dependencies(task, position)
        assert bool(far) is (rule == "recursive" or (s - given) % 2 == 0)
        if far:
            earlier = [place for place in range(position) if place not in far]
            assert best_accuracy(rows, earlier, rows[:, position]) == 1 / modulus
        else:  # the control: the answer before is enough
            assert best_accuracy(rows, [position - 2], rows[:, position]) == 1.0


def test_fed_back_answers_leak_the_far_token() -> None:
    """The lemma of docs/hidden-answers.md, against the same rule without hidden answers: CoT's answer follows from the
    four tokens before it, of which none is the first one."""
    task = Task(rule="cot", modulus=3)
    rows = generate(task, list(itertools.product(range(3), repeat=4)), 12)
    for position in range(5, 12):
        near = range(position - 4, position)
        assert best_accuracy(rows, near, rows[:, position]) == 1.0
        assert best_accuracy(rows, [position - 1, position - 4], rows[:, position]) == 1.0
