"""Leases: who is at work on a folder, for every machine that sees the folder.

A lease is a file. `.lease-000000007` is the seventh lease of its folder and
names its holder; the highest number counts. Whoever takes the folder creates the next number, which only one can do, so
that two who find the same dead holder never both succeed, and a live holder's file is never moved. Numbers only grow
and a lease that is given back stays as a file that says so: a holder that was away for long finds a higher number and
knows that it has lost.

A holder shows that it lives by touching its file every `BEAT` seconds. Others watch the file for change, on their own
clock: what the clocks of two machines say is never compared. A holder that died on this machine is known at once.

(filelock has a lease too, but its version 4.2 takes none over where a file system cannot exchange two names, NFS among
them; and there a dead worker's work would stay undone.)
"""

from __future__ import annotations

import errno
import functools
import os
import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

BEAT = 10.0
"""Seconds between two signs of life."""
LIMIT = 60.0
"""Seconds without one after which a lease may be taken over; each lease says its own."""
LEASE = ".lease-"
"""What the name of a lease's file begins with."""
_BESIDE = ".lease."
"""What the name of a file begins with that is about to become one."""
_NAME = re.compile(re.escape(LEASE) + r"(\d{9})(\.free)?")
# By folder: the last sign of life of somebody's lease, and since when, on this process's clock, it stands unchanged.
_SEEN: dict[str, tuple[object, float]] = {}
_NO_LINK = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


class Holder(msgspec.Struct, frozen=True):
    """What a lease says. `machine` and `started` tell a process apart from another of the same number; `limit` is the
    silence in seconds after which the lease may be taken."""

    token: str
    host: str
    machine: str
    pid: int
    started: str
    limit: float

    @property
    def words(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def gone(self) -> bool:
        """Whether it ended for certain: only on the holder's own machine can that be known."""
        return bool(self.machine) and self.machine == machine() and _started(self.pid) != self.started


class Lease:
    """One folder's lease, for one thread to take and give back; a thread of the module keeps it alive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lost = False
        self._number = 0  # of the lease that this object holds
        self._holder: Holder | None = None

    def take(self) -> bool:
        """Take the lease if it is free, its holder is gone, or it has been silent for too long while this process, in
        earlier calls, looked on. OSError where the folder cannot be written."""
        newest, free = self._newest()
        if not free and not self._ended(newest):
            return False
        number, pid = newest + 1, os.getpid()
        holder = Holder(secrets.token_hex(8), socket.gethostname(), machine(), pid, _started(pid), LIMIT)
        if not self._publish(number, holder):
            return False
        # A file system may have shown an old list of the folder: then a higher number stands there already.
        if self._newest() != (number, False):
            self._file(number).unlink(missing_ok=True)
            return False
        self._number, self._holder, self.lost = number, holder, False
        for older, given_back in self._numbers():
            if older < number:
                self._file(older, given_back).unlink(missing_ok=True)
        # Of processes that were killed while they took it. One that is about to take it just now fails, as it would.
        for beside in self.folder.glob(f"{_BESIDE}*.tmp"):
            beside.unlink(missing_ok=True)
        _KEEPER.add(self)
        return True

    def available(self) -> bool:
        """Whether `take` would find the lease free or its holder gone."""
        newest, free = self._newest()
        return free or self._ended(newest)

    def stirred_since(self, moment: float) -> bool:
        """Whether `take` or `available` has seen a sign of life of the holder since then (time.monotonic)."""
        return _SEEN.get(os.path.abspath(self.folder), (None, moment))[1] > moment

    def holds(self) -> bool:
        """Whether this object still has the lease, asked of the file system now. A yes is also a sign of life: it
        stands for `LIMIT` seconds."""
        if self._holder is None:
            return False
        self.beat()
        self.lost = self.lost or self._newest() != (self._number, False)
        return not self.lost

    def beat(self) -> None:
        """Show that the holder lives; `lost` when there is nothing left to show it on."""
        try:
            os.utime(self._file(self._number))
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # the file system is away for a moment; the next beat tells

    def release(self) -> None:
        """Give the lease back, if it is still held."""
        if self._holder is not None:
            _KEEPER.remove(self)
            self._holder = None
            with suppress(OSError):  # taken over: then its file is gone, and nothing is to be given back
                self._file(self._number).rename(self._file(self._number, free=True))

    def holder(self) -> Holder | None:
        """Who has the lease; None where nobody has, or the file cannot be read."""
        newest, free = self._newest()
        read = None if free else self._read(newest)
        return read[0] if read else None

    def _ended(self, number: int) -> bool:
        """Whether the holder of a lease is gone, or has been silent for too long."""
        read = self._read(number)
        if read is None:
            return False  # replaced while it was looked at
        holder, mark = read
        if holder is not None and holder.gone:
            return True
        now, place = time.monotonic(), os.path.abspath(self.folder)
        before, since = _SEEN.get(place, (None, now))
        if before != mark:
            since = now
            _SEEN[place] = (mark, now)
        return now - since >= (holder.limit if holder else LIMIT)

    def _read(self, number: int) -> tuple[Holder | None, object] | None:
        """(holder, what changes with every sign of life); the holder None where the file is damaged."""
        try:
            # Opened, not only looked at: NFS asks its server again when a file is opened, and else shows old times.
            file = os.open(self._file(number), os.O_RDONLY)
        except OSError:
            return None
        try:
            content, mark = os.read(file, 4096), (number, os.fstat(file).st_mtime_ns)
        except OSError:
            return None
        finally:
            os.close(file)
        try:
            return msgspec.json.decode(content, type=Holder), mark
        except msgspec.MsgspecError:
            return None, mark

    def _publish(self, number: int, holder: Holder) -> bool:
        """Create the lease of that number with its content, unless somebody has it."""
        file, beside = self._file(number), self.folder / f"{_BESIDE}{holder.token}.tmp"
        try:
            _write_new(beside, holder)
            os.link(beside, file)
        except OSError as error:
            if error.errno in _NO_LINK:
                return self._publish_unlinked(file, holder)
            # NFS: the answer to a link may be lost, and the repeated request then meets its own first.
            with suppress(FileNotFoundError):
                if error.errno == errno.EEXIST and beside.stat().st_nlink == 2:
                    return True
            if error.errno not in (errno.EEXIST, errno.ENOENT):  # ENOENT: `beside` was taken for litter
                raise
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True

    def _publish_unlinked(self, file: Path, holder: Holder) -> bool:
        try:
            _write_new(file, holder)  # for a moment others see it empty; damaged files are judged by their silence
        except FileExistsError:
            return False
        return True

    def _newest(self) -> tuple[int, bool]:
        """(the highest number, whether that lease was given back)."""
        return max(self._numbers(), default=(0, True))

    def _numbers(self) -> list[tuple[int, bool]]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return [(int(match[1]), bool(match[2])) for match in map(_NAME.fullmatch, names) if match]

    def _file(self, number: int, free: bool = False) -> Path:
        return self.folder / f"{LEASE}{number:09d}{'.free' * free}"


def _write_new(path: Path, holder: Holder) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(file, msgspec.json.encode(holder))
    finally:
        os.close(file)


class _Keeper:
    """The thread that keeps this process's leases alive; it ends with the process."""

    def __init__(self) -> None:
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases.add(lease)
            if self._thread is None or not self._thread.is_alive():  # a forked child has no threads
                self._thread = threading.Thread(target=self._run, name="posgen-leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.discard(lease)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                leases = list(self._leases)
            for lease in leases:
                lease.beat()


_KEEPER = _Keeper()


@functools.cache
def machine() -> str:
    """What tells this machine, since its last start, and this container apart from others; empty where the system does
    not say, and then no process counts as ended before its lease has run out."""
    try:
        # Processes of another container have other numbers; clones of one virtual machine have one boot id.
        space = os.stat("/proc/self/ns/pid").st_ino
        parts = []
        for file in ("/proc/sys/kernel/random/boot_id", *sorted(map(str, Path("/sys/class/net").glob("*/address")))):
            with open(file, encoding="ascii") as opened:
                parts.append(opened.read().strip())
    except (OSError, UnicodeError):
        return ""
    return " ".join((socket.gethostname(), f"{space:x}", *dict.fromkeys(parts)))


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            status = file.read()
    except OSError:
        return ""
    # The name, in brackets, may hold anything; the 20th field behind it is the start.
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
