"""What the commands share that draw from records: which records, which formats, and where the products go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from eval.evidence.cells import Collection

RESULTS = Path("results")
_SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex"}

RecordsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        metavar="FILE",
        help="File of records; give it again for more files. [default: the profile's, below results/<profile>]",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", help="Profile whose records are drawn. [default: quick]", show_default=False
    ),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME[,NAME...]",
        help="Protocols to show, such as paper,zero_shot. [default: all that were measured]",
        show_default=False,
    ),
]
SweepOption = Annotated[
    str | None,
    typer.Option(
        "--sweep", metavar="NAME", help="Only the records of this sweep. [default: of all sweeps]", show_default=False
    ),
]


def folder_of(records: list[Path] | None, profile: str | None) -> Path:
    """Where the products belong: beside the first file of records that was named, else beside the profile's."""
    return records[0].parent if records else RESULTS / (profile or "quick")


def collection(
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    sweep: str | None,
    accuracy: str = "teacher_forced",
    results: Path = RESULTS,
) -> Collection:
    """The cells that the options choose. Raises UserError when there are none."""
    from conf.overrides import words
    from eval.evidence.cells import collect
    from eval.store.gathering import gather

    protocols = words("protocol", protocol) if protocol is not None else None
    return collect(gather(records or [], profile, results, sweep), protocols, accuracy)


def chosen_formats(text: str, known: Sequence[str]) -> list[str]:
    """The formats that an option names, `all` of those known or a comma list. BadValue for one that is unknown."""
    from conf.overrides import words
    from posgen.errors import BadValue, nearest

    chosen = list(known) if text == "all" else words("format", text)
    for name in chosen:
        if name not in known:
            raise BadValue("format", name, nearest(name, [*known, "all"]))
    return chosen


def show(
    formats: Sequence[str],
    terminal: Callable[[Console], None],
    texts: Mapping[str, Callable[[], str]],
    out: Path | None,
    stem: str,
) -> None:
    """Show a table in the chosen formats: `terminal` on the console; `texts`, by format, in files <stem>.md, .csv or
    .tex below `out`, printed where that is None."""
    from rich.console import Console

    from eval.store.files import write_atomically

    for name in formats:
        if name == "terminal":
            console = Console()
            # Logs and pipes have no width of their own: give the columns room to stand side by side.
            terminal(console if console.is_terminal else Console(width=160))
        elif out is None:
            typer.echo(texts[name](), nl=False)
        else:
            path = out / f"{stem}.{_SUFFIXES[name]}"
            write_atomically(path, texts[name]().encode())
            typer.echo(f"wrote {path}")
