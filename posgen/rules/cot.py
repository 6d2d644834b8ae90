"""The chain-of-thought rule: every token depends on the beginning of the sequence and on the last k tokens."""

from __future__ import annotations

PERIOD = 1


def far_start(position: int, far: int, near: int) -> int:
    """As in a chain of thought, the far tokens are the first j: x_l = h(x_0, ..., x_(j-1), x_(l-k), ..., x_(l-1)).

    Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 = 2 + 0 + 3 + 1 = 6, x_5 = 2 + 3 + 1 + 6 = 12 = 5:

    >>> from posgen.generate import generate
    >>> from posgen.spec import Task
    >>> task = Task(rule="cot", modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 5, 0, 6], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return 0
