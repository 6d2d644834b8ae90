"""The records that a command draws from, and the folder of its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.evidence.cells import Collection

RESULTS = Path("results")


def folder_of(records: list[Path] | None, profile: str | None) -> Path:
    """The default folder for files: that of the first file of records named, else the profile's."""
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


def computed(collected: Collection) -> Collection:
    """The cells of the tasks that are measured by accuracy. UserError where all are of texts."""
    from eval.evidence.cells import parted
    from posgen.errors import UserError

    cells, _ = parted(collected)
    if cells is None:
        raise UserError(
            f"the records of profile {collected.profile} are of a text, which is measured by its losses; show them "
            "with `posgen table1` and `posgen figure4`"
        )
    return cells


def of_tasks(collected: Collection, task: str | None) -> tuple[Collection, list[tuple[str, str]], str]:
    """(the collection's cells of these tasks, the published (task, pe) of them, what file names end in)."""
    from conf import published as paper
    from conf.overrides import words
    from posgen.errors import BadValue, nearest

    places = list(paper.table1())
    if task is None:
        return collected, places, ""
    measured = dict.fromkeys(name for _, name, _ in collected.cells)
    tasks = words("task", task)
    for name in tasks:
        if name not in measured:
            raise BadValue("task", name, f"no record of it; {nearest(name, measured)}")
    cells = {place: cell for place, cell in collected.cells.items() if place[1] in tasks}
    shown = [place for place in places if place[0] in tasks]
    return dataclasses.replace(collected, cells=cells), shown, "".join(f"-{name}" for name in tasks)
