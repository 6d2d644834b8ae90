"""Writing that is cut off or shared: a kill, a full disk, a torn line and several processes lose no record."""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.running.saving import clear_unfinished
from eval.store import records
from eval.store.kinds import AccuracyRecord
from posgen import leftovers
from posgen.errors import UserError
from tests.eval.made import synthetic_record

SPAWN = multiprocessing.get_context("spawn")
LONG = tuple(0.5 for _ in range(3000))
"""Accuracies by position that make a line longer than any buffer."""


def seeds(path: Path) -> list[int]:
    return [record.seed for record in records.load(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two records of one training."""
    path = tmp_path / "records.jsonl"
    records.append(path, [synthetic_record(seed=seed) for seed in (1, 2)])
    return path


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("new", [synthetic_record(seed=3), synthetic_record(seed=3, accuracy_by_position=LONG)])
def test_an_interruption_between_writing_and_keeping_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, new: AccuracyRecord
) -> None:
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            records.append(path, [new])
    assert path.read_bytes() == before
    records.append(path, [new])
    assert seeds(path) == [1, 2, 3]


def test_an_interruption_of_the_first_write_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            records.append(path, [synthetic_record()])
    assert path.read_bytes() == b""
    records.append(path, [synthetic_record()])
    assert records.load(path) == [synthetic_record()]


def test_a_disk_that_fails_to_keep_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(UserError) as told:
        records.append(path, [synthetic_record(seed=3)])
    remedy = "free some, or name another place with paths.results=DIR"
    assert str(told.value) == f"cannot write {path} (No space left on device): {remedy}"
    assert path.read_bytes() == before


class SmallDisk(io.FileIO):
    """A file on a disk that has room for a number of bytes in all. What is cut off makes room again, as on any disk."""

    room = 0

    def write(self, data: object) -> int:
        given = memoryview(data).cast("B")  # type: ignore[arg-type]
        free = self.room - os.fstat(self.fileno()).st_size
        if free <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(given[:free])


@pytest.mark.parametrize("line", [None, LONG], ids=["short", "long"])
@pytest.mark.parametrize("newline", [True, False], ids=["whole", "no newline"])
def test_a_full_disk_leaves_the_old_file_wherever_it_fills_up(
    path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[float, ...] | None, newline: bool
) -> None:
    if not newline:
        path.write_bytes(path.read_bytes().rstrip())
    before = path.read_bytes()
    new = [synthetic_record(seed=seed, accuracy_by_position=line, config={"model": {"layers": 6}}) for seed in (3, 4)]
    for free in (0, 1, 10, 700, 1500, 2500, 9000, 30_000):
        monkeypatch.setattr(SmallDisk, "room", len(before) + free)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda self, mode: io.BufferedRandom(SmallDisk(self, mode.replace("b", ""))))
            with contextlib.suppress(UserError):
                records.append(path, new)
                break
        assert path.read_bytes() == before, free
    else:
        pytest.fail("no disk was large enough")
    assert free > 700
    assert len(path.read_bytes()) <= len(before) + free
    assert seeds(path) == [1, 2, 3, 4]


def _append_with_little_room(path: Path, room: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room,) * 2)
    with pytest.raises(UserError, match=r"cannot write .* \(File too large\)"):
        records.append(path, [synthetic_record(seed=seed) for seed in range(10, 20)])


def test_what_the_system_refuses_to_write_leaves_the_old_file(path: Path) -> None:
    """The same with a limit of the operating system's own, which cuts a write in the middle."""
    before = path.read_bytes()
    process = SPAWN.Process(target=_append_with_little_room, args=(path, 1000))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert path.read_bytes() == before


def _die_within_a_line(path: Path) -> None:
    def torn(file: io.BufferedRandom, data: bytes) -> None:
        file.write(data[: len(data) - 100])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    records._write = torn
    records.append(path, [synthetic_record(seed=3), synthetic_record(seed=4)])


def test_a_killed_writer_loses_no_earlier_record_and_keeps_nobody_waiting(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = path.read_bytes()
    process = SPAWN.Process(target=_die_within_a_line, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    torn = path.read_bytes()
    assert torn.startswith(before)
    assert seeds(path) == [1, 2, 3]  # of two new ones the first is whole
    assert capsys.readouterr().err == (
        f"posgen: {path} ends within a line: a record is being written, or its writer was killed\n"
    )
    assert path.read_bytes() == torn  # reading changes nothing
    records.append(path, [synthetic_record(seed=5)])
    assert seeds(path) == [1, 2, 3, 5]
    assert capsys.readouterr().err == ""
    assert path.read_bytes().startswith(torn[: torn.rindex(b"\n") + 1])


def test_a_line_torn_at_any_byte_is_left_out_and_removed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = path.read_bytes()
    begins = whole.rindex(b"\n", 0, -1) + 1
    for cut in [*range(begins + 1, len(whole) - 1, 37), len(whole) - 2]:
        path.write_bytes(whole[:cut])
        assert seeds(path) == [1]
        assert "ends within a line" in capsys.readouterr().err
        records.append(path, [synthetic_record(seed=2)])
        assert path.read_bytes() == whole
    assert capsys.readouterr().err == ""


def test_a_torn_training_is_written_again(path: Path) -> None:
    """Its id stands at the front of the torn line, which is removed: the training must not count as known."""
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") - 5])
    assert seeds(path) == []
    records.append(path, [synthetic_record(seed=seed) for seed in (1, 2)])
    assert path.read_bytes() == whole


def test_what_a_power_cut_leaves_is_removed(path: Path) -> None:
    """Some file systems then hold zeros where data were to come."""
    before = path.read_bytes()
    path.write_bytes(before + b"\0" * 100)
    assert seeds(path) == [1, 2]
    records.append(path, [synthetic_record(seed=3)])
    assert path.read_bytes().startswith(before)
    assert seeds(path) == [1, 2, 3]


def test_a_last_line_without_its_end_made_by_hand_is_kept(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()
    path.write_bytes(before.rstrip())
    assert seeds(path) == [1, 2]
    records.append(path, [synthetic_record(seed=3)])
    assert path.read_bytes().startswith(before)
    assert seeds(path) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def _append_one_by_one(path: Path, first: int) -> None:
    for seed in range(first, first + 10):
        records.append(path, [synthetic_record(seed=seed)])


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three writers of one new file, and a reader beside them who sees whole records only."""
    path = tmp_path / "deep" / "records.jsonl"
    processes = [SPAWN.Process(target=_append_one_by_one, args=(path, first)) for first in (0, 100, 200)]
    for process in processes:
        process.start()
    seen = 0
    while any(process.is_alive() for process in processes):
        count = len(records.load_if_there(path))
        assert count >= seen
        seen = count
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    found = seeds(path)
    assert sorted(found) == [first + n for first in (0, 100, 200) for n in range(10)]
    for first in (0, 100, 200):  # each process's own in the order in which it wrote them
        assert [seed for seed in found if first <= seed < first + 100] == list(range(first, first + 10))
    assert path.read_bytes().count(b'"kind":"training"') == 1
    capsys.readouterr()  # the reader may have met a line that was being written


def test_a_writer_that_waits_too_long_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(records, "_WAIT", 0.05)
    before = path.read_bytes()
    with FileLock(path.parent / records.LOCK), pytest.raises(UserError, match="is being written by another process"):
        records.append(path, [synthetic_record(seed=3)])
    assert path.read_bytes() == before


def test_unfinished_files_of_dead_processes_go_from_the_folders_of_runs(tmp_path: Path) -> None:
    """A run that is done may have nothing left to write, so that no later write clears its folder."""
    run = tmp_path / "15da046164eb"
    run.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = leftovers.machine()
    of_the_dead = run / f".run.json.{here}-{ended.pid}-6af10767.tmp"
    kept = [
        run / f".run.json.{here}-{os.getpid()}-6af10767.tmp",  # a process that lives
        run / f".run.json.{'0' * 8}-{ended.pid}-6af10767.tmp",  # of another machine
        run / ".notes.tmp",  # nobody knows whose
    ]
    for file in (of_the_dead, *kept):
        file.write_text("{")
    clear_unfinished(tmp_path)
    assert sorted(run.iterdir()) == sorted(kept)
