"""What every verdict shares: which cells are compared, how they are paired by seed, and by which number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from conf import names
from eval.evidence.cells import Cell, Collection
from eval.store.kinds import AccuracyRecord

Place = tuple[str, str]
"""(task, pe)"""


@dataclass(frozen=True)
class Paired:
    """Two cells, seed by seed: members of one seed share initial weights, data order and dropout masks.

    `differences` has first - second for each of `seeds`; a seed counts when both members finished with a value.
    `diverged` has the seeds of which a member diverged, `alone` those that only one of the cells has.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    diverged: tuple[int, ...]
    alone: tuple[int, ...]


def paired(
    collection: Collection, protocol: str, first: Place, second: Place, value: Callable[[AccuracyRecord], float | None]
) -> Paired:
    """The cells `first` and `second` of a protocol, paired; `value` reads what is compared from a record."""
    return paired_cells(collection.cell(protocol, *first), collection.cell(protocol, *second), value)


def paired_cells(first: Cell, second: Cell, value: Callable[[AccuracyRecord], float | None]) -> Paired:
    """Two cells of whatever protocols, paired."""
    a, b = (
        {record.seed: number for record in cell.finished if (number := value(record)) is not None}
        for cell in (first, second)
    )
    seeds = sorted(a.keys() & b.keys())
    diverged = {record.seed for record in (*first.diverged, *second.diverged)}
    return Paired(
        tuple(seeds),
        tuple(a[seed] - b[seed] for seed in seeds),
        tuple(sorted(diverged)),
        tuple(sorted((a.keys() ^ b.keys()) - diverged)),
    )


def resonance_places(of: Iterable[Place]) -> list[Place]:
    """The (task, Resonance form) whose plain form is among the places too."""
    places = list(of)
    return [(t, pe) for t, pe in places if pe.startswith(names.RESONANCE) and (t, names.counterpart(pe)) in places]


def other_places(collection: Collection, protocol: str, published: Iterable[Place]) -> list[Place]:
    """The (task, pe) that a protocol measured on tasks of which nothing is published."""
    tasks = {task for task, _ in published}
    return [place for place in collection.rows(()) if (protocol, *place) in collection.cells and place[0] not in tasks]


def ood_points(record: AccuracyRecord) -> float | None:
    """OOD accuracy in percent."""
    fraction = record.ood_accuracy
    return None if fraction is None else 100.0 * fraction


def significant(p: float | None, alpha: float) -> bool:
    """Whether a p value, if there is one, is at most alpha."""
    return p is not None and p <= alpha


def place_name(task: str, pe: str) -> str:
    """`CoT Resonance RoPE`."""
    return f"{names.task(task)} {names.encoding(pe)}"


def seeds_text(seeds: Sequence[int]) -> str:
    """`seed 42`, `seeds 42, 49`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
