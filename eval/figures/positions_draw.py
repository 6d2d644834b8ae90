"""Accuracy against position on paper: a panel a task, a line an encoding, one figure a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval import names
from eval.cells import Collection
from eval.figures.bands import Series
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
from eval.figures.positions import Sizes, rows, sizes
from eval.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_HEIGHT, _AROUND = 2.3, 0.9  # inches


def figure(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> Figure:
    """Accuracy in percent at every position of the test, a panel a task; more than eight encodings take several rows.

    Raises UserError when no record has accuracies by position.
    """
    import matplotlib
    from matplotlib.figure import Figure

    found = rows(collection, protocol, published)
    if not any(one.at for one in found):
        raise UserError(f"protocol={protocol}: no record has accuracies by position; run `posgen sweep` for it")
    measured, parts = sizes(collection, protocol), groups(found)
    tasks = list(dict.fromkeys(one.task for one in found))
    with matplotlib.rc_context(SETTINGS):
        several = len(parts) > 1
        size = (PANEL_WIDTH * max(3, len(tasks)) + BESIDE * several, _ROW_HEIGHT * len(parts) + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(len(parts), len(tasks), squeeze=False, sharey=True)
        for line, (part, panels) in enumerate(zip(parts, grid, strict=True)):
            drawn_as = styles(part)
            for panel, task in zip(panels, tasks, strict=True):
                panel.set_title(names.task(task) if line == 0 else "")
                chosen = [one for one in found if one.task == task and one.pe in part]
                _panel(panel, chosen, drawn_as, measured.get(task))
            panels[0].set_ylabel("accuracy (%)")
            if several:
                legend_beside(panels[-1], drawn_as)
        legend(drawn, {} if several else styles(parts[0]), [_guide_mark(measured.values()), band_mark()])
        drawn.suptitle(title(collection, protocol, found), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _panel(panel: Axes, found: Sequence[Series], drawn_as: Mapping[str, Any], measured: Sizes | None) -> None:
    below(panel, "position (tokens)", remarks(found))
    bare(panel)
    for one in found:
        draw(panel, one, drawn_as[one.pe], scale=100.0, step=measured.step if measured else 1, width=0.9)
    panel.set_ylim(-2, 102)
    if measured is None:
        return
    panel.axhline(100 * measured.chance, **GUIDE)
    panel.axvline(measured.train_length - 0.5, **GUIDE)
    ticks = sorted({0, *range(measured.train_length, measured.test_length + 1, measured.train_length)})
    named = {measured.train_length: f"L = {measured.train_length}"}
    panel.set_xlim(0, measured.test_length - 1)
    panel.set_xticks(ticks, [named.get(tick, str(tick)) for tick in ticks], fontsize=SMALL)


def _guide_mark(measured: Any) -> Any:
    from matplotlib.lines import Line2D

    chances = " or ".join(f"{100 * chance:.1f} %" for chance in sorted({one.chance for one in measured}))
    return Line2D([], [], **GUIDE, label=f"chance ({chances}), training length L")
