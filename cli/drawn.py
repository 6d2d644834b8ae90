"""What `table1` and `figure3` share: which records they are drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eval.cells import Collection

RESULTS = Path("results")

RecordsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        metavar="FILE",
        help="File of records; give it again for more files. [default: results/<profile>/records.jsonl]",
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


def collection(
    records: list[Path] | None,
    profile: str | None,
    protocol: str | None,
    sweep: str | None,
    accuracy: str = "teacher_forced",
) -> Collection:
    """The cells that the options choose. Raises UserError when there are none."""
    from conf.overrides import words
    from eval.cells import collect
    from eval.records import gather

    protocols = words("protocol", protocol) if protocol is not None else None
    return collect(gather(records or [], profile, RESULTS, sweep), protocols, accuracy)
