"""Evaluations side by side in passes that fit: those of one structure together, and ever smaller passes where memory
runs out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from eval.measuring import passes
from eval.measuring.passes import Ticked
from models.memory import ran_out, release
from models.precision import allowed
from models.spec import Precision
from models.workers import parallel

Result = TypeVar("Result")


class Budget:
    """How many tokens one forward pass takes: on a CPU its activations stay near the cache, on a GPU they fill it.
    Where memory runs out the passes are made smaller, for all threads of the process."""

    def __init__(self) -> None:
        self._tokens = dict(passes.WHOLE)
        self._lock = threading.Lock()

    def tokens(self, device: torch.device) -> int:
        return self._tokens[device.type]

    def halve(self, device: torch.device, tried: int) -> None:
        """After a pass of `tried` tokens ran out of memory. Threads that run out together halve once: each names what
        it tried."""
        with self._lock:
            self._tokens[device.type] = min(self._tokens[device.type], max(1, tried // 2))


BUDGET = Budget()


def in_fitting_passes(
    work: Callable[[int, Ticked], Result], smallest: int, precision: Precision, device: torch.device, ticked: Ticked
) -> Result:
    """work(tokens a pass, ticked), again with smaller passes where memory runs out, down to one sequence of `smallest`
    tokens. What an attempt told to `ticked` is taken back when it is made again."""
    while True:
        size, watched = BUDGET.tokens(device), _Watched(ticked)
        try:
            with allowed(precision, device):
                return work(size, watched)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or size <= smallest:
                raise  # one sequence at a time already
        # Outside of `except`: there the traceback would keep the failed pass's tensors alive.
        ticked(-watched.done)  # it is done again
        BUDGET.halve(device, size)
        release(device)


class _Watched:
    """Adds up what is told to `ticked`."""

    def __init__(self, ticked: Ticked) -> None:
        self.ticked, self.done, self._lock = ticked, 0.0, threading.Lock()

    def __call__(self, share: float) -> None:
        with self._lock:
            self.done += share
        self.ticked(share)


def side_by_side(
    run: Callable[[Sequence[int]], Sequence[Result]], structures: Sequence[str], at_once: int, device: torch.device
) -> list[Result]:
    """What `run` gives for each index of `structures`, in order, with at most `at_once` indices a call. Only encodings
    of one structure stack into one pass (a rotation and an attention bias do not)."""
    alike: dict[str, list[int]] = {}
    for i, structure in enumerate(structures):
        alike.setdefault(structure, []).append(i)
    parts = [indices[i : i + at_once] for indices in alike.values() for i in range(0, len(indices), at_once)]
    done = parallel(run, parts, device)
    by_index = dict(zip((i for part in parts for i in part), (r for results in done for r in results), strict=True))
    return [by_index[i] for i in range(len(structures))]
