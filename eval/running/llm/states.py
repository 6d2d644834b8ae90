"""States of a fine-tuning on disk: accelerate's files in a folder that is moved to its place whole, with the digest of
each, so that a tuning that was killed goes on bit for bit and a damaged state is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.store import checked
from eval.store.files import checksum
from posgen.errors import UserError, os_error_reason, os_error_remedy

FOLDER = ".tuning"
"""In the folder of the tuned model, until that is whole."""
_FILE = "state.json"
_REMEDY = "delete that folder to go on from the one before it or, where there is none, to start again"


@dataclass(frozen=True)
class State:
    """`step`: optimiser steps done. `losses`: of each of them, nats. `seconds`: spent on them."""

    step: int
    losses: tuple[float, ...]
    seconds: float
    folder: Path


class States:
    """The states below the folder of a tuned model; the newest one counts."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    def any(self) -> bool:
        """Whether there is one."""
        return next(self.folder.glob("step-*"), None) is not None

    def latest(self) -> State | None:
        """The newest state. UserError when it is damaged."""
        found = sorted(self.folder.glob("step-*"), key=lambda path: path.name)
        if not found:
            return None
        place = found[-1]
        shape = dict[str, object]
        content = checked.read(place / _FILE, shape, _REMEDY)
        if content is None:
            raise UserError(f"{place} has no {_FILE}; {_REMEDY}")
        for name, digest in content["files"].items():
            try:
                whole = checksum(place / name) == digest
            except OSError as error:
                raise UserError(f"{place / name} cannot be read ({os_error_reason(error)}); {_REMEDY}") from None
            if not whole:
                raise UserError(f"{place / name} does not have its checksum: it was damaged; {_REMEDY}")
        losses = tuple(float(loss) for loss in content["losses"])
        return State(int(content["step"]), losses, float(content["seconds"]), place)

    def save(
        self,
        step: int,
        losses: list[float],
        seconds: float,
        write: Callable[[Path], None],
        main: bool = True,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        """Let every process `write` its part, then move the whole to its place and remove older states. `main`: whether
        this process is the first of several; `wait`: until all have come so far. UserError when it cannot be written.
        """
        beside, place = self.folder / ".writing", self.folder / f"step-{step:08d}"
        try:
            if main:
                shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
                beside.mkdir(parents=True)
            wait()
            write(beside)
            wait()
            if main:
                files = sorted(path for path in beside.rglob("*") if path.is_file())
                digests = {path.relative_to(beside).as_posix(): checksum(path) for path in files}
                for path in files:
                    _flush(path)
                checked.write(beside / _FILE, {"step": step, "losses": losses, "seconds": seconds, "files": digests})
                shutil.rmtree(place, ignore_errors=True)
                beside.rename(place)
                for older in self.folder.glob("step-*"):
                    if older != place:
                        shutil.rmtree(older, ignore_errors=True)
        except (OSError, RuntimeError) as error:  # torch and safetensors raise their own for a full disk
            reason = os_error_reason(error)
            raise UserError(f"cannot write {beside} ({reason}): {os_error_remedy(error, '--out')}") from None
        wait()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
