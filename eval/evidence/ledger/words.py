"""What stands around the effects of the ledger, in the table and in the picture alike: captions, notes, the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.figures.panels import differs, labelled
from eval.evidence.ledger.effects import Effect, Effects, Kind, cell_name
from eval.evidence.table1 import provenance

MISSING = "—"
NONE = "no effect"


def caption(effects: Effects) -> str:
    """What the numbers are and of which profile, above all tables."""
    return (
        "Change of OOD accuracy, in points, when one row of the ledger is set otherwise than in its base: row set - "
        f"base, mean over paired seeds, with {effects.confidence:.0%} interval (Student's t). Base paper follows the "
        "text, a row is set to the code's value or to another in use; base released follows the code, a row is set to "
        f"the text's value. Profile {labelled(effects.collection)}. {differs(effects.collection)}"
    )


def notes(effects: Effects) -> Iterator[str]:
    """How to read the table, and what it hides."""
    measured = [one for one in effects.effects if one.kind is Kind.measured]
    sizes = sorted({len(one.seeds) for one in measured})
    chance = (1.0 - effects.confidence) * len([one for one in measured if one.low is not None])
    yield (
        f"Bold (starred in a terminal): the interval leaves 0 out. {NONE}: the row leaves training and test of this "
        f"cell as they are, the records hold equal settings. {MISSING}: not measured."
    )
    yield (
        "A mean is taken over the cells that the row acts on, within each seed; only seeds count as repetitions, since "
        "cells of one seed share data order and, mostly, initial weights."
    )
    if sizes:
        seeds = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
        yield (
            f"{len(measured)} change{'s' * (len(measured) > 1)} of cells over {seeds} seed{'s' * (seeds != '1')}, not "
            f"adjusted for their number: about {chance:.0f} intervals would leave 0 out even if no "
            "row changed anything. An interval with 0 in it decides nothing: it does not say that a row has no effect."
        )
    for base in effects.bases:
        yield from _missing(effects, base)
    diverged = [one for one in effects.effects if one.diverged]
    if diverged:
        told = [f"{one.variant.protocol} {cell_name(one.task, one.pe)} (seed {_seeds(one)})" for one in diverged]
        yield f"Diverged in the base or in the variant, not part of the means: {', '.join(told)}."
    every = sorted({record.seed for record in effects.collection.records()})
    yield f"Seeds: {', '.join(map(str, every))}. Made by {provenance(effects.collection)}."


def _missing(effects: Effects, base: str) -> Iterator[str]:
    whole, parts = list[str](), list[str]()
    for variant in dict.fromkeys(one.variant for one in effects.of(base)):
        kinds = [one.kind is Kind.missing for one in effects.of(base) if one.variant == variant]
        if any(kinds):
            (whole if all(kinds) else parts).append(f"{variant.row.number} {variant.setting}")
    if whole:
        yield f"Not measured against {base}: {', '.join(whole)}."
    if parts:
        yield f"Measured against {base} in some of the cells: {', '.join(parts)}."


def number(effect: Effect) -> str:
    """`+12.3`, `no effect`, `diverged` or a dash."""
    if effect.points is None:
        return {Kind.none: NONE, Kind.diverged: "diverged"}.get(effect.kind, MISSING)
    return _signed(effect.points)


def interval(effect: Effect) -> str:
    """`[+4.0, +20.6]`, empty where there is none."""
    return "" if effect.low is None or effect.high is None else f"[{_signed(effect.low)}, {_signed(effect.high)}]"


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # + 0.0: no minus zero


def _seeds(effect: Effect) -> str:
    return ", ".join(map(str, effect.diverged))
