"""The paper's Figure 3 from records alone, and whether its three claims hold for them.

A curve is the mean validation loss over the finished seeds of a cell, its band the lowest and highest seed. Seeds that
diverged are in neither, and are counted. One figure a protocol, a panel a task, a curve an encoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conf import names
from conf.published import Axes, table1_names
from eval.evidence.cells import Cell, Collection
from eval.evidence.figures import bands, panels
from eval.evidence.figures.bands import Series, cell_series
from eval.evidence.figures.panels import PANEL_WIDTH, band_mark, below, draw, legend, remarks, title
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from eval.evidence.table import Table
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.figure import Figure


CLAIMS = {
    "a": "(a) Resonance reaches a lower minimum than its counterpart",
    "b": "(b) Resonance RoPE's minimum is below YaRN's on Semi-recursive",
    "c": "(c) Resonance lies below its counterpart at every epoch",
}
"""What the paper says about its figure."""


def curves(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> list[Series]:
    """The curves of a protocol: one for every published (task, pe), then any other that was measured."""
    return [_curve(protocol, *place, collection.cell(protocol, *place)) for place in collection.rows(published)]


def caption(collection: Collection, series: Sequence[Series]) -> str:
    """What belongs under the figure of one protocol: setting, seeds, the meaning of line and band."""
    what = "Validation loss (nats per generated token, at the test length) by epoch."
    return panels.caption(collection, what, series, series[0].protocol)


def claims(series: Sequence[Series]) -> list[str]:
    """The paper's claims about its figure, each as it came out on the mean curves of one protocol, a line a claim. None
    without a curve of its tasks."""
    tasks = table1_names()[0]
    by_place = {(curve.task, curve.pe): curve for curve in series if curve.at and curve.task in tasks}
    if not by_place:
        return []
    pairs = [
        (plain, resonance)
        for (task, pe), resonance in by_place.items()
        if pe.startswith(names.RESONANCE) and (plain := by_place.get((task, names.counterpart(pe))))
    ]
    lines = [
        _claim(CLAIMS["a"], [_minima(p, r) for p, r in pairs]),
        _claim(CLAIMS["c"], [_throughout(p, r) for p, r in pairs]),
    ]
    yarn, rope = by_place.get(("semi_recursive", "yarn")), by_place.get(("semi_recursive", "resonance_rope"))
    between = [_minima(yarn, rope)] if yarn and rope else []
    lines.insert(1, _claim(CLAIMS["b"], between))
    return lines


def numbers(series: Sequence[Series]) -> Table:
    """The numbers behind the figures: a row a protocol, task, encoding and epoch."""
    values = ("loss_mean", "loss_lowest", "loss_highest")
    return bands.numbers(("epoch",), (((), curve) for curve in series), values)


def _curve(protocol: str, task: str, pe: str, cell: Cell) -> Series:
    return cell_series(
        (protocol, task, pe), cell,
        lambda record: {
            row.epoch: row.validation_loss
            for row in record.history
            if row.validation_loss is not None
        },
    )  # fmt: skip


def _minima(plain: Series, resonance: Series) -> tuple[bool, str]:
    low, high = min(resonance.mean), min(plain.mean)
    who = f"{names.task(plain.task)} {names.encoding(resonance.pe)} {low:.3f} vs {names.encoding(plain.pe)} {high:.3f}"
    return low < high, who


def _throughout(plain: Series, resonance: Series) -> tuple[bool, str]:
    ours, theirs = (dict(zip(curve.at, curve.mean, strict=True)) for curve in (resonance, plain))
    common = sorted(set(ours) & set(theirs))
    below = sum(ours[epoch] < theirs[epoch] for epoch in common)
    who = f"{names.task(plain.task)} {names.encoding(resonance.pe)} at {below} of {len(common)} epochs"
    return 0 < below == len(common), who


def _claim(text: str, outcomes: list[tuple[bool, str]]) -> str:
    if not outcomes:
        return f"{text}: cannot be said, curves are missing"
    held = sum(holds for holds, _ in outcomes)
    detail = "; ".join(who for holds, who in outcomes if not holds)
    return f"{text}: {held} of {len(outcomes)}{f'; not for {detail}' if detail else ''}"


_HEIGHT = 3.2  # inches


def figure(collection: Collection, series: Sequence[Series], paper: Mapping[str, Axes]) -> Figure:
    """The figure of the curves of one protocol. `paper` has the paper's own ranges of the axes, by task.

    A y range of the paper's is kept where all curves, bands and the chance line fit into it, else widened: nothing is
    ever clipped. Raises UserError when no curve has a point.
    """
    import matplotlib
    from matplotlib.figure import Figure

    protocol = series[0].protocol
    if not any(curve.at for curve in series):
        raise UserError(f"protocol={protocol}: no record has a validation curve; run `posgen sweep` for it")
    drawn_as = styles([curve.pe for curve in series])
    tasks = list(dict.fromkeys(curve.task for curve in series))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(PANEL_WIDTH * max(3, len(tasks)), _HEIGHT), layout="constrained")
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        moduli = {
            task: sorted({r.training.task.modulus for r in collection.records(protocol) if r.task == task})
            for task in tasks
        }
        for panel, task in zip(axes, tasks, strict=True):
            _panel(panel, [curve for curve in series if curve.task == task], drawn_as, paper.get(task), moduli[task])
        axes[0].set_ylabel("validation loss (nats)")
        chances = sorted(set().union(*moduli.values()))
        legend(figure, drawn_as, [*(_chance_mark(modulus) for modulus in chances), band_mark()])
        figure.suptitle(title(collection, protocol, series), fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _panel(
    panel: Panel, series: Sequence[Series], drawn_as: Mapping[str, Any], paper: Axes | None, moduli: Sequence[int]
) -> None:
    panel.set_title(names.task(series[0].task))
    below(panel, "epoch", remarks(series))
    bare(panel)
    for curve in series:
        draw(panel, curve, drawn_as[curve.pe])
    for modulus in moduli:
        panel.axhline(math.log(modulus), **GUIDE)
    _curve_limits(panel, series, paper, [math.log(modulus) for modulus in moduli])


def _chance_mark(modulus: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label=f"chance: ln {modulus} = {math.log(modulus):.2f}")


def _curve_limits(panel: Panel, series: Sequence[Series], paper: Axes | None, chances: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    values = [value for curve in series for value in (*curve.low, *curve.high)] + list(chances)
    if paper and all(paper.loss[0] <= value <= paper.loss[1] for value in values):
        panel.set_ylim(*paper.loss)
    else:
        margin = 0.08 * (max(values) - min(values)) or 0.1
        panel.set_ylim(max(0.0, min(values) - margin), max(values) + margin)
    last = max((epoch for curve in series for epoch in curve.at), default=0)
    panel.set_xlim(0, last or (paper.epochs[1] if paper else 1))
    panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
