"""Whether a process, here or on another machine, has a folder, told without touching anything in it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from eval.store.leases import Lease
from eval.store.records import LOCK
from posgen.errors import UserError

_TAKEN = (errno.EACCES, errno.EAGAIN)


def held(folder: Path) -> bool:
    """Whether some process, this one included, has the lock or the lease of a run folder. Makes and writes nothing.

    The lease of a process that died on another machine counts until it was seen silent for as long as it says. For an
    instant it shares the lock, so that a claim just then takes the folder for another's, and looks again later.
    UserError when it cannot be told.
    """
    file = folder / LOCK
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): let this user read it") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return True
        raise UserError(f"{file} cannot be locked ({error.strerror}): keep runs where files can be") from None
    finally:
        os.close(descriptor)  # which lets go of the lock
    return not Lease(folder).available()


def alive(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    if pid <= 0:  # to `kill` these are groups of processes
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
