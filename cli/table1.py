"""`posgen table1`: the paper's Table 1, published and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import RecordedProfileOption, RecordedProtocolOption, RecordsOption, SweepOption


def table1(
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    format: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, latex, or all.")
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for table1.md, table1.csv, table1.tex. [default: print]", show_default=False
        ),
    ] = None,
    accuracy: Annotated[
        str, typer.Option(metavar="NAME", help="Accuracy to show: teacher_forced or free_running.")
    ] = "teacher_forced",
    wide: Annotated[
        bool, typer.Option("--wide", help="One table with ID accuracies, variances, seeds and all protocols.")
    ] = False,
    sweep: SweepOption = None,
) -> None:
    """Draw Table 1 of the paper from records alone, published and measured numbers side by side.

    Nothing is trained, and it takes seconds. Each protocol gives a table in the paper's shape: for every encoding and
    task the published accuracy beyond the training length (OOD), the mean ± standard deviation over seeds measured
    here, and their difference; a dash where nothing was measured. --wide and the CSV have everything else. Markdown
    adds the tests of the pairs from `posgen verdict`. Records of a text give losses.md and losses.csv in their place:
    loss by encoding, lower is better, and Resonance against its plain form.

    \b
    posgen table1 --protocol paper
    posgen table1 --wide
    posgen table1 --profile quick --format all --out results/quick
    posgen table1 --profile text_quick
    """
    from cli.shared.losses import show_losses
    from cli.shared.output import chosen_formats, show
    from cli.shared.records import collection
    from conf import published
    from eval.evidence import table1_tables
    from eval.evidence.cells import parted
    from eval.evidence.latex import latex
    from eval.evidence.table import Table, csv_text, markdown, terminal
    from eval.evidence.table1 import build

    formats = chosen_formats(format, ["terminal", "markdown", "csv", "latex"])
    printed = published.table1()
    cells, of_texts = parted(collection(records, profile, protocol, sweep, accuracy))
    if of_texts:
        show_losses(of_texts, formats, out)
    if cells is None:
        return
    table = build(cells, printed)
    document = table1_tables.wide(table) if wide else table1_tables.document(table)

    def with_pairs() -> str:
        from conf.rules import verdict_rules
        from eval.evidence.verdict.judge import judge
        from eval.evidence.verdict.tables import section

        return markdown([*document, *section(judge(cells, printed, verdict_rules()))])

    def as_latex() -> str:
        tables = [part for part in document if isinstance(part, Table)]
        return "\n".join(latex(part, f"posgen-{number}") for number, part in enumerate(tables, start=1))

    texts = {"markdown": with_pairs, "csv": lambda: csv_text(table1_tables.numbers(table)), "latex": as_latex}
    show(formats, lambda console: terminal(document, console), texts, out, "table1")
