"""Where the jobs of a sweep run: the settings of `backend=local`, `slurm`, `ray` and `post`."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from enum import Enum

from posgen.errors import BadValue, require


class BackendKind(Enum):
    """`local`: processes of this machine; `slurm`: jobs of a cluster's queue; `ray`: tasks of a Ray cluster; `post`: a
    list in the results folder, from which `posgen work` takes them."""

    local = "local"
    slurm = "slurm"
    ray = "ray"
    post = "post"


class Executor(Enum):
    """Where submitit starts jobs: with sbatch, or as processes of this machine, to try things out."""

    slurm = "slurm"
    local = "local"


_LOCAL, _SLURM, _RAY = BackendKind.local, BackendKind.slurm, BackendKind.ray
# Which backends have a setting.
_KINDS = {
    **dict.fromkeys(("processes",), (_LOCAL,)),
    **dict.fromkeys(
        ("executor", "partition", "account", "qos", "minutes", "memory_gb", "at_once", "setup", "wait"), (_SLURM,)
    ),
    **dict.fromkeys(("cpus", "gpus"), (_SLURM, _RAY)),
    **dict.fromkeys(("address", "max_retries", "connect_seconds"), (_RAY,)),
}


@dataclass(frozen=True)
class BackendSpec:
    """`processes` share this machine. `cpus`, `gpus` and `memory_gb` are those of one job; `minutes`: its time limit,
    after which it is queued again and goes on; `at_once`: jobs of an array that run side by side; `setup`: lines of
    shell before a job; `wait`: for the jobs to end; `address`: of a Ray cluster, `auto` for the one that this machine
    belongs to, `local` for one of its own; `max_retries`: of a job whose process died; `connect_seconds`: how long to
    try to reach the cluster."""

    kind: BackendKind = _LOCAL
    processes: int = 1
    executor: Executor = Executor.slurm
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    minutes: int = 240
    memory_gb: float = 8.0
    at_once: int = 64
    setup: list[str] = field(default_factory=list)
    wait: bool = True
    cpus: int = 1
    gpus: int = 0
    address: str = "local"
    max_retries: int = 3
    connect_seconds: float = 10.0

    def __post_init__(self) -> None:
        defaults = {f.name: [] if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(self)}
        for key, kinds in _KINDS.items():
            value = getattr(self, key)
            if self.kind not in kinds and value != defaults[key]:
                shown = value.value if isinstance(value, Enum) else value
                names = " or ".join(f"backend={kind.value}" for kind in kinds)
                raise BadValue(key, shown, f"is for {names}, and this is backend={self.kind.value}; leave it out")
        for key, low, high in (
            ("processes", 1, 256), ("minutes", 1, 100_000), ("at_once", 1, 10_000), ("cpus", 1, 1024),
            ("gpus", 0, 64), ("max_retries", 0, 1000),
        ):  # fmt: skip
            require(low <= getattr(self, key) <= high, key, getattr(self, key), f"use {low} to {high}")
        require(0.0 < self.memory_gb <= 1e5, "memory_gb", self.memory_gb, "use 0 < GB <= 100000")
        require(0.0 < self.connect_seconds <= 3600.0, "connect_seconds", self.connect_seconds, "use 0 < s <= 3600")
        address = r"local|auto|(ray://)?[A-Za-z0-9._\[\]:-]+:\d{1,5}"
        remedy = "use local, auto, HOST:PORT or ray://HOST:PORT"
        require(bool(re.fullmatch(address, self.address)), "address", self.address, remedy)
