"""`posgen verify`: every file of a results folder against its checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.shared.output import table


def verify(
    folder: Annotated[
        Path, typer.Argument(help="Records, runs, training states and data sets anywhere below it are checked.")
    ] = Path("results"),
) -> None:
    """Check a results folder whole: digests of records and histories, checksums of weights, states and data.

    Every line of records.jsonl is read and compared with its digest; a run's specification with its run id, its history
    with its digest, its weights with their checksums; training states and data sets with theirs. Nothing is changed.
    Exit status 0 when all is as it was written, 1 when something is damaged.

    \b
    posgen verify
    posgen verify results/quick
    """
    from eval.running.progress import Bar
    from eval.store.verifying import places_of
    from eval.store.verifying import verify as verified

    places = places_of(folder)
    if not places:
        typer.echo(f"{folder}: there are no records, runs, training states or data sets below it")
        return
    with Bar("checking", len(places)) as bar:
        results = verified(places, bar.advance)
    rows = [
        (kind, str(result.places), "; ".join(f"{n:,} {what}" for what, n in result.contents.items()),
         str(len(result.faults)))
        for kind, result in results.items()
        if result.places
    ]  # fmt: skip
    typer.echo(table(("checked", "number", "they hold", "faults"), rows))
    faults = [fault for result in results.values() for fault in result.faults]
    for fault in faults:
        typer.echo(f"damaged: {fault}")
    if faults:
        raise typer.Exit(1)
    typer.echo("all are as they were written")
