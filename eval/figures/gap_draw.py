"""Feature gap beside accuracy on paper: for each rotary encoding, both against the position of the token predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval import names
from eval.cells import Collection
from eval.figures.bands import Series
from eval.figures.encodings_draw import gap_axis
from eval.figures.gap import Gap, gaps
from eval.figures.panels import below, draw, setting
from eval.figures.positions import Sizes, rows, sizes
from eval.figures.style import GUIDE, SETTINGS, SMALL, bare, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _WIDTH, _BLOCK_HEIGHT, _AROUND = 4, 1.75, 3.0, 0.9  # encodings a row; inches
# Okabe-Ito, as eval.figures.style; in grey print the dashes tell them apart.
_BEFORE: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.0, "label": "gap, pre-critical features"}
_AFTER: dict[str, Any] = {"color": "0.45", "linewidth": 1.0, "linestyle": (0, (4, 1)), "label": "gap, other features"}
_TASKS: tuple[tuple[str, Any], ...] = (("#0072B2", "-"), ("#009E73", (0, (3, 1))), ("#000000", (0, (1, 0.8))))


def figure(collection: Collection, protocol: str, published: Sequence[tuple[str, str]] = ()) -> Figure:
    """For every rotary encoding, the feature gap at the positions beyond the training length and, under it, the mean
    accuracy on each task. Four encodings a row.

    Raises UserError when a protocol tested no rotary encoding beyond its training length.
    """
    import matplotlib
    from matplotlib.figure import Figure

    found = gaps(collection, protocol, published)
    accuracies, measured = rows(collection, protocol, published), sizes(collection, protocol)
    looks = dict(zip(measured, (_TASKS[i % len(_TASKS)] for i in range(len(measured))), strict=True))
    blocks = -(-len(found) // _COLUMNS)
    columns = min(_COLUMNS, len(found))
    with matplotlib.rc_context(SETTINGS):
        size = (_WIDTH * max(3, columns), _BLOCK_HEIGHT * blocks + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(2 * blocks, columns, squeeze=False, sharex="col")
        for at in range(blocks * columns):
            block, column = divmod(at, columns)
            above, under = grid[2 * block, column], grid[2 * block + 1, column]
            if at >= len(found):
                above.remove()
                under.remove()
                continue
            _gap_panel(above, found[at])
            own = [one for one in accuracies if one.pe == found[at].pe]
            _accuracy_panel(under, own, looks, measured)
            if column:
                above.tick_params(labelleft=False)
                under.tick_params(labelleft=False)
        for line in range(blocks):
            grid[2 * line, 0].set_ylabel("feature gap")
            grid[2 * line + 1, 0].set_ylabel("accuracy (%)")
        drawn.legend(
            handles=_marks(looks), loc="outside lower center", ncols=3 if columns == _COLUMNS else 2, frameon=False,
            handlelength=2.6, fontsize=SMALL + 0.5, columnspacing=1.2,
        )  # fmt: skip
        drawn.suptitle(setting(collection, f"Protocol {protocol}"), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _gap_panel(panel: Axes, one: Gap) -> None:
    panel.set_title(names.encoding(one.pe))
    bare(panel)
    gap_axis(panel)
    panel.axvline(one.tokens[0] - 0.5, **GUIDE)
    for values, look in ((one.after, _AFTER), (one.before, _BEFORE)):
        if values is not None:
            panel.plot(one.tokens, values, **look)


def _accuracy_panel(
    panel: Axes, found: Sequence[Series], looks: Mapping[str, Any], measured: Mapping[str, Sizes]
) -> None:
    bare(panel)
    for one in found:
        if one.at:
            draw(panel, one, looks[one.task], scale=100.0, step=measured[one.task].step, width=0.9)
    own = next(measured[one.task] for one in found if one.task in measured)
    panel.axvline(own.train_length - 0.5, **GUIDE)
    panel.axhline(100 * own.chance, **GUIDE)
    panel.set_ylim(-2, 102)
    panel.set_xlim(0, own.test_length - 1)
    ticks = (0, own.train_length, own.test_length)
    panel.set_xticks(ticks, ["0", f"L={own.train_length}", str(own.test_length)])
    panel.tick_params(axis="x", labelbottom=True)
    below(panel, "position (tokens)")


def _marks(looks: Mapping[str, tuple[str, Any]]) -> list[Any]:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], **_BEFORE), Line2D([], [], **_AFTER), Line2D([], [], **GUIDE, label="L, chance")]
    return marks + [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=1.3, label=f"accuracy, {names.task(task)}")
        for task, (colour, dashes) in looks.items()
    ]
