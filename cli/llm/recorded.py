"""What shows records of language models as tables, and nothing more: `posgen llm tasks`, `posgen llm tunings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.records import RESULTS

if TYPE_CHECKING:
    from eval.evidence.table import Table
    from eval.store.record_lines import Kind

RecordsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        metavar="FILE",
        help="File of records; repeatable. [default: below results/llm]",
        show_default=False,
    ),
]


def show_recorded(
    kind: type[Kind],
    files: Sequence[Path] | None,
    place: str,
    tables: Callable[[Sequence[Kind]], list[Table]],
    numbers: Callable[[Sequence[Kind]], Table],
    format: str,
    out: Path | None,
    stem: str,
) -> None:
    """Show the records of a kind, by default those at a place below the results: `tables` for readers, `numbers` as a
    CSV."""
    from cli.shared.output import chosen_formats, show
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.store.records import load

    formats = chosen_formats(format, ("terminal", "markdown", "csv"))
    records = load(*(files or [RESULTS / place]), kind=kind)
    made = tables(records)
    texts = {"markdown": lambda: markdown(made), "csv": lambda: csv_text(numbers(records))}
    show(formats, lambda console: terminal(made, console), texts, out, stem)
