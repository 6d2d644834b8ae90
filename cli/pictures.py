"""What the commands share that draw pictures from records: options, the choice of tasks, files written together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eval.evidence.cells import Collection

FormatOption = Annotated[str, typer.Option("--format", metavar="NAME[,NAME...]", help="png, svg, pdf, or all.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for the files. [default: the folder of the records]", show_default=False
    ),
]
TasksOption = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="NAME[,NAME...]", help="Tasks to show. [default: all that were measured]", show_default=False
    ),
]


def formats(text: str) -> list[str]:
    """The file formats that an option names. BadValue for one that is unknown."""
    from cli.drawn import chosen_formats
    from eval.evidence.figures.style import FORMATS

    return chosen_formats(text, FORMATS)


def of_tasks(found: Collection, task: str | None) -> tuple[Collection, list[tuple[str, str]], str]:
    """(the collection's cells of these tasks, the published (task, pe) of them, what file names end in)."""
    from conf import published as paper
    from conf.overrides import words
    from posgen.errors import BadValue, nearest

    places = list(paper.table1())
    if task is None:
        return found, places, ""
    measured = dict.fromkeys(name for _, name, _ in found.cells)
    tasks = words("task", task)
    for name in tasks:
        if name not in measured:
            raise BadValue("task", name, f"no record of it; {nearest(name, measured)}")
    cells = {place: cell for place, cell in found.cells.items() if place[1] in tasks}
    shown = [place for place in places if place[0] in tasks]
    return dataclasses.replace(found, cells=cells), shown, "".join(f"-{name}" for name in tasks)


def save(folder: Path, figures: Mapping[str, Figure], texts: Mapping[str, str], chosen: list[str]) -> None:
    """Write figures, by name without suffix, in every chosen format, and texts by whole name. All are made before
    the first is written."""
    from eval.evidence.figures.style import SCREEN_DPI, render
    from eval.store.files import write_atomically

    content = {
        f"{name}.{kind}": render(figure, kind, SCREEN_DPI) for name, figure in figures.items() for kind in chosen
    }
    content |= {name: text.encode() for name, text in texts.items()}
    for name, data in content.items():
        write_atomically(folder / name, data)
        typer.echo(f"wrote {folder / name}")
