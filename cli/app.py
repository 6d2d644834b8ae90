"""The Typer application: the list of commands. Each imports heavy packages only when it runs: --help stays fast."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.audit import audit
from cli.bench import bench
from cli.clean import clean
from cli.compare import compare
from cli.encodings import encodings
from cli.evaluate import evaluate
from cli.experiment import experiment
from cli.export_rope import export_rope
from cli.figures import curves, figure3, figure4, gap, positions
from cli.generate import generate
from cli.interventions import interventions
from cli.league import league
from cli.ledger import ledger
from cli.lengths import lengths
from cli.llm import llm
from cli.report import report
from cli.show import show
from cli.status import status
from cli.sweep import sweep
from cli.table1 import table1
from cli.train import train
from cli.verdict import verdict
from cli.verify import verify
from cli.work import work

app = typer.Typer(name="posgen", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for command, summary in (
    (generate, "Write the benchmark's data files."),
    (show, "Explain the benchmark on a sequence (Figure 2)."),
    (audit, "Say which earlier tokens a task needs."),
    (train, "Train and measure one model, or a few."),
    (sweep, "Train and measure all of Table 1."),
    (work, "Take chunks of posted sweeps, on any machine."),
    (evaluate, "Measure finished runs at other lengths or encodings."),
    (status, "Show how far a sweep is, cell by cell."),
    (clean, "Remove working files that nobody needs."),
    (verify, "Check a results folder against its checksums."),
    (table1, "Draw Table 1 from the records."),
    (figure3, "Draw Figure 3 from the records."),
    (figure4, "Draw a language model's loss by position."),
    (ledger, "List where paper and code differ."),
    (verdict, "Test the paper's claims on the records."),
    (compare, "Compare trainings that were made twice."),
    (positions, "Draw accuracy by position."),
    (curves, "Draw learning curves."),
    (gap, "Draw feature gap and accuracy by position."),
    (lengths, "Effective context length per encoding."),
    (interventions, "Whether models use their far tokens."),
    (league, "Rank all encodings by accuracy."),
    (report, "Write one HTML page with all results."),
):
    app.command(short_help=summary)(command)
app.command(name="export-rope", short_help="Write a RoPE configuration for transformers.")(export_rope)
app.add_typer(experiment, name="experiment", short_help="Declare, run and judge an experiment.")
app.add_typer(bench, name="bench", short_help="Measure training speed on this machine.")
app.add_typer(llm, name="llm", short_help="Measure and tune language models.")
app.add_typer(encodings, name="encodings", short_help="List, show and draw the position encodings.")


@app.callback(invoke_without_command=True)
def posgen(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Reproduce "Resonance RoPE" (arXiv 2403.00071), from its benchmark PosGen to Table 1 and Figure 3.

    \b
    posgen show                        see what the benchmark asks of a model
    posgen train --pe resonance_yarn   train one model, small, within minutes
    posgen sweep --profile quick       train all of Table 1, small
    posgen table1                      draw Table 1 from what was measured
    """
    if version:
        from posgen import __version__

        print(f"posgen {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


root = typer.main.get_command(app)
"""The application as Click's group of commands, made once for a process that runs several, as the tests do."""
