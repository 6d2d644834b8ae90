"""Which share of the right answers moves when a token is exchanged, on paper: a panel a task, a line an encoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval.evidence.figures import panels
from eval.evidence.figures.bands import Series, seeds_text
from eval.evidence.figures.panels import (
    band_mark,
    below,
    draw,
    remarks,
    setting,
)
from eval.evidence.figures.style import GUIDE, SMALL, bare
from eval.evidence.interventions.shares import LEAST, Measured, Row, phase
from eval.evidence.interventions.tables import TOKEN
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AROUND = 1.05  # inches
_TICKS = 5


def figure(measured: Measured, protocol: str) -> Figure:
    """What moved among the answers that were right before, in percent, by the position of the answer on a logarithmic
    axis, below which the distance to its exchanged token stands; the training length is marked. More than eight
    encodings take several rows. Answers that are different problems (even and odd ones) have lines of their own.

    Raises UserError when the protocol was not measured.
    """
    rows = [row for row in measured.rows if row.protocol == protocol]
    if not rows:
        remedy = "exchange tokens for it with `posgen interventions --measure`"
        raise UserError(f"protocol={protocol}: no record of it; {remedy}")

    def paint(panel: Axes, task: str, part: Sequence[str], drawn_as: Mapping[str, Any]) -> None:
        _panel(panel, measured, [row for row in rows if row.task == task and row.pe in part], drawn_as)

    return panels.by_task(
        [row.moved for row in rows], list(dict.fromkeys(row.task for row in rows)), "right answers that move (%)",
        paint, lambda: [_guide_mark(measured), band_mark()], _title(measured, protocol, rows), _AROUND,
    )  # fmt: skip


def caption(measured: Measured, protocol: str) -> str:
    """What belongs under the figure of one protocol."""
    series = [row.moved for row in measured.rows if row.protocol == protocol]
    what = (
        "Of the answers that were right, the share that moves to the answer that the rule gives when their "
        f"{TOKEN[measured.exchange]} is exchanged; positions with fewer than {LEAST} right answers of "
        f"{measured.sequences} sequences in some seed are left out."
    )
    return panels.caption(measured.collection, what, series, protocol)


def _panel(panel: Axes, measured: Measured, rows: Sequence[Row], drawn_as: Mapping[str, Any]) -> None:
    bare(panel)
    missing = [row.moved for row in rows if not row.moved.at]
    below(panel, "position of the answer,\nbelow it the distance to the token", remarks(missing))
    for row in rows:
        for curve in _by_phase(measured, row):
            draw(panel, curve, drawn_as[row.pe], scale=100.0, width=1.1)
    panel.axvline(measured.train_length, **GUIDE)
    panel.set_xscale("log", base=2)
    panel.set_ylim(-2, 102)
    distances = {at: distance for row in rows for at, distance in row.distances.items()}
    panel.set_xlim(min(distances) / 1.1, max(distances) * 1.1)
    ticks = _ticks(sorted(distances))
    panel.set_xticks(ticks, [f"{at}\n{distances[at]}" for at in ticks], fontsize=SMALL)
    panel.minorticks_off()


def _by_phase(measured: Measured, row: Row) -> Iterator[Series]:
    """The row's curve, one for each kind of neighbouring answers."""
    period, task, curve = measured.phases[row.task], row.records[0].training.task, row.moved
    for chosen in range(period):
        kept = [i for i, at in enumerate(curve.at) if phase(task, period, at) == chosen]
        mean, low, high = (tuple(column[i] for i in kept) for column in (curve.mean, curve.low, curve.high))
        yield replace(curve, at=tuple(curve.at[i] for i in kept), mean=mean, low=low, high=high)


def _ticks(positions: Sequence[int]) -> list[int]:
    """Tested positions nearest to some that are evenly spaced on the axis."""
    first, last = positions[0] or 1, positions[-1]
    wanted = [first * (last / first) ** (i / (_TICKS - 1)) for i in range(_TICKS)]
    return sorted({min(positions, key=lambda at: abs(at - place)) for place in wanted})


def _guide_mark(measured: Measured) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label=f"training length L = {measured.train_length}")


def _title(measured: Measured, protocol: str, rows: Sequence[Row]) -> str:
    seeds = seeds_text([row.moved for row in rows])
    what = f"Protocol {protocol}, {TOKEN[measured.exchange]} exchanged, mean of {seeds}"
    return setting(measured.collection, f"{what}\n{measured.sequences} test sequences")
