"""Where new content is written before it is moved to its place, and how what a killed process left there goes."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

_OWNER = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
# What older versions wrote is still recognised: .NAME.PID.tmp, and of a data set .NAME.MACHINE-PID-DIGITS.
_ANY = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<pid>\d+)(?:-[0-9a-f]{8})?(?:\.tmp)?")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that is not finished: what it was to become, and who writes it. `machine`: None where the name,
    of an older version, does not tell."""

    name: str
    machine: str | None
    process: int


def parse(name: str) -> Leftover | None:
    """What a name as `beside` gives them tells; None for any other."""
    match = _ANY.fullmatch(name)
    if match is None or not (name.endswith(".tmp") or match["machine"]):
        return None
    return Leftover(match["name"], match["machine"], int(match["pid"]))


def beside(path: Path) -> Path:
    """A hidden path beside `path`, whose name says which process of which machine writes there."""
    return path.with_name(f".{path.name}.{machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def clear(path: Path) -> None:
    """Remove what processes of this machine that live no more left `beside` this path. What cannot be removed stays."""
    for left in _beside(path):
        if _OWNER.fullmatch(left.name.removeprefix(f".{path.name}")):
            remove_abandoned(left)


def remove_abandoned(left: Path) -> None:
    """Remove an unfinished file or folder, unless a process lives that writes it, or may live on another machine. Does
    nothing to other names, or where it cannot."""
    owner = parse(left.name)
    if owner and owner.machine == machine() and not _lives(owner.process):
        with contextlib.suppress(OSError):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # a folder that cannot be read: whoever writes there is told
        return list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
    return []


def machine() -> str:
    """What tells this machine in such names: process numbers mean nothing on another that shares the folder."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    if os.name != "posix":  # where signal 0 would not just ask
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, PermissionError):
        pass
    return True
