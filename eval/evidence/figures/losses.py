"""Loss against position on a text, from records alone: mean over seeds, lowest and highest seed.

The suite's own form of the paper's Figure 4 (perplexity against length): every model is trained with its encoding, and
a point is the loss at that position and not over all before it, which would hide a failure behind what went well.
One figure a protocol; the training length is marked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures import bands
from eval.evidence.figures.bands import Series, cell_series
from eval.evidence.figures.panels import (
    BESIDE,
    band_mark,
    below,
    caption_of,
    draw,
    groups,
    legend_beside,
    remarks,
    title_without_sizes,
)
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, pair_styles, settle
from eval.evidence.losses.measured import by_position
from eval.evidence.table import Table
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rows(collection: Collection, protocol: str) -> list[Series]:
    """The losses (nats a byte) of a protocol by the first position of their bin: a series for everything measured."""
    places = [place for place in collection.rows(()) if (protocol, *place) in collection.cells]
    return [cell_series((protocol, *place), collection.cell(protocol, *place), by_position) for place in places]


def bin_width(collection: Collection) -> int:
    """Positions that a point is the mean of."""
    widths = (r.loss_by_position.width for r in collection.records() if r.loss_by_position is not None)
    return next(widths, 1)


def caption(collection: Collection, series: Sequence[Series]) -> str:
    """What belongs under the figure of one protocol."""
    record = next(collection.records())
    what = (
        f"Loss in nats a byte against position, means over {bin_width(collection)} positions; trained on 0 to "
        f"{record.train_length - 1}, tested up to {record.length - 1}."
    )
    return caption_of(collection, what, series, series[0].protocol)


def numbers(series: Sequence[Series]) -> Table:
    """The numbers behind the figure: a row a protocol, task, encoding and bin; `position` is the bin's first."""
    return bands.numbers(("position",), (((), curve) for curve in series))


_WIDTH, _ROW_HEIGHT, _AROUND = 6.2, 2.4, 0.9  # inches


def figure(collection: Collection, series: Sequence[Series]) -> Figure:
    """Loss at every position on a logarithmic axis of positions, up to eight encodings a row. `series` are `rows` of
    one protocol.

    Raises UserError when no record has losses by position.
    """
    import matplotlib
    from matplotlib.figure import Figure

    protocol = series[0].protocol
    if not any(curve.at for curve in series):
        raise UserError(f"protocol={protocol}: no record has losses by position; run `posgen sweep --profile text`")
    record = next(collection.records())
    width, parts = bin_width(collection), groups(series)
    with matplotlib.rc_context(SETTINGS):
        drawn = Figure(figsize=(_WIDTH + BESIDE, _ROW_HEIGHT * len(parts) + _AROUND), layout="constrained")
        panels = drawn.subplots(len(parts), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for part, panel in zip(parts, panels, strict=True):
            chosen, drawn_as = [curve for curve in series if curve.pe in part], pair_styles(part, names.plain)
            _panel(panel, record.train_length, record.length, width)
            for curve in chosen:
                draw(panel, _at_middles(curve, width), drawn_as[curve.pe], width=1.1)
            legend_beside(panel, drawn_as)
            below(panel, "position (bytes)" if panel is panels[-1] else "", remarks(chosen))
            panel.set_ylabel("loss (nats a byte)")
        drawn.legend(handles=[_guide_mark(), band_mark()], loc="outside lower center", ncols=2, frameon=False,
                     fontsize=SMALL)  # fmt: skip
        drawn.suptitle(title_without_sizes(collection, protocol, series), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _at_middles(curve: Series, width: int) -> Series:
    """A bin's mean stands at the middle of its positions: its first would make the logarithmic axis begin at 0."""
    return replace(curve, at=tuple(at + width // 2 for at in curve.at))


def _panel(panel: Axes, train_length: int, length: int, width: int) -> None:
    bare(panel)
    panel.set_xscale("log", base=2)
    panel.axvline(train_length, **GUIDE)
    first = max(1, width // 2)
    powers = range(math.ceil(math.log2(first)), math.floor(math.log2(length)) + 1)
    ticks = sorted({*(2**power for power in powers), train_length, length})
    panel.set_xlim(first, length)
    named = {train_length: f"L = {train_length}"}
    panel.set_xticks(ticks, [named.get(tick, str(tick)) for tick in ticks], fontsize=SMALL)
    panel.minorticks_off()


def _guide_mark() -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label="training length L")


def alt(series: Sequence[Series], collection: Collection) -> str:
    """What the figure shows, in words: the encodings by their mean loss beyond the training length, lowest first."""
    means, train_length = [], next(collection.records()).train_length
    for curve in series:
        beyond = [value for at, value in zip(curve.at, curve.mean, strict=True) if at >= train_length]
        if beyond:
            means.append((math.fsum(beyond) / len(beyond), names.encoding(curve.pe)))
    listed = ", ".join(f"{name} {mean:.3f}" for mean, name in sorted(means))
    return (
        "Line charts of loss against position, a line an encoding, the training length marked. Lowest to highest mean "
        f"loss beyond it, in nats a byte: {listed or 'no line'}."
    )
