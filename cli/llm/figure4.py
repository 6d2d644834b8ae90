"""`posgen llm figure4`: perplexity by length, loss by position and what Resonance changes, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.llm.perplexity import RECORDS
from cli.shared.options import OutOption, PictureFormatOption


def figure4(
    records: Annotated[
        list[Path] | None,
        typer.Option(
            "--records", metavar="FILE", help=f"Records to draw; repeatable. [default: {RECORDS}]", show_default=False
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME", help="The preset or plan to draw. [default: all there are]", show_default=False
        ),
    ] = None,
    format: PictureFormatOption = "png",
    out: OutOption = None,
) -> None:
    """Draw Figure 4 from the records of `posgen llm perplexity`: perplexity against length, loss by position, and the
    paired differences between Resonance and plain with their intervals.

    Each group of records that may be compared (one model, factor and protocol) is a picture, figure4-s2.png and so on.
    Beside them figure4.md and figure4.csv are written.

    \b
    posgen llm figure4
    posgen llm figure4 --profile figure4 --format svg --out figures
    """
    from cli.shared.output import chosen_formats, save
    from eval.evidence.figures.style import FORMATS
    from eval.evidence.llm.curves import collect
    from eval.evidence.llm.figure4 import figure, names
    from eval.evidence.llm.tables import document, numbers
    from eval.evidence.table import csv_text, markdown
    from eval.store.lm_kinds import PerplexityRecord
    from eval.store.records import load

    chosen = chosen_formats(format, FORMATS)
    curves = collect(load(*(records or [RECORDS]), kind=PerplexityRecord), profile)
    text = markdown(document(curves))
    figures = {name: figure(group) for name, group in names(curves).items()}
    folder = out or (records or [RECORDS])[0].parent
    save(folder, figures, {"figure4.md": text, "figure4.csv": csv_text(numbers(curves))}, chosen)
    typer.echo(f"\n{text}", nl=False)
