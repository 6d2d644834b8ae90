"""`posgen` in processes of its own that can be killed: forked from one that has imported everything, so that each costs
what its command does. They train with one thread, and save their states at fixed steps instead of by the clock."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import sys
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from posgen.plain import digest
from tests.faults.injection import Fault, Injection

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.imported"])


@dataclass(frozen=True)
class Ended:
    """`status` as a shell would say it: 137 for kill -9. `events`: the write events in their order."""

    status: int
    out: str
    err: str
    events: list[str] = field(repr=False, default_factory=list)


class Command:
    """`posgen ARGUMENTS` in `folder`, begun."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        fault: Fault | None = None,
        save_every: int | None = None,
        together: int | None = None,
    ) -> None:
        """`save_every`: steps after which the states are saved; `together`: the most trainings of a population."""
        count = len(list(folder.parent.glob(f"{folder.name}.*.log")))
        self._base = folder.parent / f"{folder.name}.{count}"
        self.process: ForkServerProcess = FORKS.Process(
            target=_run, args=(folder, arguments, fault, self._base, save_every, together)
        )
        self._file("log").touch()
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def has_done(self, pattern: str) -> bool:
        """Whether a write event of it matches so far."""
        return re.search(pattern, self._file("log").read_text()) is not None

    def wait(self, seconds: float = 600.0) -> Ended:
        """Until it has ended. TimeoutError, and it is killed, when it has not by then."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"not ended after {seconds} s: {self._file('err').read_text()}")
        code = self.process.exitcode
        log, out, err = (self._file(kind).read_text() for kind in ("log", "out", "err"))
        return Ended(128 - code if code < 0 else code, out, err, log.splitlines())

    def _file(self, kind: str) -> Path:
        return Path(f"{self._base}.{kind}")


def posgen(folder: Path, *arguments: str, **how: Any) -> Ended:
    """`posgen ARGUMENTS` in `folder`, to its end; `how` as of Command."""
    return Command(folder, *arguments, **how).wait()


def _run(
    folder: Path,
    arguments: tuple[str, ...],
    fault: Fault | None,
    base: Path,
    save_every: int | None,
    together: int | None,
) -> None:
    os.chdir(folder)
    for kind, stream in (("out", sys.stdout), ("err", sys.stderr)):
        file = os.open(f"{base}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
        os.close(file)
    if save_every is not None:
        _save_at_steps(save_every)
    if together is not None:
        from eval.running import populations

        populations.TOGETHER = together
    _plan_once(base.parent)
    from cli.main import main

    Injection(fault, Path(f"{base}.log")).install()
    main(arguments)


def _plan_once(folder: Path) -> None:
    """Keep plans in `folder`: planning writes nothing, takes longer than such a sweep, and is the same every time."""
    from eval.running import request

    plan_sweep = request.plan_sweep

    def planned(choices: request.SweepRequest, *_: Any) -> request.PlannedSweep:
        file = folder / f"{digest(repr(choices))}.plan"
        if not file.exists():
            beside = file.with_suffix(f".{os.getpid()}")
            beside.write_bytes(pickle.dumps(plan_sweep(choices)))
            beside.replace(file)
        plan: request.PlannedSweep = pickle.loads(file.read_bytes())
        return plan

    request.plan_sweep = planned  # type: ignore[assignment]


def _save_at_steps(every: int) -> None:
    """A state by the clock would be another step each time, and a fault could not be repeated."""
    from eval.running.watching import Watch

    stepped = Watch.stepped

    def counted(self: Watch, steps: int, result: Any) -> None:
        stepped(self, steps, result)
        self.due = steps % every == 0 and steps < self.last

    Watch.stepped = counted  # type: ignore[method-assign]
