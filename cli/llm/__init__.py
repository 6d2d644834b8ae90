"""`posgen llm ...`: the paper's other half, Resonance in language models."""

from __future__ import annotations

import typer

from cli.llm.leval import leval
from cli.llm.prepare import prepare
from cli.llm.score import score
from cli.llm.table2 import table2

llm = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Measure and tune language models.")
for command, summary in (
    (prepare, "Fetch a small model and long texts to try."),
    (leval, "Ask L-Eval's closed-ended questions."),
    (score, "Score predictions in L-Eval's format."),
    (table2, "Draw Table 2 (L-Eval) from the records."),
):
    llm.command(short_help=summary)(command)
