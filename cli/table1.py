"""`posgen table1`: the paper's Table 1 beside what was measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.drawn import ProfileOption, ProtocolOption, RecordsOption, SweepOption

_SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}


def table1(
    records: RecordsOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
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
    seeds, the number of seeds and the difference to the paper. What was not measured shows as a dash.

    Example: posgen table1 --profile quick --format all --out results/quick
    """
    from importlib.resources import files

    from rich.console import Console

    from cli.drawn import collection
    from conf.overrides import words
    from eval import table1_render
    from eval.files import write_atomically
    from eval.published import load_table1
    from eval.table1 import build
    from posgen.errors import BadValue, nearest

    renderers = {"markdown": table1_render.markdown, "csv": table1_render.tidy_csv, "latex": table1_render.latex}
    known = ["terminal", *renderers]
    formats = known if format == "all" else words("format", format)
    for name in formats:
        if name not in known:
            raise BadValue("format", name, nearest(name, [*known, "all"]))
    published = load_table1(files("conf").joinpath("published/table1.csv"))
    table = build(collection(records, profile, protocol, sweep, accuracy), published)

    for name in formats:
        if name == "terminal":
            console = Console()
            # Logs and pipes have no width of their own: give the protocols room to stand side by side.
            table1_render.terminal(table, console if console.is_terminal else Console(width=160))
        elif out is None:
            typer.echo(renderers[name](table), nl=False)
        else:
            path = out / f"table1.{_SUFFIXES[name]}"
            write_atomically(path, renderers[name](table).encode())
            typer.echo(f"wrote {path}")
