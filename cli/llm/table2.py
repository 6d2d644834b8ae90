"""`posgen llm table2`: the paper's Table 2, published and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def table2(
    records: Annotated[
        list[Path] | None,
        typer.Option(
            "--records", metavar="FILE",
            help="File of records; repeatable. [default: results/llm/leval/records.jsonl]", show_default=False,
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, latex, or all.")
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for table2.md, .csv, .tex. [default: print]",
                     show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Draw Table 2 of the paper (L-Eval) from records alone: published numbers, then those measured here.

    Numbers measured here have their standard error and, in brackets, the floor of a constant answer. Encodings are
    compared question by question: the exact sign test for right and wrong, sign flips for partial credit, with Holm's
    correction.

    \b
    posgen llm table2
    posgen llm table2 --records results/llm/leval/records.jsonl --format all --out results/llm/leval
    """
    from cli.llm.leval import RECORDS
    from cli.shared.output import chosen_formats, show
    from conf.published import table2 as published
    from eval.evidence.latex import latex
    from eval.evidence.llm.table2 import document, numbers
    from eval.evidence.table import Table, csv_text, markdown, terminal
    from eval.store.lm_kinds import AnswersRecord
    from eval.store.records import load, load_if_there

    formats = chosen_formats(format, ["terminal", "markdown", "csv", "latex"])
    stored = load(*records, kind=AnswersRecord) if records else load_if_there(RECORDS, kind=AnswersRecord)
    parts = document(stored, published())

    def as_latex() -> str:
        tables = [part for part in parts if isinstance(part, Table)]
        return "\n".join(latex(part, f"leval-{number}") for number, part in enumerate(tables, start=1))

    texts = {"markdown": lambda: markdown(parts), "csv": lambda: csv_text(numbers(stored)), "latex": as_latex}
    show(formats, lambda console: terminal(parts, console), texts, out, "table2")
