"""What this process may still take of the machine: memory and disk, in bytes. What cannot fit is refused by arithmetic,
before anything is allocated or written."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from posgen.errors import UserError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# Version 1 of control groups writes "no limit" as the largest multiple of a page in 63 bits.
_NO_LIMIT = 2**60

Spec = TypeVar("Spec")


def free_memory() -> int | None:
    """Memory that this process can still take: the least of what the machine has available, what the limits of its
    control groups leave, and what its limit on address space (`ulimit -v`) leaves. None where none of them is told."""
    known = [_available(), *_groups(PROC, CGROUPS), _address_space()]
    return min((room for room in known if room is not None), default=None)


def free_disk(folder: Path) -> int | None:
    """Space that files below `folder` may take, which need not be there yet. None where the system does not say."""
    for place in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def size(count: float) -> str:
    """Bytes in a readable unit: `812 GiB`, `16.2 GiB`, `3.1 MiB`."""
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if count >= 2**power:
            amount = count / 2**power
            return f"{amount:,.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"
    return f"{count / 2**20:.1f} MiB"


def reductions(spec: Spec) -> list[tuple[str, object, Spec]]:
    """(field, its value, the specification with that field smaller) for every number in a dataclass that is larger than
    its default, with the default, and for the others with half of it. What the specification does not take is left out.
    """
    changed: list[tuple[str, object, Spec]] = []
    for field in dataclasses.fields(spec):  # type: ignore[arg-type]
        value, default = getattr(spec, field.name), field.default
        if type(value) is not int or field.name == "seed" or value < 2:
            continue
        smaller = default if type(default) is int and default < value else value // 2
        with contextlib.suppress(UserError):
            changed.append((field.name, value, dataclasses.replace(spec, **{field.name: smaller})))  # type: ignore[type-var]
    return changed


def dominant(need: Callable[[Spec], float], changed: Iterable[tuple[str, object, Spec]]) -> tuple[str, object]:
    """(field, value) of the one of these reductions that lowers `need` the most."""
    return min((need(smaller), at, key, value) for at, (key, value, smaller) in enumerate(changed))[2:]


def _available() -> int | None:
    return _number_after(PROC / "meminfo", "MemAvailable:", 1024)


def _address_space() -> int | None:
    if resource is None:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int((PROC / "self" / "statm").read_text().split()[0])
        return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return limit


def _groups(proc: Path, root: Path) -> Iterator[int]:
    """What the limit of each control group of this process leaves, of either version."""
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                top, names = root, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            group = top / path.lstrip("/")
            # A group is held to the limits of those above it too. In a container the path may be the host's.
            for place in (group, *(p for p in group.parents if p == top or top in p.parents)):
                room = _room(place, *names)
                if room is not None:
                    yield room


def _room(group: Path, limit: str, usage: str, cached: str) -> int | None:
    """Files that were read count as used, but are dropped where memory is wanted."""
    most, used = _number(group / limit), _number(group / usage)
    if most is None or used is None or most >= _NO_LIMIT:
        return None
    return max(0, most - used + (_number_after(group / "memory.stat", cached, 1) or 0))


def _number(file: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        return int(file.read_text())
    return None


def _number_after(file: Path, word: str, unit: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in file.read_text().splitlines():
            if line.split(maxsplit=1)[0] == word:
                return unit * int(line.split()[1])
    return None
