"""A disk that fills up at any moment: one line, status 2, nothing old is harmed, and with space again it goes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.committed import ROOT
from tests.faults.command import Ended, posgen
from tests.faults.injection import Fault
from tests.faults.numbers import differences, litter, numbers
from tests.faults.repeated import Repeated, undisturbed
from tests.faults.scenes import GENERATE, HOW, REPORT, SWEEP, TABLE1, TRAIN, evaluate, workplace

STATE = re.compile(r"runs/\.states/[0-9a-f-]+\.pt")
GIVEN_BACK = re.compile(r"rename .*/\.lease-\d+\.free")
COMPLAINT = re.compile(r"posgen: error: .*[nN]o space left.*")
STAGES = {
    "data": r"mkdir results/data/\.",
    "a run folder": r"open .*/\.lock",
    "a state": r"fsync .*\.states/",
    "weights": r"fsync .*/\.weights-",
    "an outcome": r"fsync .*/\.history\.json",
    "records": r"fsync .*records\.jsonl",
}


def complaint(ended: Ended) -> str:
    """Its one line, or all that it said where that is not one line."""
    lines = [line for line in ended.err.splitlines() if line.startswith("posgen: error: ")]
    return lines[0] if len(lines) == 1 and "Traceback" not in ended.err else ended.err


def full(repeated: Repeated, fault: Fault) -> list[str]:
    """The disk is full, then it is not: what is wrong in between."""
    folder = repeated.folder()
    wrong = once(repeated, folder, fault)
    if repeated.before is not None:
        before, after = numbers(repeated.before / "results"), numbers(folder / "results")
        wrong += [f"{fault}: {path} is harmed" for path in before if before[path] != after.get(path)]
    repeated.again(folder, str(fault))
    return wrong


def once(repeated: Repeated, folder: Path, fault: Fault) -> list[str]:
    """The disk is full: what is not told as it should be, or left there by a process that lives on."""
    ended = posgen(folder, *repeated.command, fault=fault, **repeated.how)
    wrong = []
    if ended.status != 2 or not COMPLAINT.fullmatch(complaint(ended)):
        wrong.append(f"{fault}: status {ended.status}: {ended.err[-400:]}")
    left = litter(folder / "results", repeated.command[0] == "evaluate")
    return wrong + [f"{fault}: {path} is left" for path in left if not STATE.fullmatch(path)]


def test_at_every_stage(place: Path, clean: Path) -> None:
    """One stage after another on one folder: each time a little is done before there is no space again."""
    sweep, wrong = Repeated(place, SWEEP, numbers(clean / "results"), HOW), []
    folder = sweep.folder()
    for pattern in STAGES.values():
        wrong += once(sweep, folder, Fault("full", 1, pattern))
    # One write fails and the next do not: the reason that the runs then state goes with a later call.
    wrong += once(sweep, folder, Fault("once", 1, r"rename .*/history\.json"))
    sweep.again(folder, "all of them")
    assert (wrong, sweep.wrong) == ([], [])


@pytest.mark.slow
def test_what_measures_and_draws_leaves_the_old(place: Path, clean: Path) -> None:
    for command, pattern in ((evaluate(clean), r"fsync .*records\.jsonl"), (TABLE1, r"fsync .*\.csv")):
        repeated, _ = undisturbed(place, command, clean)
        assert (full(repeated, Fault("full", 1, pattern)), repeated.wrong) == ([], []), command


@pytest.mark.slow
def test_within_a_write_of_a_library(place: Path, clean: Path) -> None:
    """What pyarrow and torch write is cut by a limit of the system."""
    sweep = Repeated(place, SWEEP, numbers(clean / "results"), HOW)
    folder = sweep.folder()
    for size in (500, 150_000):  # within a parquet file, within the states
        ended = posgen(folder, *SWEEP, fault=Fault("full", bytes=size), **HOW)
        assert ended.status == 2, ended
        assert re.fullmatch(r"posgen: error: .*File too large.*", complaint(ended))
        assert not [path for path in litter(folder / "results") if not STATE.fullmatch(path)]
    sweep.again(folder, "limits")
    assert sweep.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "once"])
@pytest.mark.parametrize("verb", ["sweep", "generate", "train", "evaluate", "table1", "report"])
def test_at_every_write_event(place: Path, clean: Path, verb: str, kind: str) -> None:
    commands: dict[str, tuple[tuple[str, ...], Path | None, dict[str, Any]]] = {
        "sweep": (SWEEP, None, HOW),
        "generate": (GENERATE, None, {}),
        "train": (TRAIN, None, {"save_every": 1}),
        "evaluate": (evaluate(clean), clean, {}),
        "table1": (TABLE1, clean, {}),
        "report": (REPORT, clean, {}),
    }
    command, before, how = commands[verb]
    repeated, ended = undisturbed(place, command, before, **how)
    # What gives space back cannot fail for want of it. Renaming works on a full disk, but may be refused by itself.
    counted = enumerate(ended.events, start=1)
    calls = ("rename",) if kind == "once" else ("open", "mkdir", "fsync")
    # A lease that cannot be given back is one whose holder is gone: others see it by themselves.
    events = [number for number, text in counted if text.startswith(calls) and not GIVEN_BACK.fullmatch(text)]
    wrong = [line for number in events for line in full(repeated, Fault(kind, number))]
    said = "from" if kind == "full" else "at"
    print(f"\nfaults: {verb}: no space {said} each of {len(events)} write events on, {len(wrong)} not told as they "
          f"should be, {len(repeated.wrong)} not equal after the rerun")  # fmt: skip
    assert (wrong, repeated.wrong) == ([], [])


@pytest.mark.slow
def test_a_real_disk_that_is_too_small(place: Path, clean: Path) -> None:
    """A file system in memory, of few bytes or few files, made larger for the second try. Few bytes are told before
    anything is written; for how many files there is room nobody asks, so that space ends at any moment."""
    script = place / "small_disk.sh"
    script.write_text(
        'set -e; mount -t tmpfs -o "$1" tmpfs "$2"; cp broken.py "$2"; cd "$2"; shift 2\n'
        'set +e; "$@" > "$OUT/out" 2> "$OUT/err"; echo $? > "$OUT/status"; find results > "$OUT/files"\n'
        'mount -o remount,size=64m,nr_inodes=100000 .; "$@" > "$OUT/again" 2>&1 || exit 1; cp -r results "$OUT"\n'
    )
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own")
    expected, statuses = numbers(clean / "results"), []
    disk = place / "disk"
    disk.mkdir()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    sizes = [f"size={size}k" for size in (16, 400, 900)] + [f"size=64m,nr_inodes={n}" for n in range(4, 94, 5)]
    for number, size in enumerate(sizes):
        out = workplace(place / f"disk-{number}")
        subprocess.run(
            ["unshare", "-rm", "sh", str(script), size, str(disk), sys.executable, "-m", "posgen", *SWEEP],
            cwd=out, check=True, env={**environment, "OUT": str(out)},
        )  # fmt: skip
        status = int((out / "status").read_text())
        statuses.append(status)
        err = (out / "err").read_text()
        assert status in (0, 2), err
        assert "Traceback" not in err
        told = "o space left" if "inodes" in size else "MiB are free"
        assert status == 0 or told in err, err
        assert not re.search(r"\.tmp|\.new", (out / "files").read_text())
        assert differences(numbers(out / "results"), expected) == []
        assert litter(out / "results") == []
        shutil.rmtree(out)
    print(f"\nfaults: sweep: {statuses.count(2)} disks too small: all told, all equal once there was space")
    assert statuses[:3] == [2, 2, 2]
    assert statuses.count(2) > 10
