"""The three dependency rules of PosGen: which earlier tokens a new token is computed from (paper, section 4.1).

A new token at position l is x_l = h(j far tokens, k near tokens). The near tokens are always the k tokens before it;
a rule only says where the run of j far tokens starts. The first j + k tokens are the seed, so l >= j + k, and then
every rule keeps its far tokens before the near ones: nothing is read twice, from itself or from the future.

To add a rule: a member of `posgen.spec.Rule` and a function here.
"""

from __future__ import annotations

from collections.abc import Callable

from posgen.errors import require
from posgen.spec import Rule, Task


def recursive(position: int, far: int, near: int) -> int:
    """The far tokens are the j tokens right before the near ones: x_l = h(x_(l-j-k), ..., x_(l-1)).

    Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 = 2 + 0 + 3 + 1 = 6, x_5 = 0 + 3 + 1 + 6 = 10 = 3:

    >>> from posgen.generate import generate
    >>> task = Task(rule=Rule.recursive, modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 3, 6, 2], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return position - far - near


def cot(position: int, far: int, near: int) -> int:
    """As in a chain of thought, the far tokens are the first j: x_l = h(x_0, ..., x_(j-1), x_(l-k), ..., x_(l-1)).

    Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 = 2 + 0 + 3 + 1 = 6, x_5 = 2 + 3 + 1 + 6 = 12 = 5:

    >>> from posgen.generate import generate
    >>> task = Task(rule=Rule.cot, modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 5, 0, 6], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return 0


def semi_recursive(position: int, far: int, near: int) -> int:
    """The far tokens start at floor((l-j-k)/2): they move on by one for every two new tokens.

    This is the rule of the paper's Figure 2 and of the released code; the index printed in the paper's text
    contradicts both. Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 and x_5 both look back at x_0
    (2 + 0 + 3 + 1 = 6, 2 + 3 + 1 + 6 = 12 = 5), x_6 and x_7 at x_1:

    >>> from posgen.generate import generate
    >>> task = Task(rule=Rule.semi_recursive, modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 5, 5, 2], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return (position - far - near) // 2


FAR_START: dict[Rule, Callable[[int, int, int], int]] = {
    Rule.recursive: recursive,
    Rule.cot: cot,
    Rule.semi_recursive: semi_recursive,
}


def dependencies(task: Task, position: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions that the token at `position` depends on: (the far ones, the near ones), each in rising order.

    Raises `BadValue` for a position of the seed (below far + near), which depends on nothing.
    """
    require(
        position >= task.prefix_length, "position", position, f"use at least {task.prefix_length}: the seed ends there"
    )
    start = FAR_START[task.rule](position, task.far, task.near)
    return tuple(range(start, start + task.far)), tuple(range(position - task.near, position))
