"""The semi-recursive rule: the far tokens move through the sequence at half of its speed."""

from __future__ import annotations

# The far token of positions l and l + 1 is the same one, at a distance that differs by one.
PERIOD = 2


def far_start(position: int, far: int, near: int) -> int:
    """The far tokens start at floor((l-j-k)/2): they move on by one for every two new tokens.

    This is the rule of the paper's Figure 2 and of the released code; the index printed in the paper's text
    contradicts both. Two sequences with j = 1, k = 3 and h = sum mod 7; x_4 and x_5 both look back at x_0
    (2 + 0 + 3 + 1 = 6, 2 + 3 + 1 + 6 = 12 = 5), x_6 and x_7 at x_1:

    >>> from posgen.generate import generate
    >>> from posgen.spec import Task
    >>> task = Task(rule="semi_recursive", modulus=7)
    >>> generate(task, [[2, 0, 3, 1], [1, 1, 1, 1]], 8).tolist()
    [[2, 0, 3, 1, 6, 5, 5, 2], [1, 1, 1, 1, 4, 0, 6, 4]]
    """
    return (position - far - near) // 2
