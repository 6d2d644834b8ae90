"""A command that is disturbed, and then given again: what has to be there afterwards."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.command import Ended, posgen
from tests.faults.injection import Fault
from tests.faults.numbers import differences, litter, made, numbers
from tests.faults.scenes import workplace

_NUMBERS = itertools.count()


def undisturbed(place: Path, command: Sequence[str], before: Path | None = None, **how: Any) -> tuple[Repeated, Ended]:
    """The command run once without any fault, and what to disturb it with."""
    repeated = Repeated(place, command, {}, how, before)
    folder = repeated.folder()
    ended = posgen(folder, *command, **how)
    assert ended.status == 0, ended.err
    repeated.inflicted, repeated.expected = 0, numbers(folder / "results")
    repeated.states = len(_states(folder / "results"))
    shutil.rmtree(folder)
    return repeated, ended


@dataclass
class Repeated:
    """Inflicts faults on a command in folders of its own and compares what the same command makes of each with
    `expected`, the numbers of an undisturbed one. `before`: the folder that it starts from, empty without."""

    place: Path
    command: Sequence[str]
    expected: dict[str, Any]
    how: dict[str, Any] = field(default_factory=dict)
    before: Path | None = None
    inflicted: int = 0
    states: int = 0
    """Files of states that the undisturbed one leaves, to be gone on from; a killed one may leave older ones beside."""
    wrong: list[str] = field(default_factory=list)

    def folder(self) -> Path:
        """A new one, as it is before the command."""
        self.inflicted += 1
        number = next(_NUMBERS)
        folder = self.place / f"{self.command[0]}-{number}"
        if self.before is not None:
            shutil.copytree(self.before, folder)
            return folder
        return workplace(folder)

    def disturb(self, *faults: Fault) -> list[Ended]:
        """One process after another, each with its fault, and at last one without: how they ended."""
        folder, ended = self.folder(), []
        for fault in faults:  # in this order
            ended += [posgen(folder, *self.command, fault=fault, **self.how)]
        ended.append(self.again(folder, ", ".join(map(str, faults))))
        return ended

    def again(self, folder: Path, fault: str) -> Ended:
        """The same command once more, undisturbed; what is not as it should be then is noted in `wrong`."""
        results = folder / "results"
        done = made(results)
        ended = posgen(folder, *self.command, **self.how)
        if ended.status:
            self.wrong.append(f"{fault}: then status {ended.status}: {ended.err[-400:]}")
        self.wrong += [f"{fault}: {path} differs" for path in differences(numbers(results), self.expected)]
        states = _states(results)
        left = [path for path in litter(results, self.command[0] == "evaluate") if path not in states]
        if len(states) < self.states or (states and not self.states):
            left += states
        self.wrong += [f"{fault}: {path} is left" for path in left]
        after = made(results)
        self.wrong += [f"{fault}: {path} is made again" for path in done if after.get(path) != done[path]]
        if not self.wrong:
            shutil.rmtree(folder)
        return ended


def _states(results: Path) -> list[str]:
    found = (results / "runs" / ".states").glob("*")
    return [str(path.relative_to(results)) for path in found if path.suffix in (".pt", ".new")]
