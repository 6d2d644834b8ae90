"""Where a sweep keeps things and how it computes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from eval.running.tracker import NoTracker, Tracker
from posgen.errors import require


@dataclass(frozen=True)
class RunOptions:
    """Where a sweep keeps things and how it runs. `threads` None: as many as the process may use; `compiled` None:
    where it pays; `until`: the epoch of the whole schedule at which trainings stop, are tested and keep their state."""

    runs_dir: Path
    data_dir: Path
    records_path: Path
    sweep: str
    profile: str
    device: str = "cpu"
    compiled: bool | None = None
    threads: int | None = None
    until: int | None = None
    tracker: Tracker = field(default_factory=NoTracker)
    progress: bool = True
    checkpoint_seconds: float = 60.0


def compiles(device: str, compiled: bool | None) -> bool:
    """Whether torch.compile fuses the step. None: on a GPU; on a CPU half a minute of compiling buys a few percent."""
    return torch.device(device).type == "cuda" if compiled is None else compiled


def set_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None: all processors that this process may use."""
    if threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    require(threads >= 1, "threads", threads, "use at least 1")
    torch.set_num_threads(threads)
