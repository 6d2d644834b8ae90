"""What of the working files nobody needs any more, each with the reason; eval.store.removing removes it.

Looked at are run folders, states and data sets, never a record, and never through a link: a folder that is one is left
alone, as is whatever a process has, git tracks or cannot be read. In doubt a file is kept, and why is told.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.store import states
from eval.store.in_use import RunSeen, in_records, look, stale_data
from eval.store.locks import alive
from eval.store.removing import Item
from eval.store.runs import is_run_id
from posgen import leftovers, manifest
from posgen.errors import UserError
from posgen.splits import SPLITS

KINDS = ("states", "weights", "data")
_RECENT = 3600.0  # seconds; what is younger may be in the middle of being written, perhaps on another machine
_DATA = re.compile(r"\w[\w.+-]*-[0-9a-f]{12}")
_DATA_FILES = {manifest.FILE, *(f"{split}.parquet" for split in SPLITS)}
_OF_RUN = re.compile(r"history\.json|run\.json|spec\.json|config\.yaml|state\.pt|weights-.+\.safetensors|\..+\.tmp")
_WEIGHTS = re.compile(r"weights-(.+)\.safetensors")


@dataclass
class Inventory:
    """What could go, and (path, reason) of what is kept in doubt."""

    items: list[Item] = field(default_factory=list)
    kept: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, kind: str, why: str, path: Path, files: Iterable[Path], **more: object) -> None:
        seen = [(file, file.lstat()) for file in files]
        listed = tuple((file, at.st_size, at.st_mtime_ns, at.st_ino) for file, at in seen)
        self.items.append(Item(kind, why, path, listed, **more))  # type: ignore[arg-type]

    def keep(self, path: Path, why: str) -> None:
        self.kept.append((path, why))


def survey(
    results: Path, runs_dir: Path, data_dir: Path, kinds: Sequence[str] = KINDS, all_weights: bool = False
) -> Inventory:
    """What nobody needs, of these kinds; `all_weights`: also the weights of runs whose numbers are recorded."""
    inventory, runs = Inventory(), [look(path) for path in _folders(runs_dir) if is_run_id(path.name)]
    for seen in runs:
        if seen.problem:
            inventory.keep(seen.run.path, f"unreadable: {seen.problem}")
    if "states" in kinds:
        _states(inventory, runs, runs_dir)
        _left_behind(inventory, results, [runs_dir, data_dir])
    if "weights" in kinds:
        _weights(inventory, runs, results, runs_dir, all_weights)
    if "data" in kinds:
        _data(inventory, runs, data_dir)
    tracked = {file for root in (results, runs_dir, data_dir) for file in _tracked(root)}
    for item in list(inventory.items):
        if any(file.resolve() in tracked for file, *_ in item.files):
            inventory.items.remove(item)
            inventory.keep(item.path, "git tracks it")
    return inventory


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{root} cannot be read ({error.strerror}): let this user read it") from None


def _files(folder: Path) -> list[Path]:
    """Its regular files; none where the folder is a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def _recent(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime < _RECENT


def _abandoned(left: leftovers.Leftover) -> bool:
    """Whether the process that wrote it lives no more, as far as this machine can know."""
    return left.machine not in (None, leftovers.machine()) or not alive(left.process)


def _tracked(root: Path) -> Iterator[Path]:
    try:
        call = ["git", "-C", str(root), "ls-files", "-z"]
        names = subprocess.run(call, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return
    yield from (root.resolve() / os.fsdecode(name) for name in names.split(b"\0") if name)


def _states(inventory: Inventory, runs: Sequence[RunSeen], runs_dir: Path) -> None:
    folder, held = runs_dir / states.FOLDER, any(seen.held for seen in runs)
    if folder.is_symlink():
        inventory.keep(folder, "is a link")
    needed = {seen.info["population"] for seen in runs if not seen.done and seen.info.get("population")}
    unknown = [seen.run.run_id for seen in runs if seen.problem]
    newest: dict[str, Path] = {}
    for file in _files(folder):
        if population := states.population_in(file.name):
            newest[population] = file  # names rise with the steps
    for file in _files(folder):
        population = states.population_in(file.name)
        if population is not None and population in needed and newest[population] == file:
            continue
        if not population and not file.name.endswith((".new", ".tmp")):
            continue  # nobody here wrote it
        if held and _recent(file):
            inventory.keep(file, "a training is running, and it is new")
        elif population and population not in needed and unknown:
            inventory.keep(file, f"run {unknown[0]} is unreadable and may go on from it")
        elif population in needed:
            inventory.add("states", "states that a newer one replaces", file, [file])
        elif population:
            inventory.add("states", "states that no unfinished run goes on from", file, [file])
        else:
            inventory.add("states", "files that killed processes left half written", file, [file])
    for seen in runs:
        if seen.free:
            for file in _files(seen.run.path):
                if file.name == "state.pt" and seen.done:
                    inventory.add("states", "states that no unfinished run goes on from", file, [file], run=seen.run)
                elif leftovers.parse(file.name):
                    why = "files that killed processes left half written"
                    inventory.add("states", why, file, [file], run=seen.run)


def _left_behind(inventory: Inventory, results: Path, apart: Sequence[Path]) -> None:
    """Half written files in the folders of results."""
    roots = {path.resolve() for path in apart}
    for name, folders, files in os.walk(results):
        folders[:] = [folder for folder in sorted(folders) if (Path(name) / folder).resolve() not in roots]
        for file in (Path(name) / each for each in sorted(files)):
            left = leftovers.parse(file.name)
            if left and not file.is_symlink() and not _recent(file) and _abandoned(left):
                inventory.add("states", "files that killed processes left half written", file, [file])


def _weights(inventory: Inventory, runs: Sequence[RunSeen], results: Path, runs_dir: Path, every: bool) -> None:
    elsewhere = [Path(file) for seen in runs for file in seen.info.get("recorded") or ()]
    named, unreadable, files = in_records([results, runs_dir], elsewhere)
    for seen in runs:
        if not seen.free or not seen.done:
            continue
        run, recorded = seen.run, seen.info.get("recorded")
        listed, weights = seen.weights, [file for file in _files(run.path) if _WEIGHTS.fullmatch(file.name)]
        stray = [file for file in weights if file.name[len("weights-") : -len(".safetensors")] not in listed]
        if run.run_id in named:
            for file in stray:
                inventory.add("weights", "weights that their run's history.json does not list", file, [file], run=run)
            rest = [file for file in weights if file not in stray]
            if every and rest:
                why = "weights of runs whose numbers are recorded; evaluate, lengths and interventions need them"
                inventory.add("weights", why, run.path, rest, run=run, weights=True)
        elif recorded == []:
            inventory.keep(run.path, "trained and not measured yet; the sweep that trained it does that")
        elif unreadable:
            inventory.keep(run.path, f"{unreadable[0]} cannot be read whole and may name it")
        elif recorded is None and not files:
            inventory.keep(run.path, f"there are no records below {results} to look it up in")
        else:
            # Without weights it could be neither measured nor trained, as one that has an outcome: all of it goes.
            own = [file for file in _files(run.path) if _OF_RUN.fullmatch(file.name)]
            inventory.add("weights", "finished runs, with their weights, that no record names", run.path, own, run=run)


def _data(inventory: Inventory, runs: Sequence[RunSeen], data_dir: Path) -> None:
    needed = {seen.data for seen in runs}
    unknown = [seen.run.run_id for seen in runs if seen.problem or seen.data is None]
    held = any(seen.held for seen in runs)
    for folder in _folders(data_dir):
        left = leftovers.parse(folder.name)
        if not _DATA.fullmatch(left.name if left else folder.name):
            continue
        if folder.is_symlink():
            inventory.keep(folder, "is a link")
            continue
        files = sorted(folder.iterdir())
        if strange := [file.name for file in files if file.name not in _DATA_FILES or file not in _files(folder)]:
            inventory.keep(folder, f"holds {strange[0]}, which posgen did not write")
            continue
        if left:
            if not _recent(folder) and _abandoned(left):
                why = "data sets that killed processes left half written"
                inventory.add("data", why, folder, files, folder=folder)
            continue
        try:
            stale = stale_data(folder)
        except UserError as error:
            inventory.keep(folder, f"unreadable: {error}")
            continue
        if not stale and folder.name in needed:
            continue
        if held:
            inventory.keep(folder, "a training is running and may come to need it")
        elif stale:
            inventory.add("data", f"stale data sets: {stale}", folder, files, folder=folder)
        elif unknown:
            inventory.keep(folder, f"run {unknown[0]} is unreadable and may need it")
        else:
            inventory.add("data", "data sets that no run refers to", folder, files, folder=folder)
