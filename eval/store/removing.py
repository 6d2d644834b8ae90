"""Removing files exactly as they were listed: what has changed since, or is in a process's hands by now, stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.store.runs import Run, now
from posgen.errors import UserError


@dataclass(frozen=True)
class Item:
    """Files to remove together, as they were when they were listed: (path, size, time of change, inode). `path` names
    them, `run` is the run whose lock their removal takes, `folder` one that is then empty and goes too; `weights`: they
    are those of a run that stays."""

    kind: str
    why: str
    path: Path
    files: tuple[tuple[Path, int, int, int], ...]
    run: Run | None = None
    folder: Path | None = None
    weights: bool = False

    @property
    def bytes(self) -> int:
        return sum(size for _, size, _, _ in self.files)


def remove(items: Sequence[Item]) -> tuple[list[Item], list[tuple[Path, str]]]:
    """(what was removed, (path, reason) of what was not). What changed since it was listed stays, and so does what a
    process has taken since."""
    removed, kept = [], []
    for item in items:
        try:
            if item.run is not None and not item.run.claim():
                kept.append((item.path, "a process has taken its run since"))
                continue
            try:
                if _changed(item):
                    kept.append((item.path, "it changed since it was listed"))
                    continue
                _unlink(item)
                removed.append(item)
            finally:
                if item.run is not None:
                    item.run.release()
        except (OSError, UserError) as error:
            kept.append((item.path, getattr(error, "strerror", None) or str(error)))
    return removed, kept


def _changed(item: Item) -> bool:
    for file, *before in item.files:
        try:
            at = file.lstat()
        except FileNotFoundError:
            continue
        if [at.st_size, at.st_mtime_ns, at.st_ino] != before:
            return True
    return False


def _unlink(item: Item) -> None:
    if item.weights and item.run is not None:
        item.run.report(weights_removed=now())
    # history.json first: a run that is half removed has no outcome and is trained again.
    for file, *_ in sorted(item.files, key=lambda entry: entry[0].name != "history.json"):
        file.unlink(missing_ok=True)
    if item.folder is not None:
        item.folder.rmdir()
