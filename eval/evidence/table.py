"""A table as a value, and what it can become: terminal, Markdown, CSV, W&B. (LaTeX: eval.evidence.latex,
HTML: eval.evidence.report.)

A cell holds a value, from which sorting, CSV and W&B take the number, and its text for readers, which the column's
format gives where the cell says none. What does not exist is None in every form: a dash for readers, nothing in a CSV.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb
    from rich.console import Console
    from rich.table import Table as Grid

MISSING = "—"
_FORMULA = ("=", "+", "-", "@", "\t")
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """`title` is what readers see (a line break in it may break the head of a terminal's column), `key` the name in a
    CSV and in W&B, the title where it is empty. `decimals` of numbers, None: as they are; `signed`: with a plus.
    `group`: a head above neighbouring columns. `number`: aligned to the right, and sorted by value."""

    title: str
    key: str = ""
    number: bool = False
    decimals: int | None = None
    signed: bool = False
    group: str = ""

    def text(self, value: Value) -> str:
        """A value as readers see it."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, (int, float)) and self.decimals is not None:
            rounded = round(value, self.decimals) + 0.0  # + 0.0: no minus zero
            return f"{rounded:{'+' if self.signed else ''}.{self.decimals}f}"
        return str(value)


@dataclass(frozen=True)
class Cell:
    """`text`: for readers, where the column's format does not say it all (`27.52 ± 4.54`). `strong`: stands out."""

    value: Value = None
    text: str | None = None
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns. `title` names it, `caption` says what it shows, `notes` what it needs to be read.
    `sections`: (row, heading) where a part of it begins; `section` says what the headings are (`Task`)."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    caption: str = ""
    notes: tuple[str, ...] = ()
    sections: tuple[tuple[int, str], ...] = ()
    section: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), "every row has a cell for every column"

    def texts(self, row: Sequence[Cell]) -> list[str]:
        """The row for readers."""
        return [c.text if c.text is not None else k.text(c.value) for c, k in zip(row, self.columns, strict=True)]

    def blocks(self) -> Iterator[tuple[str, tuple[tuple[Cell, ...], ...]]]:
        """(heading or "", rows) of every section."""
        starts = [*self.sections] if self.sections and self.sections[0][0] == 0 else [(0, ""), *self.sections]
        ends = [start for start, _ in starts[1:]] + [len(self.rows)]
        for (start, heading), end in zip(starts, ends, strict=True):
            yield heading, self.rows[start:end]

    def flat(self) -> Table:
        """The same with the headings of its sections as a first column, one in every row."""
        if not self.sections:
            return self
        rows = tuple((Cell(heading), *row) for heading, rows in self.blocks() for row in rows)
        return replace(self, columns=(Column(self.section), *self.columns), rows=rows, sections=(), section="")


@dataclass(frozen=True)
class Words:
    """Sentences between tables: paragraphs, or a list of points."""

    lines: tuple[str, ...]
    points: bool = False


Document = Sequence[Table | Words]


def cells(*values: Value | Cell) -> tuple[Cell, ...]:
    """A row: cells as they are, bare values as cells."""
    return tuple(value if isinstance(value, Cell) else Cell(value) for value in values)


def markdown(document: Document) -> str:
    """Tables and words below each other, as GitHub shows them."""
    parts = [_table_markdown(part) if isinstance(part, Table) else _words_markdown(part) for part in document]
    return "\n".join(parts)


def _words_markdown(words: Words) -> str:
    if words.points:
        return "\n".join([*(f"- {line}" for line in words.lines), ""])
    return "\n".join(f"{line}\n" for line in words.lines)


def _table_markdown(table: Table) -> str:
    """The title and the caption above the grid, the notes below it."""
    table = table.flat()
    grouped = len({column.group for column in table.columns}) > 1
    lines = [[_head(column, grouped) for column in table.columns]]
    lines.append(["---:" if column.number else "---" for column in table.columns])
    lines += [
        [f"**{text}**" if cell.strong else text for cell, text in zip(row, table.texts(row), strict=True)]
        for row in table.rows
    ]
    above = " ".join(filter(None, (f"**{table.title}.**" if table.title else "", table.caption)))
    grid = [f"| {' | '.join(map(_in_markdown, line))} |" for line in lines]
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([*([above, ""] if above else []), *grid, *([""] if notes else []), *notes, ""])


def _in_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _head(column: Column, grouped: bool) -> str:
    title = column.title.replace("\n", " ")
    return f"{column.group} {title}" if column.group and grouped else title


def csv_text(table: Table) -> str:
    """A header of keys and a line a row, numbers with six decimals at most, an empty field where there is no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    table = table.flat()
    writer.writerow([column.key or column.title for column in table.columns])
    for row in table.rows:
        writer.writerow([_in_csv(cell.value) for cell in row])
    return out.getvalue()


def _in_csv(value: Value) -> Value:
    if isinstance(value, str):
        value = value.replace("\r", " ")  # which readers take for the end of a line
        return f"'{value}" if value.startswith(_FORMULA) else value  # a spreadsheet would compute it
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    # Six decimals: more than any test set resolves, and the same on every machine.
    return None if math.isnan(value) else round(value, 6) + 0.0


def terminal(document: Document, console: Console) -> None:
    """Print every table with its caption and notes below it, and every sentence. Strong cells have a star too, for logs
    without bold."""
    for part in document:
        if isinstance(part, Table):
            console.print(_grid(part))
            print_words(console, *filter(None, (part.caption, *part.notes)))
        else:
            print_words(console, *part.lines)


def print_words(console: Console, *lines: str) -> None:
    """Print sentences, broken into lines by a terminal and left whole for a file."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _grid(table: Table) -> Grid:
    from rich import box
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, padding=0, show_edge=False, title=escape(table.title) or None)
    in_sections = any(heading for heading, _ in table.blocks())
    for column, above in zip(table.columns, _heads_above(table), strict=True):
        title = column.title if above is None else f"{above}\n{column.title}"
        grid.add_column(escape(title), justify="right" if column.number else "left", no_wrap=column.number)
    for heading, rows in table.blocks():
        if heading:
            grid.add_row(f"[bold]{escape(heading)}[/bold]")
        for row in rows:
            texts = [
                f"[bold]*{escape(text)}[/bold]" if cell.strong else escape(text)
                for cell, text in zip(row, table.texts(row), strict=True)
            ]
            grid.add_row(f"{'  ' * in_sections}{texts[0]}", *texts[1:])
        if in_sections:
            grid.add_section()
    return grid


def _heads_above(table: Table) -> list[str | None]:
    """For every column what stands above its title: the name of its group over the widest of a group; None without
    groups."""
    if not any(column.group for column in table.columns):
        return [None] * len(table.columns)
    texts = [table.texts(row) for row in table.rows]
    widths = [max([len(c.title), *(len(row[i]) for row in texts)]) for i, c in enumerate(table.columns)]
    heads: list[str | None] = [""] * len(widths)
    start = 0
    for name, members in groupby(table.columns, key=lambda column: column.group):
        size = len(list(members))
        heads[max(range(start, start + size), key=widths.__getitem__)] = name
        start += size
    return heads


def wandb_table(table: Table) -> wandb.Table:
    """Numbers as numbers where a column holds nothing else, else the text for readers; what is missing as nothing."""
    import wandb

    table = table.flat()
    grouped = len({column.group for column in table.columns}) > 1
    bare_columns = [all(_is_bare(row[i]) for row in table.rows) for i in range(len(table.columns))]
    data: list[Iterable[Any]] = [
        [
            None if cell.value is None else cell.value if bare else text
            for cell, bare, text in zip(row, bare_columns, table.texts(row), strict=True)
        ]
        for row in table.rows
    ]
    return wandb.Table(columns=[_head(column, grouped) for column in table.columns], data=data)


def _is_bare(cell: Cell) -> bool:
    """Whether the value says all that the text does."""
    return cell.value is None or (cell.text is None and not isinstance(cell.value, str))
