"""Two processes on one sweep, one of which is killed: the other does what is left, once."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.command import Command
from tests.faults.injection import Fault
from tests.faults.numbers import numbers
from tests.faults.repeated import Repeated
from tests.faults.scenes import HOW, SWEEP


@pytest.fixture
def sweep(place: Path, clean: Path) -> Repeated:
    return Repeated(place, SWEEP, numbers(clean / "results"), HOW)


def until(command: Command, pattern: str) -> None:
    """Wait for this write event of a process."""
    end = time.monotonic() + 300
    while not command.has_done(pattern):
        assert time.monotonic() < end
        assert command.process.is_alive()
        time.sleep(0.01)


@pytest.mark.parametrize("killed", ["the first", pytest.param("the second", marks=pytest.mark.slow)])
def test_the_other_ends_the_sweep(sweep: Repeated, killed: str) -> None:
    """The first stands still with a population half trained while the second trains the other; then one dies."""
    state, folder = r"rename .*\.states/.*\.pt", sweep.folder()
    first = Command(folder, *SWEEP, fault=Fault("SIGSTOP", 1, state), **HOW)
    until(first, state)
    second = Command(folder, *SWEEP, fault=Fault("kill", 1, state) if killed == "the second" else None, **HOW)
    if killed == "the first":
        until(second, r"remove .*\.states/.*-000000008-")  # it has trained the other population
        first.process.kill()
    else:
        second.process.join(300)
        os.kill(first.pid, signal.SIGCONT)
    assert sorted(command.wait().status for command in (first, second)) == [0, 137]
    sweep.again(folder, killed)
    assert sweep.wrong == []


@pytest.mark.slow
def test_killed_at_random_moments(sweep: Repeated) -> None:
    """Started at the same moment; one is killed, and begun again at once, several times."""
    chance, kills = random.Random(5549), 0
    for number in range(20):
        folder = sweep.folder()
        both = [Command(folder, *SWEEP, **HOW) for _ in range(2)]
        for _ in range(3):
            time.sleep(chance.uniform(0.3, 3.0))
            one = chance.randrange(2)
            both[one].process.kill()
            kills += both[one].wait().status == 137
            both[one] = Command(folder, *SWEEP, **HOW)
        ended = [command.wait() for command in both]
        assert [one.status for one in ended] == [0, 0], ended
        sweep.again(folder, f"pair {number}")
    equal = 20 - len({line.partition(":")[0] for line in sweep.wrong})
    print(f"\nfaults: sweep: 20 pairs of processes, {kills} kills: {equal} of 20 equal")
    assert sweep.wrong == []
