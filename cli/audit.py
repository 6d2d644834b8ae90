"""`posgen audit`: which earlier tokens an answer really needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.options import TaskOption

LONG = 60.0
"""Seconds above which an audit says beforehand how long it may take."""


def audit(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]... [KEY=VALUE]...", help="Tasks, and settings of them.", show_default=False),
    ] = None,
    task: TaskOption = None,
    window: Annotated[
        int, typer.Option(metavar="N", help="Last tokens before an answer that are searched, beside the far token.")
    ] = 8,
    length: Annotated[int, typer.Option(metavar="N", help="Tokens of a sequence, seed included.")] = 64,
    format: Annotated[
        str, typer.Option(metavar="NAME[,NAME...]", help="terminal, markdown, csv, json, or all.")
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for audit.md, audit.csv and audit.json. [default: print]", show_default=False
        ),
    ] = None,
) -> None:
    """Say what a task really asks: which few earlier tokens determine an answer, and what is possible without some.

    Exact for every position: the smallest sets of earlier tokens that determine the answer, the best possible (Bayes)
    accuracy from the last tokens and from any three, and from everything but one argument of h. A linear h is treated
    by linear algebra over Z_m, any other by enumerating all seeds, which must fit. Nothing is trained or measured.

    \b
    posgen audit semi_recursive
    posgen audit cot task.modulus=12 task.near=2 --window 6
    posgen audit task.h=my_module:my_function task.modulus=5 --format csv
    """
    import json

    from cli.shared.output import chosen_formats, duration, show
    from cli.shared.request import request
    from conf import names
    from conf.compose import Choice, composer
    from eval.evidence.audit.numbers import as_json, numbers
    from eval.evidence.audit.tables import document
    from eval.evidence.audit.words import Audited
    from eval.evidence.table import csv_text, markdown, terminal
    from eval.running.progress import Bar
    from posgen.audit.build import classes, estimate, source
    from posgen.audit.search import audit, sets_looked_at

    chosen = chosen_formats(format, ["terminal", "markdown", "csv", "json"])
    overrides = [word for word in words or [] if "=" in word]
    named = [*([task] if task else []), *(word for word in words or [] if "=" not in word)]
    requested = request(
        overrides, takes=("task",), roots=("task",), task=",".join(named) or None, default_profile="quick"
    )
    with composer() as make:
        tasks = [make(Choice(name), requested.overrides).task for name in requested.tasks]
    sources = [source(each, length) for each in tasks]
    # Of all of them before the first is worked on: what takes too long is refused at once.
    seconds = sum(estimate(each, window) for each in sources)
    if seconds > LONG:
        typer.echo(f"posgen: at most about {duration(seconds)}", err=True)
    total = sum(sets_looked_at(each.asked, window) for each in sources)
    with Bar("audit", total, after=2.0) as bar:
        audits = [
            Audited(each, names.task(each.name), length, audit(found, classes(each, found.asked), window, bar.advance))
            for each, found in zip(tasks, sources, strict=True)
        ]
    whole = [part for audited in audits for part in document(audited)]
    written = {
        "markdown": lambda: markdown(whole),
        "csv": lambda: csv_text(numbers(audits)),
        "json": lambda: json.dumps([as_json(audited) for audited in audits], indent=2, allow_nan=False) + "\n",
    }
    show(chosen, lambda console: terminal(whole, console), written, out, "audit")
