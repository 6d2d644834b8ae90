"""The dependency rules of PosGen: which earlier tokens a new token is computed from (paper, section 4.1).

A new token at position l is x_l = h(j far tokens, k near tokens). The near tokens are always the k tokens before it;
a rule only says where the run of j far tokens starts. The first j + k tokens are the seed, so l >= j + k, and then
every rule keeps its far tokens before the near ones: nothing is read twice, from itself or from the future. A rule's
far tokens never move back. A task's gap counts as near for the rule: it moves the far tokens, and is not read.

To add a rule, add a module to this package. Its name is the rule's name in conf/task, and it defines

    far_start(position, far, near)   position of the first far token; the docstring's first line is what `posgen show`
                                     prints
    PERIOD                           how many neighbouring positions are different problems (see `Rule`)
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posgen.errors import BadValue, nearest, require

if TYPE_CHECKING:  # posgen.spec checks a task's rule against the names here
    from posgen.spec import Task


@dataclass(frozen=True)
class Rule:
    """A dependency rule, as its module defines it.

    `period`: how many neighbouring positions are different problems. 2 when the far token moves on at every second
    position only, so that accuracy at even and odd positions must be looked at apart; otherwise 1.
    """

    name: str
    far_start: Callable[[int, int, int], int]
    period: int

    @property
    def summary(self) -> str:
        """The rule in one line."""
        return (self.far_start.__doc__ or "").partition("\n")[0]


def names() -> tuple[str, ...]:
    """The rules that exist, in alphabetical order."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@functools.cache
def rule(name: str) -> Rule:
    """The rule of this name. Raises `BadValue("rule", ...)` with the nearest name when there is none."""
    if name not in names():
        raise BadValue("rule", name, nearest(str(name), names()))
    module = importlib.import_module(f"{__name__}.{name}")
    return Rule(name, module.far_start, module.PERIOD)


def dependencies(task: Task, position: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions that the answer at `position` depends on: (the far ones, the near ones), each in rising order.

    With interleaved answers these count in steps of two tokens: a far token is a fresh one, near tokens are answers.
    Each far token serves once, so that a step whose rule names one that has served depends on near tokens alone.

    Raises `BadValue` for a position without an answer: of the seed, or of a fresh token between interleaved answers.
    """
    first = task.prefix_length
    require(position >= first, "position", position, f"use at least {first}: the seed ends there")
    far_start, apart = rule(task.rule).far_start, task.gap + task.near
    if not task.is_interleaved:
        start = far_start(position, task.far, apart)
        return tuple(range(start, start + task.far)), tuple(range(position - task.near, position))
    require(position % 2 == 1, "position", position, "use an odd one: at even ones a fresh token stands")
    step = position // 2
    start = far_start(step, task.far, apart)
    served = step > task.steps_given and far_start(step - 1, task.far, apart) == start
    return () if served else (2 * start,), tuple(range(position - 2 * task.near, position, 2))
