"""`posgen llm tasks`: the table of standard tasks, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.records import RESULTS
from posgen.places import STANDARD_TASKS


def tasks(
    records: Annotated[
        list[Path] | None,
        typer.Option(
            "--records", metavar="FILE",
            help="File of records; repeatable. [default: results/llm/harness/records.jsonl]", show_default=False,
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, or all.")
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for tasks.md, .csv. [default: print]", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Draw the tables of standard tasks from records alone, one for each model.

    `posgen llm harness` makes the records.

    \b
    posgen llm tasks
    posgen llm tasks --format all --out results/llm/harness
    """
    from cli.shared.output import chosen_formats, show
    from eval.evidence.llm.harness import numbers, tables
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.store.lm_kinds import HarnessRecord
    from eval.store.records import load

    formats = chosen_formats(format, ("terminal", "markdown", "csv"))
    stored = load(*(records or [RESULTS / STANDARD_TASKS]), kind=HarnessRecord)
    made = tables(stored)
    texts = {"markdown": lambda: markdown(made), "csv": lambda: csv_text(numbers(stored))}
    show(formats, lambda console: terminal(made, console), texts, out, "tasks")
