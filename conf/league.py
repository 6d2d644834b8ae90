"""conf/league.yaml: the league's declared rules, what counts as learned and what theory predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from conf import files
from posgen.errors import BadValue, UserError, nearest, require
from posgen.plain import restore
from posgen.spec import Answers, Task

FACTS = (
    "far_moves", "absolute", "no_position", "bias", "draws_positions", "rotary", "trained_distances",
    "post_critical_unseen", "gap", "no_gap",
)  # fmt: skip
"""What a prediction may depend on: eval/evidence/league/facts.py finds them."""
GENERALISES, FAILS = "generalises", "fails"
TWO_TOKENS, WHOLE_TASK = "two_tokens", "task"
FAMILIES = {
    "fed_back": "answers fed back, as in the paper",
    "hidden": "hidden answers",
    "copy": "hidden answers, copied",
    "interleaved": "interleaved answers",
}
"""Families of tasks, each a table of its own, in their order, and what readers call them."""


@dataclass(frozen=True)
class Rule:
    """Theory that predicts whether an encoding carries a task beyond L, where the facts `when` all hold. `source`: why,
    in a line."""

    name: str
    when: tuple[str, ...]
    predicts: str
    source: str

    def __post_init__(self) -> None:
        for fact in self.when:
            require(fact in FACTS, f"rules.{self.name}.when", fact, nearest(fact, FACTS))
        known = (GENERALISES, FAILS)
        require(self.predicts in known, f"rules.{self.name}.predicts", self.predicts, nearest(self.predicts, known))


@dataclass(frozen=True)
class LeagueRules:
    """`share` and `holds` are fractions of a ceiling, `ceilings` a kind of ceiling for each family of tasks."""

    share: float
    doublings: int
    ceilings: dict[str, str]
    holds: float
    confidence: float
    gap: float
    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        require(0.0 < self.share <= 1.0, "share", self.share, "use a fraction of the ceiling, 0 < share <= 1")
        require(0 <= self.doublings <= 10, "doublings", self.doublings, "use 0 to 10: each doubles the epochs")
        require(0.0 < self.holds <= 1.0, "holds", self.holds, "use a fraction of the ceiling, 0 < holds <= 1")
        require(0.0 < self.confidence < 1.0, "confidence", self.confidence, "use 0 < confidence < 1 (usual: 0.95)")
        require(0.0 < self.gap < 2.0, "gap", self.gap, "use a distance of unit vectors, 0 < gap < 2")
        for name in FAMILIES:
            kind, known = self.ceilings.get(name), (TWO_TOKENS, WHOLE_TASK)
            require(kind in known, f"ceilings.{name}", kind, nearest(str(kind), known))


def league_rules(doublings: int | None = None) -> LeagueRules:
    """The declared rules, with another number of doublings if one is given. BadValue for one out of range."""
    try:
        rules: LeagueRules = restore(LeagueRules, files.load(files.FOLDER / "league.yaml"), "conf/league.yaml")
    except (TypeError, BadValue) as error:
        raise UserError(f"conf/league.yaml: {error}; restore the file") from error
    return rules if doublings is None else replace(rules, doublings=doublings)


def family(task: Task) -> str:
    """The family of tasks that a task belongs to, a key of `FAMILIES`."""
    if task.answers is Answers.hidden:
        return "hidden" if task.near else "copy"
    return task.answers.value
