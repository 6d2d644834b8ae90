"""Independent pieces of work side by side on a CPU: one thread a core, each computing on its own.

Members are independent, so each core can compute a member of its own. That needs no synchronisation within an
operation: when another program takes a core for a moment, the others go on, where one operation spread over all cores
would wait.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel(
    function: Callable[[Item], Result], items: Sequence[Item], device: str | torch.device = "cpu"
) -> list[Result]:
    """[function(item) for item in items], in order. Uses torch's number of threads, one item on each at a time.

    With fewer items than threads they run one after another, each operation on all threads. On a GPU, which one item
    fills, they run one after another too.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < threads or torch.device(device).type != "cpu":
        return [function(item) for item in items]
    working = [_pool(threads).submit(function, item) for item in items]
    try:
        wait(working)  # all of them, before an error of one is raised: the caller may then start afresh
    except BaseException:  # Ctrl-C: without this the process would end only when all items are done
        _stopped.set()
        for work in working:
            work.cancel()
        wait(working)
        _stopped.clear()
        raise
    return [work.result() for work in working]


def checkpoint() -> None:
    """Called now and then by items that take long. Raises KeyboardInterrupt once the main thread was interrupted."""
    if _stopped.is_set():
        raise KeyboardInterrupt


_stopped = threading.Event()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    started = threading.Barrier(threads + 1)

    def single() -> None:
        torch.set_num_threads(1)  # for this thread; it changes the process's default too, restored below
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="member")
    for _ in range(threads):
        pool.submit(single)
    started.wait()
    torch.set_num_threads(threads)
    return pool
