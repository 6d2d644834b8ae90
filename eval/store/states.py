"""States that trainings go on from: one file a population, so that its members are saved together or not at all.

results/runs/.states/<population>-<steps>-<checksum>.pt holds the states of all members by run id. A new file is put in
its place before the older one goes, and the newest counts; a run's run.json names its population. Members saved at
different steps could only go on in different groups, and matrix products of another shape round differently.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eval.store.files import checksum, replacing
from posgen.errors import UserError
from posgen.plain import digest

FOLDER = ".states"
_NAME = re.compile(r"([0-9a-f]{12})-(\d{9})-([0-9a-f]{16})\.pt")
# Files of this process's own writing or checked before: reading gigabytes once is enough.
_INTACT: set[tuple[str, int]] = set()


def population_of(run_ids: Sequence[str]) -> str:
    """12 hex digits for a set of runs that train together."""
    return digest(sorted(run_ids))


def save(runs_dir: Path, population: str, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the states of a population; `states` by run id, all of the same step. UserError when the disk is full."""
    (steps,) = {int(state["steps"]) for state in states.values()}
    folder = runs_dir / FOLDER
    older = _files(runs_dir, population)
    for litter in folder.glob(f".{population}.*.tmp"):
        litter.unlink(missing_ok=True)  # of a process that was killed
    with replacing(folder / f"{population}.new") as beside:
        # Straight to the disk: a copy in memory would double what a large model takes.
        torch.save({run_id: dict(state) for run_id, state in states.items()}, beside)
    written = folder / f"{population}.new"
    file = folder / f"{population}-{steps:09d}-{checksum(written)[:16]}.pt"
    os.replace(written, file)
    _INTACT.add((str(file), file.stat().st_mtime_ns))
    for other in older:
        if other != file:
            other.unlink(missing_ok=True)


def load(runs_dir: Path, population: str) -> dict[str, dict[str, Any]]:
    """The newest states of a population by run id; empty without any. UserError when the file is damaged."""
    files = _files(runs_dir, population)
    if not files:
        return {}
    return read(files[-1])


def read(file: Path) -> dict[str, dict[str, Any]]:
    """The states in a file by run id. UserError when it is damaged."""
    remedy = "begin again with --fresh, or put the file back"
    match = _NAME.fullmatch(file.name)
    mark = (str(file), file.stat().st_mtime_ns)
    if mark not in _INTACT:
        if match is None or checksum(file)[:16] != match[3]:
            raise UserError(f"{file} does not have its checksum: it was damaged or edited; {remedy}")
        _INTACT.add(mark)
    try:
        states = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        return {str(run_id): dict(state) for run_id, state in states.items()}
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise UserError(f"{file} cannot be read ({type(error).__name__}); {remedy}") from None


def remove(runs_dir: Path, population: str) -> None:
    """Nobody goes on from here any more."""
    for file in _files(runs_dir, population):
        file.unlink(missing_ok=True)


def populations(runs_dir: Path) -> list[str]:
    """The populations that have a file."""
    found = (_NAME.fullmatch(path.name) for path in (runs_dir / FOLDER).glob("*.pt"))
    return sorted({match[1] for match in found if match})


def population_in(name: str) -> str | None:
    """The population whose states a file of this name holds; None for another kind of file."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def _files(runs_dir: Path, population: str) -> list[Path]:
    """Oldest first. More than one only where a process was killed between two of its steps."""
    files = (runs_dir / FOLDER).glob(f"{population}-*.pt")
    return sorted(path for path in files if _NAME.fullmatch(path.name))
