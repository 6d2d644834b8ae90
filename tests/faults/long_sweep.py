"""An unattended sweep with a fault every few minutes, beside one that nothing disturbs: do they end equal?

    python -m tests.faults.long_sweep --minutes 60 --every 180

Both run at the same time with one thread each. How many epochs fill the time is measured first. Prints a table of the
faults and what came of them; exit status 1 unless the results are equal to the last bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from eval.store import states
from tests.committed import ROOT
from tests.faults.injection import Fault
from tests.faults.numbers import differences, litter, made, numbers

SWEEP = (
    "sweep", "--profile", "quick", "--task", "cot,semi_recursive", "--pe", "rope,yarn", "--seed", "1,2,3",
    "--protocol", "paper,paper+layers=1", "--threads", "1", "tracker=none", "save_seconds=15",
)  # fmt: skip
"""24 trainings in two populations."""
_INJECTED = (
    "import sys; from tests.faults.injection import Fault, Injection; "
    "Injection(eval(sys.argv.pop(1)), None).install(); from cli.main import main; main()"
)


@dataclass
class Disturbed:
    """The sweep that is disturbed: its processes, and a row for each fault."""

    folder: Path
    command: tuple[str, ...]
    chance: random.Random
    began: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    done: dict[str, tuple[int, int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def start(self, fault: Fault | None = None) -> subprocess.Popen[str]:
        """A process, with a fault that it will inflict on itself."""
        return start(self.folder, self.command, fault)

    def ended(self, process: subprocess.Popen[str], fault: str, expected: int, said: str = "") -> None:
        """Wait for a process after a fault; note its status, and in `wrong` what is not as it should be."""
        try:
            err = process.communicate(timeout=300)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            err = process.communicate()[1] + "\nstill there after 300 s"
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        lines = [line for line in err.splitlines() if line.startswith("posgen: ")]
        # A sweep that had just ended cannot be interrupted any more.
        if status not in (expected, 0) or (status and said not in err) or "Traceback" in err:
            self.wrong.append(f"{fault}: status {status} instead of {expected}: {err[-500:]}")
        self.note(fault, str(status), lines[-1].removeprefix("posgen: ") if lines else "")

    def note(self, fault: str, status: str, said: str) -> None:
        elapsed = time.monotonic() - self.began
        self.rows.append((f"{elapsed / 60:.1f}", fault, status, said.replace(str(self.folder), "")[:100]))
        print("{:>6} min  {:<44} status {:<4} {}".format(*self.rows[-1]), flush=True)
        after = made(self.folder / "results")
        self.wrong += [f"{fault}: {path} was made again" for path, is_ in self.done.items() if after.get(path) != is_]
        self.done = after


def start(folder: Path, command: tuple[str, ...], fault: Fault | None = None) -> subprocess.Popen[str]:
    """`posgen COMMAND` in a folder."""
    python = (sys.executable, "-m", "posgen") if fault is None else (sys.executable, "-c", _INJECTED, repr(fault))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*python, *command],
        cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


Blow = Callable[[Disturbed, "subprocess.Popen[str]"], "subprocess.Popen[str]"]
"""Something done to the sweep while a process works on it: the process that works on it afterwards."""


def killed(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    process.kill()
    sweep.ended(process, "kill -9", 137)
    return sweep.start()


def signalled(name: str, number: int, twice: bool = False) -> Blow:
    def blow(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        process.send_signal(number)
        if twice:
            time.sleep(0.02)
            process.send_signal(number)
        sweep.ended(process, f"{name}{', twice' * twice}", 128 + number)
        return sweep.start()

    return blow


def second(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Another process joins; the one that was there dies, and the other takes over."""
    other = sweep.start()
    time.sleep(20)
    process.kill()
    sweep.ended(process, "a second process joins, the first: kill -9", 137)
    return other


def full(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The next process finds no space when it saves its state."""
    process.kill()
    process.communicate()
    sweep.ended(sweep.start(Fault("full", 1, r"fsync .*\.states/")), "kill -9, then no space for a state", 2, "o space")
    return sweep.start()


def flipped(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """A bit flips in every file of states, of which the next process reads one first: refused, until they are put
    back."""
    process.kill()
    process.communicate()
    files = list((sweep.folder / "results" / "runs" / states.FOLDER).glob("*.pt"))
    if not files:
        sweep.note("kill -9 before the first state", "137", "")
        return sweep.start()
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents, strict=True):
        damaged, bit = bytearray(content), sweep.chance.randrange(8 * len(content))
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
    sweep.ended(sweep.start(), "kill -9, then a bit of the states flips", 2, "does not have its checksum")
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return sweep.start()


def at_outcome(sweep: Disturbed, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The next process dies between two outcomes, if it comes so far before the next fault."""
    process.kill()
    sweep.ended(process, "kill -9; the next dies at its second outcome", 137)
    return sweep.start(Fault("kill", 2, r"rename .*/history\.json"))


def blows() -> Iterator[Blow]:
    """All of them, again and again."""
    return cycle(
        (at_outcome, killed, signalled("SIGTERM", 15), full, second, flipped, signalled("SIGHUP", 1),
         signalled("Ctrl-C", 2), signalled("Ctrl-C", 2, twice=True))
    )  # fmt: skip


def epochs_for(seconds: float, place: Path) -> int:
    """How many epochs of this sweep take so long here, beside another of its kind."""
    times = []
    for epochs in (1, 2):
        folders = [place / f"trial-{epochs}-{i}" for i in range(2)]
        began = time.monotonic()
        for folder in folders:
            folder.mkdir()
        for process in [start(folder, (*SWEEP, f"optim.epochs={epochs}")) for folder in folders]:
            process.communicate()
        times.append(time.monotonic() - began)
        for folder in folders:
            shutil.rmtree(folder)
    return max(3, round((seconds - times[0]) / max(1.0, times[1] - times[0])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the undisturbed sweep should take, about")
    parser.add_argument("--every", type=float, default=180.0, help="seconds from one fault to the next")
    parser.add_argument("--epochs", type=int, help="instead of as many as fill the time")
    parser.add_argument("--seed", type=int, default=5549)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="posgen-long-sweep-"))
    epochs = given.epochs or epochs_for(60 * given.minutes, place)
    command = (*SWEEP, f"optim.epochs={epochs}")
    print(f"posgen {' '.join(command)}\nin {place}; a fault every {given.every:.0f} s", flush=True)
    clean, folder = place / "clean", place / "disturbed"
    for path in (clean, folder):
        path.mkdir()
    undisturbed, sweep = start(clean, command), Disturbed(folder, command, random.Random(given.seed))
    process = sweep.start()
    for blow in blows():
        try:
            process.wait(given.every)
        except subprocess.TimeoutExpired:
            process = blow(sweep, process)
            continue
        if process.returncode == 0:
            break
        # By its own hand, as `at_outcome` arranged.
        sweep.ended(process, "died between two outcomes", 137)
        process = sweep.start()
    sweep.ended(process, "none: it ended", 0)
    undisturbed.communicate()
    expected = numbers(clean / "results")
    different = differences(numbers(folder / "results"), expected)
    sweep.wrong += [f"{path} differs" for path in different]
    sweep.wrong += [f"{path} is left" for path in litter(folder / "results")]
    hours = (time.monotonic() - sweep.began) / 3600
    print("\n| minute | fault | status | it said |\n| ---: | --- | ---: | --- |")
    for row in sweep.rows:
        print(f"| {' | '.join(row)} |")
    print(
        f"\n{len(sweep.rows) - 1} faults in {hours:.2f} h; {len(expected) - len(different)} of {len(expected)} files "
        f"with numbers equal to the undisturbed sweep's, {len(litter(folder / 'results'))} left over"
    )
    print("\n".join(sweep.wrong) or "nothing is wrong")
    if sweep.wrong:
        sys.exit(1)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
