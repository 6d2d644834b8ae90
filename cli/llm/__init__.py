"""`posgen llm ...`: the paper's other half, Resonance in language models."""

from __future__ import annotations

import typer

from cli.llm.finetune import finetune
from cli.llm.plan import plan
from cli.llm.prepare import prepare

llm = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Measure and tune language models.")
for command, summary in (
    (prepare, "Fetch a small model and long texts to try."),
    (finetune, "Tune a model under a position encoding."),
    (plan, "Memory and time of tuning and measuring a model."),
):
    llm.command(short_help=summary)(command)
