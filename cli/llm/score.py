"""`posgen llm score`: score files of predictions in L-Eval's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import TableFormatOption


def score(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Predictions: TASK.pred.jsonl.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task", metavar="NAME", help="The task of all files. [default: by their names]", show_default=False
        ),
    ] = None,
    scoring: Annotated[
        str,
        typer.Option(
            "--scoring", metavar="NAME", help="leval (as the authors' scorer), strict, or NAME+SWITCH=true|false."
        ),
    ] = "leval",
    rows: Annotated[bool, typer.Option("--rows", help="Also show what was read out of each answer.")] = False,
    format: TableFormatOption = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for score.md, score.csv. [default: print]", show_default=False
        ),
    ] = None,
) -> None:
    """Score files of predictions to L-Eval's closed-ended tasks, those of others as well as ours.

    Each score has its standard error and its floor beside it: the best that one and the same answer to every question
    would get. Tasks: coursera, gsm, quality, tpo, codeU, sci_fi.

    \b
    posgen llm score Predictions/exam_eval/turbo-16k-0613/*.pred.jsonl
    posgen llm score coursera.pred.jsonl --scoring strict
    posgen llm score answers.jsonl --task tpo --scoring leval+default_a=false --rows
    """
    from cli.shared.output import chosen_formats, show
    from eval.evidence.llm.predictions import table
    from eval.evidence.table import csv_text, markdown, print_words, terminal
    from eval.measuring.llm.leval.scored_file import score_file
    from eval.measuring.llm.leval.scoring import preset
    from eval.measuring.llm.leval.tasks import chosen

    formats = chosen_formats(format, ["terminal", "markdown", "csv"])
    rules = preset(scoring)
    named = chosen([task])[0] if task is not None else None
    scored = [score_file(path, named, rules) for path in files]
    if rows:
        from rich.console import Console

        console = Console(soft_wrap=True)
        for file in scored:
            for line in file.lines():
                print_words(console, line)
    made = table(scored, rules.name)
    texts = {"markdown": lambda: markdown([made]), "csv": lambda: csv_text(made)}
    show(formats, lambda console: terminal([made], console), texts, out, "score")
