"""kill -9 at chosen moments: the same command then ends as if nothing had happened."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.command import Command, posgen
from tests.faults.injection import Fault
from tests.faults.numbers import numbers
from tests.faults.repeated import Repeated, undisturbed
from tests.faults.scenes import GENERATE, HOW, REPORT, SWEEP, TABLE1, TRAIN, evaluate


def killed(pattern: str, nth: int = 1) -> Fault:
    return Fault("kill", nth, pattern)


CHOSEN = {
    # One process after another dies, each a little later than the one before.
    "data, the first state, a divergence, the second state": (
        Fault("kill", bytes=500),  # within a parquet file
        killed("rename results/data/cot-"),
        killed(r"rename .*/run\.json", 7),  # some members name their population, others do not yet
        killed(r"rename .*\.states/.*-000000003-.*\.pt"),
        killed(r"rename .*/history\.json"),  # the states know of the divergence, the run does not
        killed(r"remove .*\.states/.*-000000003-.*\.pt"),
    ),
    "the outcomes of the first population, the second one": (
        Fault("kill", bytes=150_000),  # within a file of states
        killed(r"rename .*/weights-"),
        killed(r"rename .*/history\.json", 2),  # after a divergence: one of two outcomes
        killed(r"remove .*\.states/.*-000000008-.*\.pt"),
        killed(r"fsync .*records\.jsonl"),
        killed(r"rename .*/history\.json"),
    ),
}


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(faults, id=name, marks=[pytest.mark.slow] * (name.startswith("the outcomes")))
        for name, faults in CHOSEN.items()
    ],
)
def test_a_sweep_killed_again_and_again_ends_as_an_undisturbed_one(
    place: Path, clean: Path, faults: tuple[Fault, ...]
) -> None:
    sweep = Repeated(place, SWEEP, numbers(clean / "results"), HOW)
    *killed, _ = sweep.disturb(*faults)
    assert sweep.wrong == []
    assert {ended.status for ended in killed} <= {137, 128 + 25}  # SIGKILL, or SIGXFSZ within a write


@pytest.mark.slow
def test_what_measures_and_draws_is_made_anew(place: Path, clean: Path) -> None:
    for command, faults in (
        (GENERATE, (killed("open .*manifest"),)),
        (evaluate(clean), (killed(r"fsync .*records\.jsonl"),)),
        (TABLE1, (killed(r"rename .*\.md"),)),
    ):
        repeated, _ = undisturbed(place, command, clean if command != GENERATE else None)
        first, _ = repeated.disturb(*faults)
        assert (first.status, repeated.wrong) == (137, []), command


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["sweep", "sweep --until 1", "generate", "train", "evaluate", "table1", "report"])
def test_killed_before_every_write_event(place: Path, clean: Path, verb: str) -> None:
    command, before, how = _command(verb, clean)
    repeated, ended = undisturbed(place, command, before, **how)
    for number in range(1, len(ended.events) + 1):
        first, _ = repeated.disturb(Fault("kill", number))
        assert first.status == 137, f"event {number}: {first}"
    equal = repeated.inflicted - len({line.partition(":")[0] for line in repeated.wrong})
    print(f"\nfaults: {verb}: killed before each of {len(ended.events)} write events, {equal} equal after the rerun")
    assert repeated.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("event", [r"rename .*\.states/.*\.pt", r"remove .*\.states/.*\.pt"])
def test_older_states_go_when_a_training_goes_on(place: Path, event: str) -> None:
    """Killed between the steps of saving before `--until`, and then with nothing left to do."""
    folder = Repeated(place, SWEEP, {}).folder()
    until = (*SWEEP, "--until", "1")
    assert posgen(folder, *until, fault=killed(event, 2), **HOW).status == 137
    assert [posgen(folder, *command, **HOW).status for command in (until, SWEEP)] == [0, 0]
    assert [path.suffix for path in (folder / "results/runs/.states").iterdir() if path.suffix in (".pt", ".new")] == []


@pytest.mark.slow
def test_killed_at_random_moments(place: Path, clean: Path) -> None:
    chance = random.Random(5549)
    repeated, late = Repeated(place, SWEEP, numbers(clean / "results"), HOW), 0
    began = time.monotonic()
    undisturbed(place, SWEEP, **HOW)
    lasts = time.monotonic() - began
    for number in range(50):
        folder = repeated.folder()
        for _ in range(2):  # two kills in a row on one folder
            command = Command(folder, *SWEEP, **HOW)
            time.sleep(chance.uniform(0.05, 1.0) * lasts)
            command.process.kill()
            late += command.wait().status != 137
        repeated.again(folder, f"random moments {number}")
    print(f"\nfaults: sweep: killed at {100 - late} random moments, two a sweep, {late} came too late: "
          f"{50 - len(repeated.wrong)} of 50 equal after the rerun")  # fmt: skip
    assert repeated.wrong == []


def _command(verb: str, clean: Path) -> tuple[tuple[str, ...], Path | None, dict[str, Any]]:
    """(the command, the folder that it starts from, how)."""
    return {
        "sweep": (SWEEP, None, HOW),
        "sweep --until 1": ((*SWEEP, "--until", "1"), None, HOW),
        "generate": (GENERATE, None, {}),
        "train": (TRAIN, None, {"save_every": 1}),
        "evaluate": (evaluate(clean), clean, {}),
        "table1": (TABLE1, clean, {}),
        "report": (REPORT, clean, {}),
    }[verb]
