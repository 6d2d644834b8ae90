"""The ledger and the effects of its rows, as tables for readers and as numbers for a CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from conf import names
from conf.ledger import BASES, Ledger, Row, Value, written
from eval.evidence.cells import differences_table
from eval.evidence.figures.panels import profile
from eval.evidence.ledger.effects import (
    ALL,
    Effect,
    Effects,
    Kind,
    cell_name,
    columns,
    encoding_groups,
    pooled,
    title,
)
from eval.evidence.table import MISSING, Cell, Column, Document, Table, Words, cells, print_words
from eval.evidence.table1 import provenance

if TYPE_CHECKING:
    from rich.console import Console

# How the terminal's columns share what the others leave; 0: as wide as their texts.
_SHARES = {"#": 0, "Topic": 3, "Paper's text": 3, "Released code": 4, "Switch": 0, "Acts on": 0}
_WIDEST = 120  # characters of a terminal line: beyond it a reader loses the line
NO_EFFECT = "no effect"


def ledger_table(ledger: Ledger) -> Table:
    """A row a topic: what text and code say, the switch and its default, and what is measured against it."""
    heads = ("#", "Topic", "Paper's text", "Released code", "Default", "Switch", "Acts on", "Measured against it")
    rows = []
    for row in ledger.rows:
        against = [
            f"{base}: {values}" for base in BASES if (values := ", ".join(v.setting for v in row.variants(base)))
        ]
        default = ", ".join(written(switch.default) for switch in row.switches)
        keys = [f"protocol.{switch.key}" for switch in row.switches]
        rows.append(cells(
            row.number, row.topic, row.text, row.code, default,
            Cell(", ".join(keys), ", ".join(f"`{key}`" for key in keys)), row.acts, "; ".join(against) or None,
        ))  # fmt: skip
    head = tuple(Column(head, number=head == "#") for head in heads)
    return Table(head, tuple(rows), notes=(_presets(ledger),))


def ledger_numbers(ledger: Ledger) -> Table:
    """A row a switch. `text` is empty where the paper is silent, `other` holds further values, blank-separated."""
    keys = ("number", "topic", "paper_text", "released_code", "acts_on", "switch", "default", "text", "code", "other")
    rows = [
        cells(*_texts(row), f"protocol.{s.key}", written(s.default), _joined(s.text), written(s.code), _joined(s.other))
        for row in ledger.rows
        for s in row.switches
    ]
    return Table(tuple(map(Column, keys)), tuple(rows))


def print_ledger(ledger: Ledger, console: Console) -> None:
    """Print the table, its texts broken into lines so that it fits the console (at most 120 characters)."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, padding=0, show_lines=True, width=min(console.width, _WIDEST))
    for head, share in _SHARES.items():
        # What is typed must not be broken, it is short; nothing is ever cut off.
        grid.add_column(head, no_wrap=not share, overflow="fold", ratio=share or None, min_width=4 * share or None)
    for row in ledger.rows:
        switches = "\n".join(f"{switch.key}={written(switch.default)}" for switch in row.switches)
        grid.add_row(*map(escape, (str(row.number), row.topic, row.text, row.code, switches, row.acts)))
    console.print(grid)
    print_words(console, _presets(ledger))


def _texts(row: Row) -> tuple[int, str, str, str, str]:
    return row.number, row.topic, row.text, row.code, row.acts


def _joined(values: Sequence[Value]) -> str:
    return " ".join(map(written, values))


def _presets(ledger: Ledger) -> str:
    at_code = {
        name: f"row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}" for name, rows in ledger.presets.items() if rows
    }
    presets = "; ".join(f"preset {name} has the code's value in {rows}" for name, rows in at_code.items())
    return (
        f"Default is the value in preset paper; {presets}. The model's own value is written null. Any switch can be "
        "overridden alone: --protocol paper+bos=false, or the setting protocol.bos=false."
    )


def effects_document(effects: Effects) -> Document:
    """What the numbers are, the tables, how to read them, and what differs from the paper."""
    differences = differences_table(effects.collection)
    return [
        Words((f"Effects of the ledger's rows. {caption(effects)}",)),
        *_tables(effects),
        Words(tuple(notes(effects)), points=True),
        *([differences] if differences else []),
    ]


def effects_numbers(effects: Effects) -> Table:
    """A row an effect, then one a mean (pe `mean`, task `all` where it goes over the tasks too): effects.csv."""
    keys = (
        "profile", "profile_label", "base", "number", "topic", "switch", "value", "protocol", "task", "pe", "kind",
        "base_ood_accuracy_percent", "change_points", "low", "high", "confidence", "decided", "n", "seeds",
        "diverged_seeds",
    )  # fmt: skip
    rows = []
    for effect in (*effects.effects, *(mean for base in effects.bases for mean in pooled(effects, base))):
        variant = effect.variant
        rows.append(cells(
            effects.collection.profile, effects.collection.label, variant.base, variant.row.number, variant.row.topic,
            variant.key, written(variant.value), variant.protocol, effect.task, effect.pe, effect.kind.value,
            effect.base_percent, effect.points, effect.low, effect.high, effects.confidence, effect.decided,
            len(effect.seeds), " ".join(map(str, effect.seeds)), " ".join(map(str, effect.diverged)),
        ))  # fmt: skip
    return Table(tuple(map(Column, keys)), tuple(rows))


def _tables(effects: Effects) -> Iterator[Table]:
    """The means of a base, then a table a task, rows of the ledger down and encodings across; one a base for the
    encodings that only a few rows have."""
    for base in effects.bases:
        by_task = pooled(effects, base)
        yield _table(f"Base {base}, mean over the encodings that a row acts on", by_task, _mean_head)
        main, *others = encoding_groups(effects.of(base))
        for task in dict.fromkeys(effect.task for effect in main):
            of_task = [effect for effect in main if effect.task == task]
            yield _table(f"Base {base}, {names.task(task)}", of_task, lambda task, pe: names.encoding(pe))
        for group in others:
            yield _table(f"Base {base}, other encodings", group, cell_name)


def _mean_head(task: str, pe: str) -> str:
    return "All tasks" if task == ALL else names.task(task)


def _table(heading: str, effects: Sequence[Effect], head: Callable[[str, str], str]) -> Table:
    places, by_row = columns(effects), dict[str, dict[tuple[str, str], Cell]]()
    for effect in effects:
        text = f"{number(effect)} {interval(effect)}".strip()
        by_row.setdefault(title(effect.variant), {})[effect.task, effect.pe] = Cell(effect.points, text, effect.decided)
    return Table(
        (Column("Row"), *(Column(head(*place), number=True) for place in places)),
        tuple((Cell(name), *(row[place] for place in places)) for name, row in by_row.items()),
        title=heading,
    )


def caption(effects: Effects) -> str:
    """What the numbers are and of which profile, above all tables and below the heat map."""
    return (
        "Change of OOD accuracy, in points, when one row of the ledger is set otherwise than in its base: mean over "
        f"paired seeds, with {effects.confidence:.0%} interval (Student's t). {profile(effects.collection)}"
    )


def notes(effects: Effects) -> Iterator[str]:
    """How to read the tables, and what they hide."""
    yield (
        "Change = row set - base. Base paper follows the text; a row is set to the code's value or to another in use. "
        "Base released follows the code; a row is set to the text's value."
    )
    yield (
        f"Bold (starred in a terminal): the interval excludes 0. {NO_EFFECT}: the row changes neither training nor "
        f"test of this cell, the records hold equal settings. {MISSING}: not measured."
    )
    yield (
        "A mean is taken over the cells that the row acts on, within each seed; only seeds count as repetitions, since "
        "cells of one seed share data order and, mostly, initial weights."
    )
    yield from _multiplicity(effects)
    for base in effects.bases:
        yield from _missing(effects, base)
    diverged = [
        f"{effect.variant.protocol} {cell_name(effect.task, effect.pe)} (seed {', '.join(map(str, effect.diverged))})"
        for effect in effects.effects
        if effect.diverged
    ]
    if diverged:
        yield f"Diverged in the base or in the variant, not part of the means: {', '.join(diverged)}."
    seeds = sorted({record.seed for record in effects.collection.records()})
    yield f"Seeds: {', '.join(map(str, seeds))}. Generated by {provenance(effects.collection)}."


def _multiplicity(effects: Effects) -> Iterator[str]:
    measured = [effect for effect in effects.effects if effect.kind is Kind.measured]
    if measured:
        sizes = sorted({len(effect.seeds) for effect in measured})
        seeds = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
        chance = (1.0 - effects.confidence) * sum(effect.low is not None for effect in measured)
        yield (
            f"{len(measured)} change{'s' * (len(measured) > 1)} of cells over {seeds} seed{'s' * (seeds != '1')}, not "
            f"adjusted for multiple comparisons: about {chance:.0f} intervals would exclude 0 even if no row changed "
            "anything. An interval that includes 0 decides nothing: it does not show that a row has no effect."
        )


def _missing(effects: Effects, base: str) -> Iterator[str]:
    whole, parts = list[str](), list[str]()
    for variant in dict.fromkeys(effect.variant for effect in effects.of(base)):
        missing = [effect.kind is Kind.missing for effect in effects.of(base) if effect.variant == variant]
        if any(missing):
            (whole if all(missing) else parts).append(f"{variant.row.number} {variant.setting}")
    if whole:
        yield f"Not measured against {base}: {', '.join(whole)}."
    if parts:
        yield f"Measured against {base} in some of the cells: {', '.join(parts)}."


def number(effect: Effect) -> str:
    """`+12.3`, `no effect`, `diverged` or a dash."""
    if effect.points is None:
        return {Kind.none: NO_EFFECT, Kind.diverged: "diverged"}.get(effect.kind, MISSING)
    return _signed(effect.points)


def interval(effect: Effect) -> str:
    """`[+4.0, +20.6]`, empty where there is none."""
    return "" if effect.low is None or effect.high is None else f"[{_signed(effect.low)}, {_signed(effect.high)}]"


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # + 0.0: no minus zero
