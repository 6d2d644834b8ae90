"""Signals: what is said at once, the status, what is saved, and that the same command ends as an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.command import Command, Ended
from tests.faults.injection import Fault
from tests.faults.numbers import litter, numbers
from tests.faults.repeated import Repeated
from tests.faults.scenes import HOW, SWEEP

SAVING = "posgen: saving after this step; a second signal ends at once, without it"
TESTING = "posgen: ending after these tests; a second signal ends at once, and they are made again"
AT_ONCE = "posgen: ended at once: what was learnt since the last saved state is lost"
RESUMES = "posgen: interrupted; the same command resumes"


def said(ended: Ended) -> list[str]:
    """What posgen said by itself, without progress bars."""
    return [line for line in ended.err.splitlines() if line.startswith("posgen: ")]


@pytest.fixture
def sweep(place: Path, clean: Path) -> Repeated:
    return Repeated(place, SWEEP, numbers(clean / "results"), HOW)


def test_one_saves_and_ends(sweep: Repeated) -> None:
    """Each while a process saves its first states, one after another on one folder."""
    folder = sweep.folder()
    for name, status in (("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)):
        ended = Command(folder, *SWEEP, fault=Fault(name, 1, r"fsync .*\.states/"), **HOW).wait()
        assert (ended.status, said(ended)) == (status, [SAVING, RESUMES])
        assert not [path for path in litter(folder / "results") if not path.endswith(".pt")]
    sweep.again(folder, "a signal each")
    assert sweep.wrong == []


@pytest.mark.slow
def test_a_second_one_ends_at_once(sweep: Repeated) -> None:
    """Within the saving of states: the ones before, which know of the divergence, are gone on from."""
    folder = sweep.folder()
    for name, status, nth in (("SIGTERM", 143, 3), ("SIGINT", 130, 1)):
        twice = Fault(name, nth, r"(fsync|rename) .*\.states/.*\.new", times=2)
        ended = Command(folder, *SWEEP, fault=twice, **HOW).wait()
        assert (ended.status, said(ended)[:2]) == (status, [SAVING, AT_ONCE])
        assert not [path for path in litter(folder / "results") if not path.endswith(".pt")]
    sweep.again(folder, "two signals each")
    assert sweep.wrong == []


def test_while_the_last_tests_run_there_is_nothing_to_resume(sweep: Repeated) -> None:
    opened = r"open .*records\.jsonl"
    folder = sweep.folder()
    ended = Command(folder, *SWEEP, fault=Fault("SIGTERM", 4, opened), **HOW).wait()
    assert (ended.status, said(ended)) == (0, [TESTING])
    assert "3 trained and measured" in ended.out
    sweep.again(folder, "SIGTERM at the last test")
    folder = sweep.folder()
    ended = Command(folder, *SWEEP, fault=Fault("SIGTERM", 2, opened), **HOW).wait()  # a population is still to come
    assert (ended.status, said(ended)) == (143, [TESTING, RESUMES])
    sweep.again(folder, "SIGTERM at the first test")
    assert sweep.wrong == []


@pytest.mark.slow
def test_at_random_moments(sweep: Repeated) -> None:
    """From outside, whatever it does at that moment: planning, data, training, testing."""
    chance, came = random.Random(5549), 0
    began = time.monotonic()
    Command(sweep.folder(), *SWEEP, **HOW).wait()
    lasts = time.monotonic() - began
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    for number in range(30):
        folder, sent = sweep.folder(), signals[number % 3]
        command = Command(folder, *SWEEP, **HOW)
        time.sleep(chance.uniform(0.05, 1.0) * lasts)
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(command.pid, sent)
        ended = command.wait()
        came += ended.status != 0
        assert ended.status in (0, 128 + sent), ended
        sweep.again(folder, f"{sent.name} number {number}")
    equal = 30 - len({line.partition(":")[0] for line in sweep.wrong})
    print(f"\nfaults: sweep: {came} signals at random moments (of 30, the others came too late): {equal} of 30 equal")
    assert sweep.wrong == []
