"""Folders that a process has for itself: claimed by a lock of the machine, then by a lease that all machines see.

The lock (flock) dies with its process and cannot be taken from a living one, but shared file systems often do not carry
it to other machines. The lease (eval.store.leases) does reach them, and may be taken from a process that is silent.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from eval.store.leases import Lease

_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class ClaimLostError(Exception):
    """Another process has taken over what this one was at work on; nothing more may be written there."""


class Claim:
    """A folder for this process alone: its lock, then its lease."""

    def __init__(self, folder: Path, lock: str) -> None:
        self.lease = Lease(folder)
        self._file = folder / lock
        self._lock: BaseFileLock | None = None
        self._locked_out = False
        self.held = False

    def take(self) -> bool:
        """Whether the folder is this process's now. OSError where it cannot be written."""
        if not self.held and self._locked():
            try:
                self.held = self.lease.take()
            finally:
                if not self.held:
                    self._unlock()
        return self.held

    def available(self) -> bool:
        """Whether `take` would succeed now."""
        self._locked_out = not self._locked()
        if self._locked_out:
            return False
        self._unlock()
        return self.lease.available()

    def alive_since(self, moment: float) -> bool:
        """Whether `available`, asked several times, has found that somebody lives who has the folder: the lock says so
        at once, a lease by a sign of life after `moment` (time.monotonic)."""
        return self._locked_out or self.lease.stirred_since(moment)

    def release(self) -> None:
        if self.held:
            self.lease.release()
            self._unlock()
            self.held = False

    def _locked(self) -> bool:
        lock = FileLock(self._file, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except NotImplementedError:
            return True  # no flock here: the lease has to do
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            return True
        self._lock = lock
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


@contextmanager
def writing(lock: Path, timeout: float) -> Iterator[None]:
    """The folder of `lock` for this process alone, for the moment that a write takes; waits for others, and raises
    filelock.Timeout after `timeout` seconds.

    By lock and lease, as a run folder: of two machines only one may append to a file of records, or lines would be cut.
    """
    claim, end = Claim(lock.parent, lock.name), time.monotonic() + timeout
    while not claim.take():
        if time.monotonic() > end:
            raise Timeout(str(lock))
        time.sleep(0.02)
    try:
        yield
    finally:
        claim.release()
