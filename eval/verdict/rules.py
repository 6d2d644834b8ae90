"""What every verdict shares: the rules it is reached by, and how two cells of one sweep are paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.cells import Cell, Collection
from eval.records import Record
from posgen.errors import require


@dataclass(frozen=True)
class Rules:
    """What verdicts are reached by; the values are in conf/verdict.yaml. Margin and effect in percentage points."""

    margin_points: float
    effect_points: float
    alpha: float
    confidence: float
    published_seeds: int
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        points = "use points of accuracy, 0 < points <= 100"
        require(0.0 < self.margin_points <= 100.0, "margin_points", self.margin_points, points)
        require(0.0 < self.effect_points <= 100.0, "effect_points", self.effect_points, points)
        require(0.0 < self.alpha <= 0.5, "alpha", self.alpha, "use an error rate, 0 < alpha <= 0.5 (usual: 0.05)")
        require(0.0 < self.confidence < 1.0, "confidence", self.confidence, "use 0 < confidence < 1 (usual: 0.95)")
        require(2 <= self.published_seeds <= 1000, "published_seeds", self.published_seeds, "use 2 to 1000")
        require(100 <= self.resamples <= 1_000_000, "resamples", self.resamples, "use 100 to 1000000")
        require(0 <= self.seed < 2**32, "seed", self.seed, "use 0 to 4294967295")


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
    collection: Collection, protocol: str, first: Place, second: Place, value: Callable[[Record], float | None]
) -> Paired:
    """The cells `first` and `second` of a protocol, paired; `value` reads what is compared from a record."""
    return paired_cells(collection.cell(protocol, *first), collection.cell(protocol, *second), value)


def paired_cells(first: Cell, second: Cell, value: Callable[[Record], float | None]) -> Paired:
    """Two cells of whatever protocols, paired."""
    cells = (first, second)
    ones, others = (
        {record["seed"]: number for record in cell.finished if (number := value(record)) is not None} for cell in cells
    )
    diverged = sorted({record["seed"] for cell in cells for record in cell.diverged})
    seeds = sorted(set(ones) & set(others))
    return Paired(
        tuple(seeds),
        tuple(ones[seed] - others[seed] for seed in seeds),
        tuple(diverged),
        tuple(sorted((set(ones) ^ set(others)) - set(diverged))),
    )


def ood_points(record: Record) -> float | None:
    """OOD accuracy in percent."""
    fraction = record["metrics"]["ood_accuracy"]
    return None if fraction is None else 100.0 * fraction


def below(p: float | None, alpha: float) -> bool:
    """Whether a p value, if there is one, is at most alpha."""
    return p is not None and p <= alpha


def seeds_text(seeds: Sequence[int]) -> str:
    """`seed 42`, `seeds 42, 49`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
