"""States that trainings go on from: one file a population, so that its members are saved together or not at all.

results/runs/.states/<population>-<steps>-<checksum>.pt holds the states of all members by run id. A new file is put in
its place before the older one goes, and the newest counts; a run's run.json names its population. Members saved at
different steps could only go on in different groups, and matrix products of another shape round differently.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from eval.store.files import checksum, replacing
from eval.store.records import LOCK
from posgen.errors import UserError, os_error_reason, os_error_remedy
from posgen.plain import digest

FOLDER = ".states"
_NAME = re.compile(r"([0-9a-f]{12})-(\d{9})-([0-9a-f]{16})\.pt")
_UNFINISHED = re.compile(r"\.?([0-9a-f]{12})\.new.*")
# Files of this process's own writing or checked before: reading gigabytes once is enough.
_INTACT: set[tuple[str, int]] = set()
_WAIT = 600.0  # seconds for another process that moves states: it writes a file


def population_of(run_ids: Sequence[str]) -> str:
    """12 hex digits for a set of runs that train together."""
    return digest(sorted(run_ids))


@contextmanager
def moving(runs_dir: Path) -> Iterator[None]:
    """While states come to be those of another population, or those that nobody needs go: one process at a time, for a
    file that no run names yet must not be taken for one that no run names any more."""
    folder = runs_dir / FOLDER
    lock = FileLock(folder / LOCK, timeout=_WAIT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder} has been locked by another process for {_WAIT:.0f} s; try again later") from None
    except OSError as error:
        raise UserError(
            f"paths.runs={runs_dir}: {os_error_reason(error)}; {os_error_remedy(error, 'paths.runs=DIR')}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def save(runs_dir: Path, population: str, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the states of a population; `states` by run id, all of the same step. UserError when the disk is full."""
    (steps,) = {int(state["steps"]) for state in states.values()}
    folder = runs_dir / FOLDER
    older = _files(runs_dir, population)
    for file in _unfinished(runs_dir, population):
        file.unlink(missing_ok=True)  # of a process that was killed
    written = folder / f"{population}.new"
    with replacing(written) as beside:
        _write({run_id: dict(state) for run_id, state in states.items()}, beside)
    file = folder / f"{population}-{steps:09d}-{checksum(written)[:16]}.pt"
    try:
        os.replace(written, file)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise UserError(f"cannot write {file} ({os_error_reason(error)}): {os_error_remedy(error)}") from None
    _INTACT.add((str(file), file.stat().st_mtime_ns))
    for other in older:
        if other != file:
            other.unlink(missing_ok=True)


def _write(states: dict[str, dict[str, Any]], path: Path) -> None:
    """Straight to the disk: a copy in memory would double what a large model takes. OSError when it is full."""
    # Through a file of Python's: by itself torch tells a full disk as a RuntimeError without a reason.
    with path.open("wb") as file:
        try:
            torch.save(states, file)
        except RuntimeError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load(runs_dir: Path, population: str) -> dict[str, dict[str, Any]]:
    """The newest states of a population by run id; empty without any. UserError when the file is damaged."""
    files = _files(runs_dir, population)
    if not files:
        return {}
    return read(files[-1])


def read(file: Path) -> dict[str, dict[str, Any]]:
    """The states in a file by run id. UserError when it is damaged."""
    remedy = "put it back, or delete it: trainings that are not done then begin again, as with --fresh"
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
    for file in (*_files(runs_dir, population), *_unfinished(runs_dir, population)):
        file.unlink(missing_ok=True)


def populations(runs_dir: Path) -> set[str]:
    """The populations that have a file, or the beginning of one."""
    names = [path.name for path in (runs_dir / FOLDER).glob("*")]
    found = [_NAME.fullmatch(name) or _UNFINISHED.fullmatch(name) for name in names]
    return {match[1] for match in found if match}


def population_in(name: str) -> str | None:
    """The population whose states a file of this name holds; None for another kind of file."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def _files(runs_dir: Path, population: str) -> list[Path]:
    """Oldest first. More than one only where a process was killed between two of its steps."""
    files = (runs_dir / FOLDER).glob(f"{population}-*.pt")
    return sorted(path for path in files if _NAME.fullmatch(path.name))


def _unfinished(runs_dir: Path, population: str) -> list[Path]:
    """What a process that was killed had not finished writing."""
    folder = runs_dir / FOLDER
    return [*folder.glob(f"{population}.new"), *folder.glob(f".{population}.new*")]
