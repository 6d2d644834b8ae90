"""Figure 3 on paper: validation loss against epoch, a panel a task, a curve an encoding, one figure a protocol."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval import names
from eval.cells import Collection, differences
from eval.figure3 import Curve, seeds_text
from eval.published import Axes
from eval.style import SETTINGS, SMALL, bare, settle, styles
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure

_PANEL_WIDTH, _HEIGHT = 2.3, 3.2  # inches; three panels span both columns of a page at their natural size
_TITLE_CHARACTERS, _REMARK_CHARACTERS = 100, 36  # a line
_CHANCE: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (2, 2))}


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
        figure = Figure(figsize=(_PANEL_WIDTH * max(3, len(tasks)), _HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        moduli = {
            task: sorted({r["config"]["task"]["modulus"] for r in collection.records(protocol) if r["task"] == task})
            for task in tasks
        }
        for panel, task in zip(panels, tasks, strict=True):
            _panel(panel, [curve for curve in found if curve.task == task], drawn_as, paper.get(task), moduli[task])
        panels[0].set_ylabel("validation loss (nats)")
        _legend(figure, drawn_as, sorted(set().union(*moduli.values())))
        figure.suptitle(_title(collection, found), fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _panel(
    panel: Panel, found: Sequence[Curve], drawn_as: Mapping[str, Any], paper: Axes | None, moduli: Sequence[int]
) -> None:
    panel.set_title(names.task(found[0].task))
    # Below the axis, where a remark hides no curve.
    panel.set_xlabel("\n".join(["epoch", *_remarks(found)]), fontsize=SMALL + 0.5)
    bare(panel)
    for curve in found:
        if curve.epochs:
            colour, dashes = drawn_as[curve.pe]
            marker = "o" if len(curve.epochs) == 1 else None
            panel.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            panel.plot(
                curve.epochs, curve.mean, color=colour, linestyle=dashes, linewidth=1.5, marker=marker, markersize=3
            )
    for modulus in moduli:
        panel.axhline(math.log(modulus), **_CHANCE, zorder=1)
    _limits(panel, found, paper, [math.log(modulus) for modulus in moduli])


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


def _remarks(found: Sequence[Curve]) -> list[str]:
    """What the panel would otherwise hide: curves that are missing, seeds that diverged."""
    missing = ", ".join(names.encoding(curve.pe) for curve in found if not curve.epochs)
    lines = textwrap.wrap(f"missing: {missing}", _REMARK_CHARACTERS) if missing else []
    return lines + [
        f"{names.encoding(curve.pe)}: {curve.diverged} of {curve.diverged + len(curve.seeds)} diverged"
        for curve in found
        if curve.diverged
    ]


def _legend(figure: Figure, drawn_as: Mapping[str, tuple[str, Any]], moduli: Sequence[int]) -> None:
    """Two rows, filled column by column, so that the two of a pair stand one above the other."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=1.7, label=names.encoding(pe))
        for pe, (colour, dashes) in drawn_as.items()
    ]
    handles += [Line2D([], [], **_CHANCE, label=f"chance: ln {m} = {math.log(m):.2f}") for m in moduli]
    handles.append(Patch(facecolor="0.8", label="band: lowest to highest seed"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2, frameon=False, handlelength=2.6,
        fontsize=SMALL + 0.5, columnspacing=1.2,
    )  # fmt: skip


def _title(collection: Collection, found: Sequence[Curve]) -> str:
    _, resized = differences(collection)
    sizes = " (sizes are not the paper's)" if resized else ""
    title = f"Protocol {found[0].protocol}, mean of {seeds_text(found)}, profile {collection.profile}{sizes}"
    return "\n".join([title, *textwrap.wrap(collection.label, _TITLE_CHARACTERS)])
