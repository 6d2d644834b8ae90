"""What working files are in use: what run folders refer to, what records name, and which data sets still hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eval.store.locks import held
from eval.store.runs import Run
from posgen import dataset, manifest
from posgen.errors import UserError
from posgen.own_code import is_own
from posgen.plain import restore
from posgen.spec import DataSpec, Task
from posgen.splits import draw


@dataclass(frozen=True)
class RunSeen:
    """A run folder. `held`: by a process; `data`: the name of its data set's folder, empty for a folder without a run,
    None where spec.json does not tell; `weights`: the test encodings whose weights its history lists; `problem`: why it
    cannot be read, empty where it can."""

    run: Run
    held: bool = False
    done: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    weights: tuple[str, ...] = ()
    problem: str = ""

    @property
    def free(self) -> bool:
        """Whether its files may be removed: readable, in no process's hands, and no link."""
        return not (self.held or self.problem or self.run.path.is_symlink())


def look(folder: Path) -> RunSeen:
    """A run folder as it is. Raises nothing."""
    run = Run(folder.parent, folder.name)
    try:
        taken = held(folder)
        done = run.done
        weights = tuple(run.weighted()) if done else ()
        return RunSeen(run, taken, done, run.info(), _data_of(folder), weights)
    except (UserError, OSError) as error:
        return RunSeen(run, problem=" ".join(str(error).split()))


def _data_of(folder: Path) -> str | None:
    """As `RunSeen.data`. Not by `Run.spec`, which refuses what names code and runs of earlier identities."""
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
        return manifest.folder_name(restore(Task, spec["task"]), restore(DataSpec, spec["data"]))
    except FileNotFoundError:
        return None if (folder / "run.json").exists() else ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


class _Line(msgspec.Struct):
    run_id: str | None = None


def in_records(roots: Sequence[Path], files: Iterable[Path]) -> tuple[set[str], list[Path], list[Path]]:
    """(run ids that some record names, files that cannot be read whole, all files) of every records.jsonl below the
    roots and of further `files`; those that are gone name nothing."""
    found = {path.resolve() for path in files if path.is_file()}
    for root in roots:
        found |= {
            Path(name).resolve() / "records.jsonl" for name, _, names in os.walk(root) if "records.jsonl" in names
        }
    named, unreadable = set(), []
    for path in sorted(found):
        try:
            lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
            named |= {run_id for line in lines if (run_id := msgspec.json.decode(line, type=_Line).run_id)}
        except (OSError, msgspec.MsgspecError, RecursionError):
            unreadable.append(path)
    return named, unreadable, sorted(found)


def stale_data(folder: Path) -> str:
    """Why the present generator would not write this data set as it is; empty where it would. UserError when it cannot
    be told: it is damaged, or no data set. A user's own h is not run for this, and so not checked."""
    file = folder / manifest.FILE
    try:
        described = json.loads(file.read_bytes())
        version = described.get("format_version") if described.get("format") == manifest.FORMAT else None
        if version not in (None, manifest.FORMAT_VERSION):
            return f"of format version {version}, and this posgen writes {manifest.FORMAT_VERSION}"
        _, task, data = manifest.read(file)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from None
    if manifest.folder_name(task, data) != folder.name:
        return "their parameters have another identity now"
    loaded = dataset.load(folder)
    if task.is_text:
        return ""  # which files it was cut from is part of its identity, and they may be elsewhere by now
    prefixes = draw(task, data)
    for split, drawn in prefixes.items():
        if not np.array_equal(getattr(loaded, split)[:, : task.drawn_length], drawn):
            return "this posgen draws other seed prefixes"
        if not is_own(task.h) and not dataset.follows(loaded, split):
            return "their sequences do not follow the present rule"
    return ""
