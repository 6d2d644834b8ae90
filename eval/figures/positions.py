"""Accuracy at every position of the test sequences, from records alone: mean over seeds, lowest and highest seed.

The seed tokens, which are given and not predicted, have no accuracy and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval import names
from eval.cells import Collection
from eval.figures import bands
from eval.figures.bands import Series, seeds_text, series
from eval.figures.panels import differs, labelled
from eval.records import Record


@dataclass(frozen=True)
class Sizes:
    """What the positions of a task are measured against. Lengths in tokens; `step` 2: even and odd positions are
    different problems, because the far token moves on at every second one only."""

    train_length: int
    test_length: int
    modulus: int
    step: int

    @property
    def chance(self) -> float:
        """The accuracy of guessing, a fraction."""
        return 1.0 / self.modulus


def rows(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> list[Series]:
    """The accuracies (fractions) of a protocol by position: one series for every published (task, pe), then any other
    that was measured."""
    return [
        series(Series, (protocol, *place), collection.cell(protocol, *place), _by_position)
        for place in collection.rows(published)
    ]


def sizes(collection: Collection, protocol: str) -> dict[str, Sizes]:
    """Task -> its sizes, for the tasks that a protocol measured."""
    found = {}
    for record in collection.records(protocol):
        task = record["config"]["task"]
        step = 2 if task.get("rule") == "semi_recursive" else 1
        found[record["task"]] = Sizes(record["train_length"], record["length"], task["modulus"], step)
    return found


def caption(collection: Collection, found: Sequence[Series]) -> str:
    """What belongs under the picture of one protocol."""
    protocol = found[0].protocol
    measured = sizes(collection, protocol)
    lengths = sorted({(one.train_length, one.test_length) for one in measured.values()})
    trained = " and ".join(f"0 to {train - 1} were trained on, up to {test - 1} are tested" for train, test in lengths)
    parted = [names.task(task) for task, one in measured.items() if one.step == 2]
    problems = f" On {' and '.join(parted)} even and odd positions are joined apart: two different problems."
    joined = problems if parted else ""
    return (
        f"Accuracy (share of right tokens, {collection.accuracy_mode.replace('_', '-')}) at every position after the "
        f"seed tokens. Positions {trained}. Protocol {names.protocol(protocol)}. Profile {labelled(collection)}, "
        f"{seeds_text(found)}: line = mean, band = lowest to highest seed.{joined} {differs(collection)}"
    )


def tidy_csv(found: Sequence[Series]) -> str:
    """The numbers behind the picture: one line a protocol, task, encoding and position, accuracies as fractions."""
    return bands.tidy_csv(("position",), (((), one) for one in found))


def _by_position(record: Record) -> dict[int, float]:
    return {at: value for at, value in enumerate(record["accuracy_by_position"] or ()) if value is not None}
