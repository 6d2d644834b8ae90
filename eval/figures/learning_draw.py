"""Learning curves on paper: a row a quantity, a column a task, a line an encoding, one figure a protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eval import names
from eval.cells import Collection
from eval.figures.learning import QUANTITIES, rows
from eval.figures.panels import (
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
from eval.figures.positions import sizes
from eval.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_HEIGHT, _AROUND = 1.55, 1.2  # inches


def figure(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> Figure:
    """Training loss, validation loss, ID and OOD accuracy against epoch, with chance as a dashed line. More than eight
    encodings take several blocks of rows.

    Raises UserError when no record has a history.
    """
    import matplotlib
    from matplotlib.figure import Figure

    found = rows(collection, protocol, published)
    if not any(one.at for one in found.every()):
        raise UserError(f"protocol={protocol}: no record has a learning curve; run `posgen sweep` for it")
    measured, parts = sizes(collection, protocol), groups(found.series["validation_loss"])
    tasks = list(dict.fromkeys(one.task for one in found.every()))
    several, count = len(parts) > 1, len(QUANTITIES) * len(parts)
    with matplotlib.rc_context(SETTINGS):
        size = (PANEL_WIDTH * max(3, len(tasks)) + BESIDE * several, _ROW_HEIGHT * count + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(count, len(tasks), squeeze=False, sharex="col")
        lines = [(quantity, part) for part in parts for quantity in QUANTITIES]
        for (quantity, part), panels in zip(lines, grid, strict=True):
            drawn_as = styles(part)
            panels[0].set_ylabel(quantity.title, fontsize=SMALL + 0.5)
            if several and quantity is QUANTITIES[0]:
                legend_beside(panels[-1], drawn_as)
            for panel, task in zip(panels, tasks, strict=True):
                bare(panel)
                chosen = [one for one in found.series[quantity.key] if one.task == task and one.pe in part]
                for one in chosen:
                    draw(panel, one, drawn_as[one.pe], scale=quantity.scale, width=1.2)
                if task in measured:
                    panel.axhline(_chance(quantity.key, measured[task].modulus), **GUIDE)
                _limits(panel, percent=quantity.scale != 1.0)
                if quantity is QUANTITIES[-1]:
                    below(panel, "epoch", remarks(chosen))
        for task, panel in zip(tasks, grid[0], strict=True):
            panel.set_title(names.task(task))
        legend(drawn, {} if several else styles(parts[0]), [_chance_mark(), band_mark()])
        drawn.suptitle(title(collection, protocol, list(found.every())), fontsize=SMALL + 0.5)
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
