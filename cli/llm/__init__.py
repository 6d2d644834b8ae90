"""`posgen llm ...`: the paper's other half, Resonance in language models."""

from __future__ import annotations

import typer

from cli.llm.figure4 import figure4
from cli.llm.finetune import finetune
from cli.llm.harness import harness
from cli.llm.leval import leval
from cli.llm.perplexity import perplexity
from cli.llm.plan import plan
from cli.llm.prepare import prepare
from cli.llm.score import score
from cli.llm.table2 import table2
from cli.llm.tasks import tasks
from cli.llm.tunings import tunings

llm = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Measure and tune language models.")
for command, summary in (
    (prepare, "Fetch a small model and long texts to try."),
    (perplexity, "Perplexity by length under several encodings."),
    (figure4, "Draw Figure 4 from the records."),
    (finetune, "Tune a model under a position encoding."),
    (tunings, "Draw the table of tuned models from the records."),
    (plan, "Memory and time of tuning and measuring a model."),
    (leval, "Ask L-Eval's closed-ended questions."),
    (score, "Score predictions in L-Eval's format."),
    (table2, "Draw Table 2 (L-Eval) from the records."),
    (harness, "Run standard tasks by lm-eval under other encodings."),
    (tasks, "Draw tables of standard tasks from the records."),
):
    llm.command(short_help=summary)(command)
