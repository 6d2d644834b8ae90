"""`posgen work`: take posted chunks of sweeps, on any machine that sees the results folder."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cli.shared.options import CodeOption, DeviceOption, ThreadsOption


def work(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The results folder, as this machine sees it.")
    ] = Path("results"),
    max_chunks: Annotated[
        int | None,
        typer.Option("--max-chunks", metavar="N", help="Stop after so many chunks. [default: all]", show_default=False),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="When none is left, wait for further ones until a signal comes.")
    ] = False,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    any_source: Annotated[
        bool, typer.Option("--any-source", help="Work on what was posted by other code than this machine's, too.")
    ] = False,
    code: CodeOption = None,
) -> None:
    """Take chunks of posted sweeps and train them, until none is left.

    `posgen sweep backend=post` posts a sweep in results/queue. Start as many workers as you like, on any machines that
    see the folder: each chunk is done once, and a dead worker's is taken over after a minute. SIGTERM saves the state
    and lets go of the chunk (exit status 143); any worker goes on from there. Records are those of the sweep, as if it
    had run in one process.

    \b
    posgen sweep --profile quick backend=post
    posgen work
    posgen work results --device cuda --max-chunks 1
    """
    from conf.overrides import numbers
    from eval.running.job import check_device
    from eval.running.posted import FOLDER
    from eval.running.work import work as take_chunks
    from posgen.errors import BadValue, UserError, require
    from posgen.own_code import trust

    if not folder.is_dir():
        raise BadValue("FOLDER", folder, "there is no such folder; name the results folder that a sweep was posted in")
    require(max_chunks is None or max_chunks >= 1, "max-chunks", max_chunks, "use at least 1")
    threads_each = None
    if threads is not None:
        threads_each = (numbers("threads", threads) or [0])[0]
        require(1 <= threads_each <= 1024, "threads", threads, "use 1 to 1024")
    check_device(device or "cpu")
    trust(*(code or ()))
    signal.signal(signal.SIGTERM, _end)
    done = take_chunks(folder, device or "cpu", threads_each, max_chunks=max_chunks, wait=wait, any_source=any_source)
    outcome = done.outcome
    if outcome.signal is not None:
        print("posgen: interrupted; any worker goes on from here", file=sys.stderr)
        raise typer.Exit(128 + outcome.signal)
    if done.refused and not done.chunks:
        raise UserError(next(iter(done.refused.values())))
    if not done.chunks and not done.elsewhere:
        print(f"nothing is posted in {folder / FOLDER}; `posgen sweep backend=post` posts a sweep")
        return
    trained, diverged = len(outcome.finished) + len(outcome.stopped), len(outcome.diverged)
    print(
        f"{done.chunks} chunks done: {trained} trained and measured, {len(outcome.remeasured)} measured again, "
        f"{diverged} diverged" + f"; {done.elsewhere} chunks are in other workers' hands" * bool(done.elsewhere)
    )


def _end(signum: int, frame: FrameType | None) -> None:
    """Before and between trainings, where there is nothing to save: unwind, so that claims are given back."""
    raise SystemExit(128 + signum)
