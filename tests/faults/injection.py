"""Faults from within: a process that kills itself, or finds the disk full, at a chosen moment of its writing.

A write event is a call that changes a file below the working folder: opening it to write, fsync, renaming, removing, or
making a folder. Between two of them nothing on disk changes but the content of a file that is open, and `Fault.bytes`
cuts there.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Of an own process, a killed one, or drawn by chance: what differs between two runs of the same command.
_PROCESS = re.compile(r"\.[0-9a-f]{8}-\d+-[0-9a-f]{8}\.tmp")
_FREES = ("remove", "rmdir", "truncate")


@dataclass(frozen=True)
class Fault:
    """What happens to a process, and when.

    kind : "kill" (SIGKILL before the event), "full" (no space left from the event on), "once" (no space for the event
        alone), or a signal's name ("SIGTERM": sent to the process itself before the event)
    nth : of the events whose text `pattern` matches, counted from 1; 0: of no event
    pattern : a regular expression for `<call> <path below the working folder>`
    times : a signal is sent before so many such events, one after another
    bytes : instead of an event, when a file grows to more than this: "kill" ends the process in the middle of that
        write, "full" lets the system refuse it
    """

    kind: str
    nth: int = 0
    pattern: str = ""
    times: int = 1
    bytes: int | None = None


class Injection:
    """Counts the write events of this process, writes them down, and lets the fault happen."""

    def __init__(self, fault: Fault | None, log: Path | None) -> None:
        self.fault, self.root, self.happened = fault, f"{os.getcwd()}{os.sep}", 0
        self.full = self.busy = False
        self.log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def install(self) -> None:
        """From here on to the end of the process."""
        if self.fault is not None and self.fault.bytes is not None:
            # Python ignores SIGXFSZ, so that a write fails; by default it ends the process within the write.
            default = signal.SIG_DFL if self.fault.kind == "kill" else signal.SIG_IGN
            signal.signal(signal.SIGXFSZ, default)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault.bytes, self.fault.bytes))
        sync = os.fsync

        def fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            self.event("fsync", os.readlink(f"/proc/self/fd/{number}"))
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]
        sys.addaudithook(self._audit)

    def _audit(self, name: str, values: tuple[Any, ...]) -> None:
        if self.busy:
            return
        if name == "open":
            path, mode, flags = values
            if flags & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
                self.event("open", path)
        elif name == "os.rename":
            self.event("rename", values[1])
        elif name in ("os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"):
            self.event(name[3:], values[1] if name == "os.link" else values[0])

    def event(self, call: str, path: Any) -> None:
        """One of them is about to happen."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        if not isinstance(path, str | os.PathLike):
            return
        place = os.path.abspath(os.fspath(path))
        if not str(place).startswith(self.root):
            return
        self.busy = True  # what happens below writes as well
        try:
            self._happen(f"{call} {_PROCESS.sub('.PROCESS', str(place)[len(self.root) :])}", call, place)
        finally:
            self.busy = False

    def _happen(self, text: str, call: str, place: Any) -> None:
        if self.log is not None:
            os.write(self.log, f"{text}\n".encode())
        if self.full and call not in (*_FREES, "rename"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        fault = self.fault
        if fault is None or not fault.nth or not re.search(fault.pattern, text):
            return
        self.happened += 1
        if not fault.nth <= self.happened < fault.nth + fault.times:
            return
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind in ("full", "once"):
            self.full = fault.kind == "full"
            if call not in _FREES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        else:
            signal.raise_signal(getattr(signal, fault.kind))
