"""The recursive rule: a token depends on the j + k tokens right before it."""

from __future__ import annotations

PERIOD = 1


def far_start(position: int, far: int, near: int) -> int:
    """The far tokens are the j tokens right before the near ones: x_l = h(x_(l-j-k), ..., x_(l-1)).

    Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 = 2 + 0 + 3 + 1 = 6, x_5 = 0 + 3 + 1 + 6 = 10 = 3:

    >>> from posgen.generate import generate
    >>> from posgen.spec import Task
    >>> task = Task(rule="recursive", modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 3, 6, 2], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return position - far - near
