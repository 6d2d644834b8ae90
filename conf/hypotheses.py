"""What a declared experiment expects, and the rule that decides whether it came so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from posgen.errors import nearest, require


class Direction(Enum):
    """What a hypothesis says of a number, in points: above 0, below 0, within the margin of 0, or not below 0 by as
    much as the margin (it may be above)."""

    higher = "higher"
    lower = "lower"
    equal = "equal"
    not_lower = "not_lower"


class Against(Enum):
    """What the OOD accuracy of cells is compared with: guessing (1 / modulus), or the ID accuracy of the same model."""

    chance = "chance"
    id_accuracy = "id_accuracy"


class Over(Enum):
    """Whether every task (every cell) is a comparison of its own, or their mean within each seed is one."""

    each = "each"
    mean = "mean"


@dataclass(frozen=True)
class Rule:
    """How comparisons are decided: paired t over seeds, Holm's adjustment over all comparisons of the experiment.

    `effect_points`: the true difference for which the power of a test is stated; `std_points`: the standard deviation
    over seeds that is assumed for the power before anything is measured. Both in points of OOD accuracy.
    """

    alpha: float = 0.05
    confidence: float = 0.95
    effect_points: float = 10.0
    std_points: float = 8.0

    def __post_init__(self) -> None:
        require(0.0 < self.alpha <= 0.5, "rule.alpha", self.alpha, "use an error rate, 0 < alpha <= 0.5 (usual: 0.05)")
        inside = 0.0 < self.confidence < 1.0
        require(inside, "rule.confidence", self.confidence, "use 0 < confidence < 1 (usual: 0.95)")
        for key in ("effect_points", "std_points"):
            value = getattr(self, key)
            require(0.0 < value <= 100.0, f"rule.{key}", value, "use points of accuracy, 0 < points <= 100")


@dataclass(frozen=True)
class Hypothesis:
    """One expectation. Either `effect` names factors, one for a main effect and two for an interaction (`base`, or
    `base=base_64` for a level of a factor with several), or `against` names what the cells' accuracy is compared with.

    `where` keeps the cells with these levels, the others are averaged over; `cells: each` compares every cell alone.
    `margin` in points: needed by `equal` and `not_lower`; with `higher` and `lower` an effect that is shown to lie
    within it refutes. `std_points`: instead of the rule's, for the power before anything is measured.
    """

    name: str
    claim: str
    direction: Direction
    tasks: tuple[str, ...] = ()
    effect: tuple[str, ...] = ()
    against: Against | None = None
    where: dict[str, str] = field(default_factory=dict)
    cells: Over = Over.mean
    over: Over = Over.each
    margin: float | None = None
    std_points: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.claim.strip()), f"hypotheses.{self.name}.claim", self.claim, "say what is expected")

    def check(self, levels: Mapping[str, Sequence[str]], tasks: Sequence[str]) -> None:
        """Raise BadValue for what does not fit the experiment's factors (with their levels) and tasks."""
        for task in self.tasks:
            require(task in tasks, "tasks", task, f"is no task of the experiment; {nearest(task, tasks)}")
        one = bool(self.effect) != (self.against is not None)
        require(one, "effect", ", ".join(self.effect), "give either effect (of factors) or against (of cells)")
        require(len(self.effect) <= 2, "effect", ", ".join(self.effect), "name one factor, or two for an interaction")
        factors = [self.factor_of(effect) for effect in self.effect]
        for effect, factor in zip(self.effect, factors, strict=True):
            require(factor in levels, "effect", factor, nearest(factor, levels))
            changed = levels[factor][1:]
            level = effect.partition("=")[2]
            require(level in changed if level else len(changed) == 1, "effect", effect,
                    f"name its level: one of {', '.join(f'{factor}={name}' for name in changed)}")  # fmt: skip
        require(len(set(factors)) == len(factors), "effect", ", ".join(self.effect), "name two different factors")
        for factor, level in self.where.items():
            require(factor in levels, "where", factor, nearest(factor, levels))
            require(level in levels[factor], f"where.{factor}", level, nearest(str(level), levels[factor]))
            require(factor not in factors, f"where.{factor}", level, "is the effect itself; leave it out of where")
        if self.effect:
            require(self.cells is Over.mean, "cells", "each", "is for against; an effect is taken over cells")
        if self.direction in (Direction.equal, Direction.not_lower):
            require(self.margin is not None, "margin", None, "say within how many points it counts as nothing")
        for key in ("margin", "std_points"):
            value = getattr(self, key)
            require(value is None or 0.0 < value <= 100.0, key, value, "use points of accuracy, 0 < points <= 100")

    @staticmethod
    def factor_of(effect: str) -> str:
        """`base` of `base=base_64`."""
        return effect.partition("=")[0]

    @property
    def criteria(self) -> tuple[str, str]:
        """(what counts as held, what as refuted) in words; everything else is undecided."""
        within = f"shown to lie within {self.margin:g} points" if self.margin is not None else ""
        if self.direction is Direction.equal:
            return f"every comparison is {within} of 0", f"one is decided to differ from 0 and not {within}"
        if self.direction is Direction.not_lower:
            held = f"every comparison is shown not to be {self.margin:g} points below 0"
            return held, "one is decided to be below 0 and not shown to be within the margin"
        sides = ("above", "below") if self.direction is Direction.higher else ("below", "above")
        nothing = f", or {within} of 0 without being decided to be {sides[0]} it" if within else ""
        refuted = f"one is decided to be {sides[1]} 0{nothing}"
        return f"every comparison is decided to be {sides[0]} 0", refuted
