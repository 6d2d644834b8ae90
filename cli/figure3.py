"""`posgen figure3`: the paper's Figure 3, drawn from what was measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.drawn import ProfileOption, ProtocolOption, RecordsOption, SweepOption


def figure3(
    records: RecordsOption = None,
    profile: ProfileOption = None,
    protocol: ProtocolOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the figures. [default: the folder of the records]", show_default=False
        ),
    ] = None,
    sweep: SweepOption = None,
) -> None:
    """Draw Figure 3 of the paper from records alone: validation loss against epoch, a panel a task.

    Nothing is trained, and it takes seconds. Each protocol becomes figure3-<protocol>.png and .pdf; figure3.csv holds
    the numbers behind them. What the paper claims about its figure is printed as it came out here.

    Example: posgen figure3 --profile quick --protocol paper,zero_shot
    """

    from cli.drawn import collection, folder_of
    from conf import published as paper
    from eval.evidence.figures.figure3 import caption, claims, curves, figure, tidy_csv
    from eval.evidence.figures.style import render
    from eval.store.files import write_atomically

    found = collection(records, profile, protocol, sweep)
    places = list(paper.table1())
    axes = paper.figure3()
    folder = out or folder_of(records, profile)

    drawn = {name: curves(found, name, places) for name in found.protocols}
    # Everything is drawn before anything is written: a protocol that cannot be drawn leaves no half set of figures.
    content = {
        f"figure3-{name}.{suffix}": render(drawing, suffix)
        for name, lines in drawn.items()
        for drawing in [figure(found, lines, axes)]
        for suffix in ("png", "pdf")
    }
    content["figure3.csv"] = tidy_csv([curve for lines in drawn.values() for curve in lines]).encode()
    for name, data in content.items():
        write_atomically(folder / name, data)
        typer.echo(f"wrote {folder / name}")
    for lines in drawn.values():
        typer.echo("\n".join(["", caption(found, lines), *claims(lines)]))
