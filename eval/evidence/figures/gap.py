"""The feature gap at every test position beside the accuracy there, for the rotary encodings that records measured.

A record holds the specification of its test encoding: everything here is computed from that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures import panels
from eval.evidence.figures.bands import Series
from eval.evidence.figures.encodings import gap_axis
from eval.evidence.figures.feature_gap import (
    Features,
    critical_feature,
    draws_positions,
    features,
    gaps_by_position,
    wavelengths,
)
from eval.evidence.figures.panels import below, draw, setting
from eval.evidence.figures.positions import Sizes, sizes
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle
from eval.evidence.table import Column, Table, cells
from eval.store.kinds import AccuracyRecord
from models.encodings import Rotary, build
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Gap:
    """How far one encoding's features at each token's position lie from the trained ones (paper, eq. 8, before its
    maximum over n), unit vectors, 0 to 2.

    `tokens` are those beyond the training length, 64 to 255 in the paper. `before` and `after` have, for each of them,
    the largest distance among the pre-critical features and among the others; None where there are no such features.
    """

    pe: str
    critical: int | None
    tokens: tuple[int, ...]
    before: tuple[float, ...] | None
    after: tuple[float, ...] | None


@dataclass(frozen=True)
class _Tested:
    """A rotary encoding as a protocol tested it. The decoder predicts token n at position n + `shift`: with BOS in
    front that is n, else the position before."""

    encoding: Rotary
    train_length: int
    test_length: int
    shift: int

    @property
    def trained(self) -> int:
        """How many positions training showed the decoder; the last token is only predicted."""
        return self.train_length + self.shift

    @property
    def table_length(self) -> int:
        """The length, BOS included, for which encodings that depend on it made their table."""
        return self.test_length + 1 + self.shift


def gaps(collection: Collection, protocol: str, order: Sequence[tuple[str, str]] = ()) -> list[Gap]:
    """The gaps of a protocol's rotary encodings, the published ones first. Encodings that draw their training positions
    at random, or remap distances, have none and are left out.

    Raises UserError when there is no such encoding.
    """
    tested = _tested(collection, protocol, order)
    by_encoding = [
        _gap(pe, test)
        for pe, test in tested.items()
        if not (draws_positions(test.encoding, test.train_length) or test.encoding.gives("far"))
    ]
    if not by_encoding:
        raise UserError(f"protocol={protocol}: no rotary encoding was tested beyond its training length")
    return by_encoding


def wavelengths_by_encoding(
    collection: Collection, protocol: str, order: Sequence[tuple[str, str]] = ()
) -> dict[str, Features]:
    """Features of a protocol's rotary encodings under its lengths, for `draw_features`."""
    tested = _tested(collection, protocol, order)
    if not tested:
        raise UserError(f"protocol={protocol}: no rotary encoding was tested")
    return {pe: features(test.encoding, test.train_length, test.test_length) for pe, test in tested.items()}


def caption(collection: Collection, series: Sequence[Series]) -> str:
    """What belongs under the figure of gaps; `series` as for `figure`."""
    what = (
        "Top: feature gap by position (the paper's eq. 8 before its maximum), the largest among pre-critical and among "
        "other features. Bottom: token accuracy."
    )
    return panels.caption(collection, what, series, series[0].protocol)


def notes(collection: Collection, protocol: str, gaps: Sequence[Gap]) -> tuple[str, ...]:
    """How a gap is computed, and what it leaves out."""
    critical = ", ".join(f"{names.encoding(gap.pe)} {'all' if gap.critical is None else gap.critical}" for gap in gaps)
    changed = dict.fromkeys(
        names.encoding(record.pe)
        for record in collection.records(protocol)
        if _in_training(record) not in (None, record.encoding)
    )
    return (
        *panels.notes(protocol),
        "The gap at a token is the distance (unit vectors, 0 to 2) of the features at the position that predicts it to "
        "those of the nearest trained position, both under the encoding that is tested.",
        f"Number of pre-critical features: {critical}.",
        *(
            [f"Trained with other angles than tested with, a change that no gap counts: {', '.join(changed)}."]
            * bool(changed)
        ),
    )


def numbers(protocol: str, gaps: Sequence[Gap]) -> Table:
    """The numbers behind the figure: a row a protocol, encoding and token beyond the training length."""
    rows = [
        cells(protocol, gap.pe, token, gap.before[at] if gap.before else None, gap.after[at] if gap.after else None)
        for gap in gaps
        for at, token in enumerate(gap.tokens)
    ]
    return Table(tuple(map(Column, ("protocol", "pe", "position", "gap_pre_critical", "gap_others"))), tuple(rows))


def _in_training(record: AccuracyRecord) -> dict[str, Any] | None:
    """The specification that a record's member trained with, where the record has it."""
    specification: dict[str, Any] | None = record.config.get("train_encoding")
    return specification


def _gap(pe: str, test: _Tested) -> Gap:
    # In one table, the longest one's, of which the last position predicts nothing.
    table = gaps_by_position(test.encoding, test.trained, test.table_length)[: test.test_length - test.train_length]
    critical = critical_feature(wavelengths(test.encoding, test.table_length), test.trained)
    first = table.shape[1] if critical is None else critical
    before, after = (part.max(axis=1).tolist() if part.size else None for part in np.split(table, [first], axis=1))
    tokens = tuple(range(test.train_length, test.test_length))
    return Gap(pe, critical, tokens, None if before is None else tuple(before), None if after is None else tuple(after))


def _tested(collection: Collection, protocol: str, order: Sequence[tuple[str, str]]) -> dict[str, _Tested]:
    records: dict[str, AccuracyRecord] = {}
    for (name, _, pe), cell in collection.cells.items():
        if name == protocol and pe not in records:
            records[pe] = next(iter((*cell.finished, *cell.diverged)))
    known = list(dict.fromkeys(pe for _, pe in order))
    tested = {}
    for pe in sorted(
        records, key=lambda pe: (known.index(pe) if pe in known else len(known), names.place_order("", pe))
    ):
        record = records[pe]
        model = record.training.model
        encoding = build(record.spec, model.head_dim)
        if isinstance(encoding, Rotary) and record.length > record.train_length:
            shift = 0 if model.bos else -1
            tested[pe] = _Tested(encoding, record.train_length, record.length, shift)
    return tested


_COLUMNS, _WIDTH, _BLOCK_HEIGHT, _AROUND = 4, 1.75, 3.0, 0.9  # encodings a row; inches
# Okabe-Ito, as eval.evidence.figures.style; in grey print the dashes tell them apart.
_BEFORE: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.0, "label": "gap, pre-critical features"}
_AFTER: dict[str, Any] = {"color": "0.45", "linewidth": 1.0, "linestyle": (0, (4, 1)), "label": "gap, other features"}
_TASKS: tuple[tuple[str, Any], ...] = (("#0072B2", "-"), ("#009E73", (0, (3, 1))), ("#000000", (0, (1, 0.8))))


def figure(collection: Collection, gaps: Sequence[Gap], series: Sequence[Series]) -> Figure:
    """For every rotary encoding, the feature gap at the positions beyond the training length and, under it, the mean
    accuracy on each task. Four encodings a row. `series` are `eval.evidence.figures.positions.rows` of one protocol,
    `gaps` the gaps of that protocol.
    """
    import matplotlib
    from matplotlib.figure import Figure

    protocol = series[0].protocol
    by_task = sizes(collection, protocol)
    looks = dict(zip(by_task, (_TASKS[i % len(_TASKS)] for i in range(len(by_task))), strict=True))
    blocks = -(-len(gaps) // _COLUMNS)
    columns = min(_COLUMNS, len(gaps))
    with matplotlib.rc_context(SETTINGS):
        size = (_WIDTH * max(3, columns), _BLOCK_HEIGHT * blocks + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(2 * blocks, columns, squeeze=False, sharex="col")
        for at in range(blocks * columns):
            block, column = divmod(at, columns)
            above, under = grid[2 * block, column], grid[2 * block + 1, column]
            if at >= len(gaps):
                above.remove()
                under.remove()
                continue
            _gap_panel(above, gaps[at])
            _accuracy_panel(under, [curve for curve in series if curve.pe == gaps[at].pe], looks, by_task)
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


def _gap_panel(panel: Axes, gap: Gap) -> None:
    panel.set_title(names.encoding(gap.pe))
    bare(panel)
    gap_axis(panel)
    panel.axvline(gap.tokens[0] - 0.5, **GUIDE)
    for values, look in ((gap.after, _AFTER), (gap.before, _BEFORE)):
        if values is not None:
            panel.plot(gap.tokens, values, **look)


def _accuracy_panel(
    panel: Axes, series: Sequence[Series], looks: Mapping[str, Any], by_task: Mapping[str, Sizes]
) -> None:
    bare(panel)
    for curve in series:
        if curve.at:
            draw(panel, curve, looks[curve.task], scale=100.0, step=by_task[curve.task].step, width=0.9)
    size = next(by_task[curve.task] for curve in series if curve.task in by_task)
    panel.axvline(size.train_length - 0.5, **GUIDE)
    panel.axhline(100 * size.chance, **GUIDE)
    panel.set_ylim(-2, 102)
    panel.set_xlim(0, size.test_length - 1)
    ticks = (0, size.train_length, size.test_length)
    panel.set_xticks(ticks, ["0", f"L={size.train_length}", str(size.test_length)])
    panel.tick_params(axis="x", labelbottom=True)
    below(panel, "position (tokens)")


def _marks(looks: Mapping[str, tuple[str, Any]]) -> list[Any]:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], **_BEFORE), Line2D([], [], **_AFTER), Line2D([], [], **GUIDE, label="L, chance")]
    return marks + [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=1.3, label=f"accuracy, {names.task(task)}")
        for task, (colour, dashes) in looks.items()
    ]
