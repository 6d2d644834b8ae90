"""Leases and claims: one holder at a time, whoever dies, sleeps or shows an old folder."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from eval.store import leases, records
from eval.store.claims import Claim, ClaimLostError
from eval.store.leases import Holder, Lease
from eval.store.runs import Run
from tests.eval.made import synthetic_record

FOREIGN = Holder("0123456789abcdef", "far", "another machine", 1, "1", limit=0.3)


def publish(folder: Path, holder: Holder, number: int = 1) -> Path:
    file = folder / f".lease-{number:09d}"
    file.write_bytes(msgspec.json.encode(holder))
    return file


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_has_it_until_it_is_given_back(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    assert first.take()
    assert not second.take()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    first.release()
    assert files(tmp_path) == [".lease-000000001.free"]
    assert second.holder() is None
    assert second.take()
    assert files(tmp_path) == [".lease-000000002"]
    assert (first.holds(), second.holds()) == (False, True)


def test_a_dead_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    code = "import os, pathlib; from eval.store.leases import Lease; Lease(pathlib.Path('.')).take(); os._exit(0)"
    environment = {**os.environ, "PYTHONPATH": str(Path(leases.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    assert files(tmp_path) == [".lease-000000001"]
    assert Lease(tmp_path).take()


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    me = Holder("0123456789abcdef", "here", leases.machine(), os.getpid(), leases._started(os.getpid()), 60.0)
    publish(tmp_path, me)
    assert not Lease(tmp_path).take()
    publish(tmp_path, msgspec.structs.replace(me, started="1"))
    assert Lease(tmp_path).take()


@pytest.mark.parametrize("clock", [0.0, 1e9, 4e9])
def test_a_silent_holder_of_another_machine_is_replaced_whatever_its_clock_says(tmp_path: Path, clock: float) -> None:
    file = publish(tmp_path, FOREIGN)
    os.utime(file, (clock, clock))
    lease = Lease(tmp_path)
    assert not lease.take()  # never seen before: it may be alive
    time.sleep(0.4)
    os.utime(file, (clock + 10, clock + 10))
    assert not lease.take()  # a sign of life
    assert lease.stirred_since(0.0)
    time.sleep(0.4)
    assert Lease(tmp_path).take()  # what was seen outlives the object that saw it
    assert files(tmp_path) == [".lease-000000002"]


def test_a_holder_that_comes_back_finds_that_it_has_lost(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789ab"
    asleep, taker = Run(tmp_path, folder.name), Lease(folder)
    assert asleep.claim()
    asleep.report(status="running")
    (file,) = folder.glob(".lease-*")
    publish(folder, FOREIGN)  # the same file, as another machine would see it
    while not taker.take():
        time.sleep(0.1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for write in (
        lambda: asleep.report(status="finished"),
        lambda: asleep.save_outcome("finished", [], {}, {}),
        asleep.check_claim,
    ):
        with pytest.raises(ClaimLostError, match=folder.name):
            write()
    asleep.release()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not file.exists()
    assert taker.holds()


def test_a_damaged_lease_counts_as_held_until_it_has_been_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LIMIT", 0.3)
    (tmp_path / ".lease-000000001").write_bytes(b"{")
    lease = Lease(tmp_path)
    assert not lease.take()
    time.sleep(0.4)
    assert lease.take()


@pytest.mark.parametrize("shown", [(0, True), (1, True)])
def test_an_old_list_of_the_folder_gives_nobody_a_second_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: tuple[int, bool]
) -> None:
    """NFS may show a folder as it was a minute ago; creating a name is asked of the server."""
    holder = Lease(tmp_path)
    for _ in range(2):
        assert holder.take()
        holder.release()
    assert holder.take()  # number 3; 1 and 2 are gone
    late, truth = Lease(tmp_path), [shown]
    newest = Lease._newest
    monkeypatch.setattr(late, "_newest", lambda: truth.pop() if truth else newest(late))
    assert not late.take()
    assert holder.holds()
    assert files(tmp_path) == [".lease-000000003"]


def test_what_a_process_left_that_was_killed_while_it_took_the_lease_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".lease.d3b4b838c85030af.tmp"
    left.write_bytes(b"")
    lease = Lease(tmp_path)
    assert lease.take()
    assert [path.name for path in tmp_path.iterdir()] == [".lease-000000001"]


def test_where_there_are_no_links_a_lease_is_still_one_mans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(leases.errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    first = Lease(tmp_path)
    assert first.take()
    assert not Lease(tmp_path).take()
    assert not first._publish(1, FOREIGN)
    assert files(tmp_path) == [".lease-000000001"]


def test_a_living_holder_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(leases, "_KEEPER", leases._Keeper())
    lease = Lease(tmp_path)
    assert lease.take()
    (file,) = tmp_path.glob(".lease-*")
    os.utime(file, (0, 0))
    end = time.monotonic() + 60
    while file.stat().st_mtime == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert file.stat().st_mtime > 0
    file.unlink()
    while not lease.lost and time.monotonic() < end:
        time.sleep(0.01)
    assert lease.lost
    lease.release()


def together(*work: Callable[[], None]) -> None:
    """Threads stand for processes: what they share, a lease does not look at."""
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_there_are_never_two_at_once(tmp_path: Path) -> None:
    """Adds to a number in a file, which loses some when two do it at once."""
    number = tmp_path / "number"
    number.write_text("0")

    def count() -> None:
        lease = Lease(tmp_path)
        for _ in range(25):
            while not lease.take():
                time.sleep(0.001)
            value = int(number.read_text())
            time.sleep(0.001)
            number.write_text(str(value + 1))
            lease.release()

    together(*[count] * 4)
    assert number.read_text() == "100"


def test_of_many_who_find_one_dead_holder_one_takes_over(tmp_path: Path) -> None:
    for name in map(str, range(20)):
        folder, won = tmp_path / name, list[bool]()
        folder.mkdir()
        publish(folder, msgspec.structs.replace(FOREIGN, limit=0.0))
        start = threading.Barrier(6)

        def rush(folder: Path = folder, start: threading.Barrier = start, won: list[bool] = won) -> None:
            start.wait()
            won.append(Lease(folder).take())

        together(*[rush] * 6)
        assert won.count(True) == 1


def test_machines_without_a_common_flock_lose_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claim, "_locked", lambda self: True)
    path = tmp_path / "records.jsonl"

    def append(first: int) -> None:
        for seed in range(first, first + 5):
            records.append(path, [synthetic_record(seed=seed)])

    together(*(functools.partial(append, first) for first in (0, 100, 200)))
    seeds = [record.seed for record in records.load(path)]
    assert sorted(seeds) == [first + n for first in (0, 100, 200) for n in range(5)]
    assert path.read_bytes().count(b'"kind":"accuracy"') == 15


def test_a_folder_without_flock_is_claimed_by_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(leases.errno.ENOLCK, "no locks here")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    first, second = Claim(tmp_path, ".lock"), Claim(tmp_path, ".lock")
    assert first.take()
    assert not second.take()
    first.release()
    assert second.available()
