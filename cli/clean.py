"""`posgen clean`: working files that nobody needs any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.shared.options import Overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.store.cleaning import Inventory
    from eval.store.removing import Item


def clean(
    overrides: Overrides = None,
    states: Annotated[bool, typer.Option("--states", help="Only states, and files left half written.")] = False,
    weights: Annotated[bool, typer.Option("--weights", help="Only weights, and runs that no record names.")] = False,
    data: Annotated[bool, typer.Option("--data", help="Only data sets.")] = False,
    all_weights: Annotated[
        bool,
        typer.Option(
            "--all-weights", help="Also the weights of runs whose numbers are recorded: they are the largest."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove what is shown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Show working files that nobody needs any more, why, and how large they are; with --yes, remove exactly these.

    States that no unfinished run goes on from; runs that no record names, and weights that their run does not list;
    data sets that no run refers to, or that the present generator would not write; what killed processes left half
    written. Kept is whatever is running, unfinished, not measured yet, unreadable, a link, or tracked by git. Records,
    tables and figures are never touched, and what records were measured from stays unless --all-weights is given.

    \b
    posgen clean
    posgen clean --states --data
    posgen clean --yes paths.results=DIR
    posgen clean --json
    """
    from cli.shared.request import request
    from conf.compose import Choice, compose
    from eval.store.cleaning import KINDS, survey
    from eval.store.removing import remove

    requested = request(overrides, takes=(), roots=("paths",), default_profile="quick")
    paths = compose(Choice(), requested.overrides).paths
    asked = {"states": states, "weights": weights or all_weights, "data": data}
    kinds = [kind for kind in KINDS if asked[kind]] if states or weights or data else KINDS
    inventory = survey(Path(paths.results), Path(paths.runs), Path(paths.data), kinds, all_weights)
    removed, kept = remove(inventory.items) if yes else ([], [])
    if as_json:
        _print_json(inventory, removed, kept)
    else:
        _print(inventory, yes, removed, kept)
    if kept:
        raise typer.Exit(1)


def _print_json(inventory: Inventory, removed: Sequence[Item], kept: Sequence[tuple[Path, str]]) -> None:
    """A line for each thing that nobody needs, with whether it was removed, and for each that is kept in doubt."""
    refused = dict(kept)
    for item in inventory.items:
        row = {"path": str(item.path), "kind": item.kind, "why": item.why, "bytes": item.bytes}
        row["status"] = "removed" if item in removed else "not removed" if item.path in refused else "removable"
        if item.path in refused:
            row["problem"] = refused[item.path]
        print(json.dumps(row))
    for path, why in inventory.kept:
        print(json.dumps({"path": str(path), "why": why, "status": "kept"}))


def _print(inventory: Inventory, yes: bool, removed: Sequence[Item], kept: Sequence[tuple[Path, str]]) -> None:
    from cli.shared.output import size

    _show(inventory.items)
    for path, why in inventory.kept:
        print(f"kept: {path}: {why}")
    total = size(sum(item.bytes for item in inventory.items))
    if not inventory.items:
        print("there is nothing to remove")
    elif not yes:
        print(f"{total} could be freed; nothing has been removed. The same command with --yes removes it")
    else:
        for path, why in kept:
            print(f"not removed: {path}: {why}")
        print(f"removed {len(removed)} of {len(inventory.items)}, {size(sum(item.bytes for item in removed))} freed")


def _show(items: list[Item]) -> None:
    """The items by reason, the largest first."""
    from cli.shared.output import size

    for why in dict.fromkeys(item.why for item in items):
        alike = sorted((item for item in items if item.why == why), key=lambda item: (-item.bytes, item.path))
        print(f"{why}: {len(alike)}, {size(sum(item.bytes for item in alike))}")
        for item in alike:
            print(f"  {size(item.bytes):>10}  {item.path}")
