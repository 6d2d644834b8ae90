"""Which declaration records were made for: where those of an experiment lie, and whether it is still the same one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from conf.experiments import Experiment
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

FOLDER = "experiments"
"""Below a profile's results: a folder an experiment."""


def folder_of(name: str) -> str:
    """The folder of an experiment's records below a profile's results: `experiments/clip`."""
    return f"{FOLDER}/{name}"


def check_declaration(experiment: Experiment, records: Iterable[AccuracyRecord], place: Path | str) -> None:
    """Raise UserError where records of a `place` were made for another declaration than this, or for none."""
    for record in records:
        declared = record.experiment
        if declared is None or declared.name != experiment.name:
            made = f"experiment {declared.name}" if declared else "no declared experiment"
            raise UserError(f"{place}: holds records of {made}, not of {experiment.name}; name another file or folder")
        if declared.digest != experiment.digest:
            raise UserError(
                f"{place}: its records were made for declaration {declared.digest} of {experiment.name}, and it is "
                f"{experiment.digest} now; restore the declaration as it was, or declare what changed under a new name"
            )
