"""What trainings leave on disk to go on from, in an order in which a process killed between two steps does no harm: the
same command goes on in the same populations, from states of one step, and removes what the killed one left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.measuring.planned import PlannedMember
from eval.store import states
from eval.store.runs import DONE, Run
from models.training import Best, Progress
from posgen import leftovers
from posgen.errors import UserError

Started = tuple[PlannedMember, Run, dict[str, Any] | None]
"""A member, its folder, and the state that it goes on from, None at its beginning."""


def move_states(group: Sequence[Started], runs_dir: Path) -> None:
    """Let the members' states be those of this population from here on: first the file with all their states, then each
    member's word on where its state is, then the files that nobody goes on from are gone."""
    name = states.population_of([member.spec.run_id for member, _, _ in group])
    begun = {member.spec.run_id: state for member, _, state in group if state is not None}
    for _, folder, _ in group:
        folder.check_claim()
    with states.moving(runs_dir):
        elsewhere = any(folder.info().get("population") != name for _, folder, _ in group)
        if not begun:
            states.remove(runs_dir, name)  # of a training that was forgotten
        elif elsewhere or not states.load(runs_dir, name):
            states.save(runs_dir, name, begun)
        for _, folder, _ in group:
            folder.report(population=name)
        _remove_unneeded(runs_dir)


def tidy(runs_dir: Path) -> None:
    """Remove the states that a process left which was killed before it could."""
    if states.populations(runs_dir):
        with states.moving(runs_dir):
            _remove_unneeded(runs_dir)


def clear_unfinished(runs_dir: Path) -> None:
    """Remove the files in the folders of runs that killed processes of this machine left half written: a run that is
    done may have nothing left to do in which they would go."""
    for left in runs_dir.glob("*/.*.tmp"):
        leftovers.remove_abandoned(left)


def _remove_unneeded(runs_dir: Path) -> None:
    left = states.populations(runs_dir)
    for file in runs_dir.glob("*/run.json") if left else ():
        try:
            folder = Run(runs_dir, file.parent.name)
            population = folder.info().get("population")
            # Done, it may be in training again for further test encodings: run.json then says so.
            if population in left and not (folder.done and folder.info().get("status") in DONE):
                left.remove(population)
        except UserError:
            return  # what a damaged file would need is not known
    for population in left:
        states.remove(runs_dir, population)


def lost_state(progress: Progress, steps: int) -> dict[str, Any]:
    """The state of a member that diverged: nothing to go on from, but all that its outcome says."""
    best = {label: {"epoch": b.epoch, "score": b.score, "params": b.params} for label, b in progress.best.items()}
    return {
        "steps": steps,
        "history": progress.history,
        "best": best,
        "seconds": progress.seconds,
        "diverged_at": progress.diverged_at,
    }


def end_lost(members: Sequence[Started]) -> list[tuple[PlannedMember, Run]]:
    """Write the outcomes of members whose states say that they diverged: the process that saved these was killed before
    it could. Returns them."""
    lost = []
    for member, folder, state in members:
        if state is not None and state.get("diverged_at"):
            best = {label: Best(**checkpoint) for label, checkpoint in state["best"].items()}
            progress = Progress(member.spec, 0, list(state["history"]), best, state["diverged_at"], state["seconds"])
            write_outcome(folder, progress, "diverged")
            lost.append((member, folder))
    return lost


def write_outcome(folder: Run, progress: Progress, status: str) -> None:
    """From here on the run is done and never trained again, whatever happens."""
    # history.json, which makes it so, comes last: then run.json already says all that its records need.
    folder.report(
        status=status,
        reason=None,  # why an earlier call ended in an error
        epoch=progress.history[-1]["epoch"] if progress.history else 0,
        diverged_at=progress.diverged_at,
        train_seconds=round(progress.seconds, 3),
    )
    chosen: dict[str, int | None] = {label: best.epoch for label, best in progress.best.items()}
    weights = {label: best.params for label, best in progress.best.items()}
    folder.save_outcome(status, progress.history, chosen, weights)
