"""Table 1 laid out: in the paper's shape, a table a protocol; wide, with all that was measured; and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import groupby

from conf import names
from conf.published import table1_names
from eval.evidence.cells import Collection, differences, differences_table
from eval.evidence.table import MISSING, Cell, Column, Document, Table, Words, cells
from eval.evidence.table1 import Measured, Row, Table1, name, provenance
from posgen.answers import scored_positions
from posgen.spec import Task


def document(table: Table1) -> Document:
    """A table a protocol in the paper's shape, encodings down and tasks across, and one of the tasks that are not the
    paper's; then what differs from the paper."""
    tasks = list(dict.fromkeys(row.task for row in table.rows))
    of_the_paper = [task for task in tasks if task in table1_names()[0]]
    others = [task for task in tasks if task not in of_the_paper]
    parts = []
    for protocol in table.protocols:
        parts += [in_the_papers_shape(table, protocol, of_the_paper)] if of_the_paper else []
        parts += [of_other_tasks(table, protocol, others)] if others else []
    notes = Words(tuple(_notes(table.collection)), points=True)
    differing = differences_table(table.collection)
    return [*parts, notes, *([differing] if differing else [])]


def in_the_papers_shape(table: Table1, protocol: str, tasks: Sequence[str]) -> Table:
    """Encodings down; for each task the published mean, the mean measured ± standard deviation, and the difference."""
    columns = [Column("Encoding")]
    for task in tasks:
        group = names.task(task)
        columns += [
            Column("Paper", number=True, decimals=2, group=group),
            Column("Here", number=True, decimals=2, group=group),
            Column("Diff.", number=True, decimals=1, signed=True, group=group),
        ]
    return Table(
        tuple(columns),
        _lines(table, tasks, lambda row: _in_short(row, protocol), len(columns[1:4])),
        title=f"Table 1, protocol {protocol}",
        caption=_caption(table.collection, protocol),
        notes=tuple(_about_cells(table, protocol, tasks)),
    )


def of_other_tasks(table: Table1, protocol: str, tasks: Sequence[str]) -> Table:
    """Encodings down; for each task, of which nothing is published, ID and OOD accuracy ± standard deviation."""
    columns = [Column("Encoding")]
    for task in tasks:
        columns += [
            Column("ID", number=True, decimals=2, group=names.task(task)),
            Column("OOD", number=True, decimals=2, group=names.task(task)),
        ]
    return Table(
        tuple(columns),
        _lines(table, tasks, lambda row: _in_full(row.measured[protocol])[:2], len(columns[1:3])),
        title=f"Other tasks than the paper's, protocol {protocol}",
        caption=_caption(table.collection, protocol),
        notes=tuple(_about_cells(table, protocol, tasks)),
    )


def _lines(
    table: Table1, tasks: Sequence[str], measured: Callable[[Row], list[Cell]], width: int
) -> tuple[tuple[Cell, ...], ...]:
    """A line an encoding that has one of these tasks: `measured` of each task, `width` cells."""
    by_place = {(row.pe, row.task): row for row in table.rows if row.task in tasks}
    lines = []
    for pe in dict.fromkeys(row.pe for row in table.rows if row.task in tasks):
        line: list[Cell] = [Cell(names.encoding(pe))]
        for task in tasks:
            row = by_place.get((pe, task))
            line += measured(row) if row else [Cell()] * width
        lines.append(tuple(line))
    return tuple(lines)


def wide(table: Table1) -> Document:
    """Everything at once: a row a task and encoding, all protocols side by side."""
    columns = [
        Column("Encoding"),
        Column("OOD", number=True, decimals=2, group="Published"),
        Column("var.", number=True, decimals=2, group="Published"),
    ]
    for protocol in table.protocols:
        columns += [
            Column("ID", number=True, decimals=2, group=protocol),
            Column("OOD ± std", number=True, decimals=2, group=protocol),
            Column("var.", number=True, decimals=2, group=protocol),
            Column("n", number=True, group=protocol),
            Column("diff.", number=True, decimals=2, signed=True, group=protocol),
        ]
    rows: list[tuple[Cell, ...]] = []
    everything = {row.task for row in table.rows}
    sections: list[tuple[int, str]] = []
    for task, group in groupby(table.rows, key=lambda row: row.task):
        sections.append((len(rows), names.task(task)))
        for row in group:
            published = (None, None) if row.published is None else (row.published.ood_percent, row.published.variance)
            line = [*cells(names.encoding(row.pe)), Cell(published[0], strong=row.published_best), Cell(published[1])]
            for protocol in table.protocols:
                line += _in_full(row.measured[protocol])
            rows.append(tuple(line))
    notes = (
        *(note for protocol in table.protocols for note in _about_cells(table, protocol, everything)),
        "var. is 100 times the variance of the fractions, most likely what the paper prints after its ±; n: seeds.",
        *_notes(table.collection),
    )
    caption = _caption(table.collection, *table.protocols)
    wide_table = Table(tuple(columns), tuple(rows), "Table 1", caption, notes, tuple(sections), "Task")
    differing = differences_table(table.collection)
    return [wide_table, *([differing] if differing else [])]


def numbers(table: Table1) -> Table:
    """A row a cell and protocol, with all that is known of it: table1.csv."""
    lines = list(_tidy(table))
    keys = list(lines[0]) if lines else []
    return Table(tuple(Column(key) for key in keys), tuple(cells(*line.values()) for line in lines))  # type: ignore[arg-type]


def _in_short(row: Row, protocol: str) -> list[Cell]:
    measured, published = row.measured[protocol], row.published
    return [
        Cell(published.ood_percent if published else None, strong=row.published_best),
        Cell(measured.ood_percent, _with_spread(measured), strong=measured.best),
        Cell(measured.difference_points),
    ]


def _in_full(measured: Measured) -> list[Cell]:
    return [
        Cell(measured.id_percent),
        Cell(measured.ood_percent, _with_spread(measured), strong=measured.best),
        Cell(measured.variance),
        Cell(len(measured.seeds), measured.n_text),
        Cell(measured.difference_points),
    ]


def _with_spread(measured: Measured) -> str:
    if measured.ood_percent is None:
        return MISSING
    spread = "" if measured.ood_std_points is None else f" ± {measured.ood_std_points:.2f}"
    return f"{measured.ood_percent:.2f}{spread}"


def _caption(collection: Collection, *protocols: str) -> str:
    label = f" ({collection.label})" if collection.label else ""
    _, resized = differences(collection)
    sizes = " Sizes are not the paper's." if resized else ""
    meanings = "; ".join(map(names.protocol, protocols))
    plural = "s" * (len(protocols) > 1)
    return f"OOD accuracy in %, profile {collection.profile}{label}.{sizes} Protocol{plural} {meanings}."


def _about_cells(table: Table1, protocol: str, tasks: Container[str]) -> Iterator[str]:
    """What a table of one protocol and some tasks does not show: ID accuracies, seeds, what is missing, what
    diverged."""
    shown = [(row, row.measured[protocol]) for row in table.rows if row.task in tasks]
    within = [m.id_percent for _, m in shown if m.id_percent is not None]
    counts = sorted({len(m.seeds) for _, m in shown if m.seeds})
    if within and counts:
        seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        spread = f"{min(within):.1f} to {max(within):.1f}"
        yield f"Under {protocol}: {seeds} seed{'s' * (seeds != '1')} a cell, ID accuracy {spread} %."
    missing = [name(row) for row, m in shown if row.published and m.ood_percent is None]
    if missing:
        yield f"Missing under {protocol} (shown as {MISSING}): {', '.join(missing)}."
    diverged = [
        f"{name(row)} {len(m.diverged_seeds)} of {len(m.seeds) + len(m.diverged_seeds)} "
        f"(seed {', '.join(map(str, m.diverged_seeds))})"
        for row, m in shown
        if m.diverged_seeds
    ]
    if diverged:
        yield f"Diverged under {protocol}, not part of the means: {', '.join(diverged)}."


def _notes(collection: Collection) -> Iterator[str]:
    record = next(collection.records())
    firsts = {scored_positions(r.training.task, r.length).start for r in collection.records()}
    first, trained = " or ".join(map(str, sorted(firsts))), record.train_length
    yield (
        f"ID = tokens {first} to {trained - 1}, OOD = tokens {trained} to {record.training.data.test_length - 1}, "
        f"{collection.accuracy_mode.replace('_', '-')}, checkpoint {record.selection}. ± is the sample standard "
        "deviation over seeds in points, diff. = here - paper in points. Bold (starred in a terminal): the better of "
        "an encoding and its Resonance form, both when equal to two decimals."
    )
    moduli = sorted({record.training.task.modulus for record in collection.records()})
    if moduli != [Task().modulus]:
        chance = " and ".join(f"{100 / modulus:.1f} % (modulus {modulus})" for modulus in moduli)
        yield f"Chance is {chance} here and {100 / Task().modulus:.1f} % in the paper (modulus {Task().modulus})."
    seeds = sorted({record.seed for record in collection.records()})
    yield f"Seeds: {', '.join(map(str, seeds))}. Generated by {provenance(collection)}."


def _tidy(table: Table1) -> Iterator[dict[str, object]]:
    for row in table.rows:
        for protocol in table.protocols:
            measured = row.measured[protocol]
            cell = table.collection.cell(protocol, row.task, row.pe)
            records = (*cell.finished, *cell.diverged)
            first = next(iter(records), None)
            yield {
                "profile": table.collection.profile,
                "profile_label": table.collection.label,
                "protocol": protocol,
                "task": row.task,
                "pe": row.pe,
                "ood_accuracy_percent": measured.ood_percent,
                "ood_std_points": measured.ood_std_points,
                "ood_variance_as_published": measured.variance,
                "id_accuracy_percent": measured.id_percent,
                "id_std_points": measured.id_std_points,
                "n": len(measured.seeds),
                "n_diverged": len(measured.diverged_seeds),
                "seeds": _joined(measured.seeds),
                "diverged_seeds": _joined(measured.diverged_seeds),
                "best_of_pair": measured.best,
                "published_ood_accuracy_percent": row.published.ood_percent if row.published else None,
                "published_variance": row.published.variance if row.published else None,
                "published_best_of_pair": row.published_best if row.published else None,
                "difference_points": measured.difference_points,
                "accuracy_mode": table.collection.accuracy_mode,
                "train_length": first.train_length if first else None,
                "test_length": first.length if first else None,
                "modulus": first.training.task.modulus if first else None,
                "run_ids": _joined([record.run_id for record in records]),
                "git_commits": _joined(sorted({r.trained_by[-1].git_commit or "unknown" for r in records})),
            }


def _joined(values: Sequence[object]) -> str:
    return " ".join(map(str, values))
