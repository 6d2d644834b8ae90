"""`posgen status`: the runs and their progress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.shared.options import Overrides
from cli.shared.output import MISSING, percent, table
from posgen.errors import UserError


def status(
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the runs below results/runs: running, interrupted, stopped, finished or diverged, and how far each one came.

    For a measured run it shows the validation accuracies of its chosen checkpoint, under each encoding it is tested
    with. A run that still says `running` long after `updated` was killed; training again goes on from its last state.

    \b
    posgen status
    posgen status --json paths.results=DIR
    """
    from cli.shared.request import request
    from conf.compose import Choice, compose

    requested = request(overrides, takes=(), roots=("paths",), default_profile="quick")
    paths = compose(Choice(), requested.overrides).paths
    runs = sorted(map(_read, Path(paths.runs).glob("*/run.json")), key=lambda run: str(run.get("updated", "")))
    if as_json:
        for run in runs:
            print(json.dumps(run))
    elif not runs:
        print(f"no runs below {paths.runs}; start one with `posgen train`")
    else:
        header = (
            "run",
            "state",
            "task",
            "trained with",
            "seed",
            "profile",
            "tested with",
            "val. ID %",
            "val. OOD %",
            "updated",
        )
        print(table(header, [line for run in runs for line in _lines(run)]))


def _read(file: Path) -> dict[str, Any]:
    """run.json and, once the run is done, the validation row of each chosen checkpoint by test encoding."""
    from eval.store.runs import Run

    try:
        run = Run(file.parent.parent, file.parent.name)
        info, chosen = run.info(), {}
        if run.done:
            outcome = run.result()
            rows = {row["epoch"]: row["validation"] for row in outcome.history}
            chosen = {label: rows[epoch][label] for label, epoch in outcome.chosen.items() if epoch is not None}
        return {**info, "run_id": run.run_id, "validation": chosen}
    except (UserError, KeyError) as error:
        return {"run_id": file.parent.name, "status": "unreadable", "reason": str(error), "validation": {}}


def _lines(run: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    state = str(run.get("status", MISSING))
    if state in ("running", "interrupted", "stopped", "diverged"):
        state += f", epoch {run.get('epoch', '?')} of {run.get('epochs', '?')}"
    columns = (str(run.get(key, MISSING)) for key in ("task", "train_encoding", "seed", "profile"))
    first = (run["run_id"], state, *columns)
    for name, row in (run["validation"] or {MISSING: {}}).items():
        accuracies = (percent(row.get("id_accuracy")), percent(row.get("ood_accuracy")))
        yield (*first, name, *accuracies, str(run.get("updated", MISSING)))
        first = ("",) * len(first)
