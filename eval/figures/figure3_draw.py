"""Figure 3 on paper: validation loss against epoch, a panel a task, a curve an encoding, one figure a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval import names
from eval.cells import Collection
from eval.figures.figure3 import Curve
from eval.figures.panels import PANEL_WIDTH, band_mark, below, legend, remarks, title
from eval.figures.panels import draw as draw_series
from eval.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from eval.published import Axes
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure

_HEIGHT = 3.2  # inches


def draw(collection: Collection, found: Sequence[Curve], paper: Mapping[str, Axes]) -> Figure:
    """The figure of the curves of one protocol. `paper` has the paper's own ranges of the axes, by task.

    A y range of the paper's is kept where all curves, bands and the chance line fit into it, else widened: nothing is
    ever clipped. Raises UserError when no curve has a point.
    """
    import matplotlib
    from matplotlib.figure import Figure

    protocol = found[0].protocol
    if not any(curve.epochs for curve in found):
        raise UserError(f"protocol={protocol}: no record has a validation curve; run `posgen sweep` for it")
    drawn_as = styles([curve.pe for curve in found])
    tasks = list(dict.fromkeys(curve.task for curve in found))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(PANEL_WIDTH * max(3, len(tasks)), _HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        moduli = {
            task: sorted({r["config"]["task"]["modulus"] for r in collection.records(protocol) if r["task"] == task})
            for task in tasks
        }
        for panel, task in zip(panels, tasks, strict=True):
            _panel(panel, [curve for curve in found if curve.task == task], drawn_as, paper.get(task), moduli[task])
        panels[0].set_ylabel("validation loss (nats)")
        chances = sorted(set().union(*moduli.values()))
        legend(figure, drawn_as, [*(_chance_mark(modulus) for modulus in chances), band_mark()])
        figure.suptitle(title(collection, protocol, found), fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _panel(
    panel: Panel, found: Sequence[Curve], drawn_as: Mapping[str, Any], paper: Axes | None, moduli: Sequence[int]
) -> None:
    panel.set_title(names.task(found[0].task))
    below(panel, "epoch", remarks(found))
    bare(panel)
    for curve in found:
        draw_series(panel, curve, drawn_as[curve.pe])
    for modulus in moduli:
        panel.axhline(math.log(modulus), **GUIDE)
    _limits(panel, found, paper, [math.log(modulus) for modulus in moduli])


def _chance_mark(modulus: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label=f"chance: ln {modulus} = {math.log(modulus):.2f}")


def _limits(panel: Panel, found: Sequence[Curve], paper: Axes | None, chances: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [value for curve in found for value in (*curve.low, *curve.high)] + list(chances)
    if paper and all(paper.loss[0] <= value <= paper.loss[1] for value in values):
        panel.set_ylim(*paper.loss)
    else:
        margin = 0.08 * (max(values) - min(values)) or 0.1
        panel.set_ylim(max(0.0, min(values) - margin), max(values) + margin)
    last = max((epoch for curve in found for epoch in curve.epochs), default=0)
    panel.set_xlim(0, last or (paper.epochs[1] if paper else 1))
    panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
