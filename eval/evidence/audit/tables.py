"""An audit as tables: what determines an answer, what windows and few tokens allow, and which argument is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fractions import Fraction

from eval.evidence.audit.words import Audited, mean, place_name, runs, sentence, set_name, smallest_names
from eval.evidence.table import Cell, Column, Document, Table, Words, cells
from posgen.audit.search import Answered, SmallSet, far_names

SHOWN_SETS, SHOWN_ROWS, SHOWN_EACH = 3, 16, 5
"""For readers: sets in a cell, rows of smallest sets, and sets of each size by accuracy; the CSV has all."""


def document(audited: Audited) -> Document:
    """The sentence, then four tables."""
    return [
        Words((sentence(audited),)),
        smallest_table(audited),
        windows_table(audited),
        sets_table(audited),
        arguments_table(audited),
    ]


def smallest_table(audited: Audited) -> Table:
    """A row for all positions that have the same smallest sets."""
    columns = (
        Column("Answers at l"), Column("Tokens", number=True), Column("Smallest sets that determine it"),
        Column("Sets", number=True), Column("Without far\nat best", number=True, decimals=2),
    )  # fmt: skip
    window = audited.audit.window
    grouped: dict[tuple[tuple[str, ...], Fraction], list[Answered]] = {}
    for each in audited.audit.answered:
        grouped.setdefault((smallest_names(each, window), each.without_far[-1]), []).append(each)
    rows = [
        cells(
            runs([each.asked.position for each in members]), len(members[0].smallest[0]) if sets else None,
            _some(sets), len(sets), _percent(without_far),
        )
        for (sets, without_far), members in grouped.items()
    ]  # fmt: skip
    left_out = len(rows) - SHOWN_ROWS
    notes = [f"{left_out} further rows, of other sets: in the CSV."] if left_out > 0 else []
    return Table(
        columns, tuple(rows[:SHOWN_ROWS]), title=f"{audited.title}: what determines an answer",
        caption=f"Sought among the last {window} tokens before it and the far token; exact, by "
        f"{audited.audit.source.method}. Without far: the best possible accuracy in % from that window, less "
        "the far token.",
        notes=tuple(notes),
    )  # fmt: skip


def _some(sets: tuple[str, ...]) -> str:
    if not sets:
        return "none"
    more = len(sets) - SHOWN_SETS
    return ", ".join(sets[:SHOWN_SETS]) + (f" and {more} more" if more > 0 else "")


def windows_table(audited: Audited) -> Table:
    """A row for each number of last tokens; the mean over positions of the best accuracy."""
    audit = audited.audit
    columns = [Column("Last tokens", number=True)]
    for name in audit.classes:
        titles = ("alone", "with far", "without far")
        columns += [Column(title, number=True, decimals=2, group=name) for title in titles]
    rows = tuple(
        cells(
            count,
            *(
                _percent(mean(kind(each)[count - 1] for each in _of(audit.answered, positions)))
                for positions in audit.classes.values()
                for kind in (_alone, _with_far, _without_far)
            ),
        )
        for count in range(1, audit.window + 1)
    )
    return Table(
        tuple(columns), rows, title=f"{audited.title}: best possible accuracy from the last tokens",
        caption="Bayes accuracy in %, mean over positions: what somebody reaches who knows the task, the position and "
        "these tokens, and nothing else.",
    )  # fmt: skip


def _alone(each: Answered) -> tuple[Fraction, ...]:
    return each.windows


def _with_far(each: Answered) -> tuple[Fraction, ...]:
    return each.with_far


def _without_far(each: Answered) -> tuple[Fraction, ...]:
    return each.without_far


def _of(answered: Collection[Answered], positions: Collection[int]) -> Iterator[Answered]:
    return (each for each in answered if each.asked.position in positions)


def sets_table(audited: Audited) -> Table:
    """The best sets of one, two and three tokens."""
    classes = audited.audit.classes
    columns = [Column("Tokens"), *(
        Column(title, number=True, decimals=2, group=name)
        for name in classes
        for title in ("by position", "one function")
    )]  # fmt: skip
    ranked = sorted(audited.audit.sets, key=lambda one: (len(one.places), -mean(one.accuracy.values())))
    shown = [one for size in (1, 2, 3) for one in [s for s in ranked if len(s.places) == size][:SHOWN_EACH]]
    rows = tuple((Cell(set_name(one.places)), *map(Cell, set_values(audited, one))) for one in shown)
    return Table(
        tuple(columns), rows, title=f"{audited.title}: best possible accuracy from at most three tokens",
        caption=f"In %; the best {SHOWN_EACH} of each size. By position: the function of these tokens may be another "
        "at every position. One function: it is the same at all positions.",
    )  # fmt: skip


def set_values(audited: Audited, one: SmallSet) -> Iterator[float | None]:
    """For every class of positions, in %: mean of the best accuracies, and that of one function."""
    for name, positions in audited.audit.classes.items():
        yield _percent(mean(one.accuracy[position] for position in positions))
        yield _percent(one.one_function[name])


def arguments_table(audited: Audited) -> Table:
    """A row an argument of h: what is possible without it."""
    columns = (
        Column("Argument"), Column("Mean", number=True, decimals=2), Column("Lowest", number=True, decimals=2),
        Column("Highest", number=True, decimals=2), Column("Needed at"),
    )  # fmt: skip
    without: dict[str, dict[int, Fraction]] = {}
    for each in audited.audit.answered:
        for name, accuracy in zip(argument_names(each), each.without, strict=True):
            without.setdefault(name, {})[each.asked.position] = accuracy
    rows = []
    for name, by_position in without.items():
        values, needed = list(by_position.values()), [p for p, value in by_position.items() if value < 1]
        share = f"{len(needed)} of {len(values)} positions" + (f": {runs(needed)}" if needed else "")
        rows.append(cells(name, *map(_percent, (mean(values), min(values), max(values))), share))
    return Table(
        columns, tuple(rows), title=f"{audited.title}: is an argument needed?",
        caption="Best possible accuracy in % without this argument, every other token before the answer known; "
        f"chance is {100 / audited.task.modulus:.2f}.",
    )  # fmt: skip


def argument_names(each: Answered) -> tuple[str, ...]:
    """Of h's arguments: `far`, then near ones by their distance."""
    asked = each.asked
    return (*far_names(len(asked.far)), *(place_name(asked.position - position) for position in asked.near))


def _percent(fraction: Fraction | None) -> float | None:
    return None if fraction is None else 100 * float(fraction)
