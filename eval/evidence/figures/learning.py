"""Learning curves from records alone: how each training went by epoch, mean over seeds, lowest and highest seed.

One figure a protocol: a row a quantity, a column a task, a line an encoding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures import bands, panels
from eval.evidence.figures.bands import Series, cell_series
from eval.evidence.figures.panels import (
    BESIDE,
    PANEL_WIDTH,
    band_mark,
    below,
    draw,
    groups,
    legend,
    legend_beside,
    remarks,
    title,
)
from eval.evidence.figures.positions import sizes
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from eval.evidence.table import Table
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Quantity:
    """A number that every row of a history has: what readers call it, and by how much it is multiplied for them."""

    key: str
    title: str
    scale: float


QUANTITIES = (
    Quantity("train_loss", "training loss (nats)", 1.0),
    Quantity("validation_loss", "validation loss (nats)", 1.0),
    Quantity("validation_id_accuracy", "ID accuracy (%)", 100.0),
    Quantity("validation_ood_accuracy", "OOD accuracy (%)", 100.0),
)


@dataclass(frozen=True)
class Learning:
    """A protocol's series, quantity by quantity: `series[quantity.key]` has one for every (task, pe), in order."""

    protocol: str
    series: dict[str, list[Series]]

    def every(self) -> Iterator[Series]:
        """All series of all quantities."""
        for series in self.series.values():
            yield from series


def rows(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> Learning:
    """The learning curves of a protocol: every published (task, pe), then any other that was measured."""
    places = collection.rows(published)
    by_quantity = {
        quantity.key: [_series(collection, (protocol, *place), quantity.key) for place in places]
        for quantity in QUANTITIES
    }
    return Learning(protocol, by_quantity)


def caption(collection: Collection, learning: Learning) -> str:
    """What belongs under the figure of one protocol."""
    what = (
        "Learning curves by epoch: training loss, validation loss (at the test length), and validation accuracy within "
        "(ID) and beyond (OOD) the training length."
    )
    return panels.caption(collection, what, learning.every(), learning.protocol)


def notes(learning: Learning) -> tuple[str, ...]:
    """What the curves need to be read."""
    return (
        *panels.notes(learning.protocol),
        "Training loss: mean over the epoch, shared by encodings that share a training. Validation loss: mean over "
        "generated tokens.",
    )


def numbers(learning: Learning) -> Table:
    """The numbers behind the figure: a row a protocol, task, encoding, quantity and epoch; losses in nats, accuracies
    as fractions."""
    lines = (((key,), curve) for key, series in learning.series.items() for curve in series)
    return bands.numbers(("quantity", "epoch"), lines)


def _series(collection: Collection, place: tuple[str, str, str], key: str) -> Series:
    def by_epoch(record: AccuracyRecord) -> dict[int, float]:
        return {row.epoch: value for row in record.history if (value := getattr(row, key)) is not None}

    return cell_series(place, collection.cell(*place), by_epoch)


_ROW_HEIGHT, _AROUND = 1.55, 1.2  # inches


def figure(collection: Collection, learning: Learning) -> Figure:
    """Training loss, validation loss, ID and OOD accuracy against epoch, with chance as a dashed line. More than eight
    encodings take several blocks of rows.

    Raises UserError when no record has a history.
    """
    import matplotlib
    from matplotlib.figure import Figure

    protocol = learning.protocol
    if not any(curve.at for curve in learning.every()):
        raise UserError(f"protocol={protocol}: no record has a learning curve; run `posgen sweep` for it")
    by_task, parts = sizes(collection, protocol), groups(learning.series["validation_loss"])
    tasks = list(dict.fromkeys(curve.task for curve in learning.every()))
    in_blocks, count = len(parts) > 1, len(QUANTITIES) * len(parts)
    with matplotlib.rc_context(SETTINGS):
        size = (PANEL_WIDTH * max(3, len(tasks)) + BESIDE * in_blocks, _ROW_HEIGHT * count + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(count, len(tasks), squeeze=False, sharex="col")
        lines = [(quantity, part) for part in parts for quantity in QUANTITIES]
        for (quantity, part), row in zip(lines, grid, strict=True):
            drawn_as = styles(part)
            row[0].set_ylabel(quantity.title, fontsize=SMALL + 0.5)
            if in_blocks and quantity is QUANTITIES[0]:
                legend_beside(row[-1], drawn_as)
            for panel, task in zip(row, tasks, strict=True):
                bare(panel)
                chosen = [curve for curve in learning.series[quantity.key] if curve.task == task and curve.pe in part]
                for curve in chosen:
                    draw(panel, curve, drawn_as[curve.pe], scale=quantity.scale, width=1.2)
                if task in by_task:
                    panel.axhline(_chance(quantity.key, by_task[task].modulus), **GUIDE)
                _limits(panel, percent=quantity.scale != 1.0)
                if quantity is QUANTITIES[-1]:
                    below(panel, "epoch", remarks(chosen))
        for task, panel in zip(tasks, grid[0], strict=True):
            panel.set_title(names.task(task))
        legend(drawn, {} if in_blocks else styles(parts[0]), [_chance_mark(), band_mark()])
        drawn.suptitle(title(collection, protocol, learning.every()), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _chance(key: str, modulus: int) -> float:
    return math.log(modulus) if key.endswith("loss") else 100 / modulus


def _limits(panel: Axes, percent: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    if percent:
        panel.set_ylim(-2, 102)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _chance_mark() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label="chance")
