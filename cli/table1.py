"""`posgen table1`: the paper's Table 1 beside what was measured here."""

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
        str, typer.Option(metavar="NAME", help="Which measurement: teacher_forced or free_running.")
    ] = "teacher_forced",
    sweep: SweepOption = None,
) -> None:
    """Draw Table 1 of the paper from records alone, published and measured numbers side by side.

    Nothing is trained, and it takes seconds. For every task and encoding the table shows the published accuracy beyond
    the training length (OOD) and, for each protocol, the accuracy within that length (ID), the mean and spread over
    seeds, the number of seeds and the difference to the paper. What was not measured shows as a dash. Markdown adds
    what `posgen verdict` says of the pairs.

    Example: posgen table1 --profile quick --format all --out results/quick
    """
    from cli.shared.output import chosen_formats, show
    from cli.shared.records import collection
    from conf import published as paper
    from eval.evidence import table1_render
    from eval.evidence.table1 import build

    formats = chosen_formats(format, ["terminal", "markdown", "csv", "latex"])
    published = paper.table1()
    found = collection(records, profile, protocol, sweep, accuracy)
    table = build(found, published)

    def markdown() -> str:
        from conf.rules import verdict_rules as rules
        from eval.evidence.verdict.judge import judge
        from eval.evidence.verdict.render import section

        return table1_render.markdown(table, section(judge(found, published, rules())))

    texts = {
        "markdown": markdown,
        "csv": lambda: table1_render.tidy_csv(table),
        "latex": lambda: table1_render.latex(table),
    }
    show(formats, lambda console: table1_render.terminal(table, console), texts, out, "table1")
