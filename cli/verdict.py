"""`posgen verdict`: what the measurements prove, and what they leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import (
    RecordedProfileOption,
    RecordedProtocolOption,
    RecordsOption,
    SweepOption,
    TableFormatOption,
)


def verdict(
    rules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="A rule other than the declared one, such as verdict.margin_points=3; the result says so.",
            show_default=False,
        ),
    ] = None,
    records: RecordsOption = None,
    profile: RecordedProfileOption = None,
    protocol: RecordedProtocolOption = None,
    format: TableFormatOption = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for verdict.md and verdict.csv. [default: print]", show_default=False),
    ] = None,
    accuracy: Annotated[
        str, typer.Option(metavar="NAME", help="Which measurement: teacher_forced or free_running.")
    ] = "teacher_forced",
    sweep: SweepOption = None,
) -> None:
    """Judge Table 1 and Figure 3 from records alone, by rules declared beforehand (conf/verdict.yaml).

    \b
    cells   reproduced, contradicted or inconclusive, against the published
            values; only for runs of the paper's sizes
    pairs   Resonance better, worse or undecided, against its plain form
    claims  whether what the paper says of its figure and table holds here

    Records of a text give pairs alone, by loss.

    Each verdict comes with its interval, its p values and the power of the test. Nothing is trained.

    Example: posgen verdict --profile quick --format all --out results/quick
    """
    from cli.shared.losses import show_losses
    from cli.shared.output import chosen_formats, show
    from cli.shared.records import collection
    from conf.published import table1
    from conf.rules import verdict_rules
    from eval.evidence.cells import parted
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.evidence.verdict.judge import judge
    from eval.evidence.verdict.tables import document, numbers

    formats = chosen_formats(format, ["terminal", "markdown", "csv"])
    used, declared = verdict_rules(rules or ()), verdict_rules()
    cells, of_texts = parted(collection(records, profile, protocol, sweep, accuracy))
    if of_texts:
        show_losses(of_texts, formats, out, used)
    if cells is None:
        return
    verdicts = judge(cells, table1(), used, declared)
    texts = {"markdown": lambda: markdown(document(verdicts)), "csv": lambda: csv_text(numbers(verdicts))}
    show(formats, lambda console: terminal(document(verdicts, screen=True), console), texts, out, "verdict")
