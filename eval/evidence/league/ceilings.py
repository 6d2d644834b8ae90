"""The accuracy that a task allows: by it the league tells whether it was learned and whether it was carried on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from conf.league import TWO_TOKENS, LeagueRules, family
from posgen.audit.build import source
from posgen.audit.search import best_function
from posgen.errors import BadValue
from posgen.own_code import is_own
from posgen.spec import DataSpec, Task

WINDOW = 8


@dataclass(frozen=True)
class Ceiling:
    """In percent, within the training length and beyond it. `kind`: `two_tokens` or `task` (100)."""

    kind: str
    id: float
    ood: float


def ceiling(task: Task, data: DataSpec, rules: LeagueRules) -> Ceiling:
    """By the kind that the rules declare for the task's family. 100 % for an h of the user's own, which records name
    and which is not run for a table, and where the two tokens cannot be sought."""
    if rules.ceilings[family(task)] == TWO_TOKENS and not is_own(task.h):
        try:
            return _two_tokens(task, data.train_length, data.test_length)
        except BadValue:
            pass
    return Ceiling("task", 100.0, 100.0)


@cache
def _two_tokens(task: Task, train_length: int, test_length: int) -> Ceiling:
    made = source(task, test_length)
    positions = [each.position for each in made.asked]
    within = [position for position in positions if position < train_length]
    beyond = [position for position in positions if position >= train_length]
    best_within, best_beyond = (best_function(made, part, 2, WINDOW) for part in (within, beyond or within))
    return Ceiling(TWO_TOKENS, 100 * float(best_within), 100 * float(best_beyond))
