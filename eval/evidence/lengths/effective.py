"""Effective length: how far one trained member can be taken before its accuracy falls below a threshold.

A sequence is cut into windows of as many tokens as the training length. The effective length is the end of the last
window before the first one whose accuracy is below the threshold: up to there, accuracy stays at or above it. Tokens
that a sequence begins with are given, not predicted, and do not count. Needs no torch: everything is read from records
that `eval.evidence.lengths.measuring` made, whose key `windows` holds {width, ends, accuracy, sequences, fitted_to}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures.bands import Series, series_of
from eval.evidence.probed import as_cells
from eval.store.probes import LengthsRecord
from posgen.errors import UserError


@dataclass(frozen=True)
class Reach:
    """One seed's effective length in tokens. None: below the threshold in its first window. `open`: at or above it in
    every window that was measured, so that the true length is this or more."""

    seed: int
    length: int | None
    open: bool


@dataclass(frozen=True)
class Row:
    """One cell in one form. `form`: `own`, as Table 1 tests it; `fitted`, scaled at each length n for that length;
    `fixed`, scaled for `fitted_to` tokens at all lengths. `series` has the accuracy by the end of the window."""

    protocol: str
    task: str
    pe: str
    form: str
    fitted_to: int | None
    series: Series
    reaches: tuple[Reach, ...]

    def scaling(self, train_length: int) -> str:
        """The form in words for readers."""
        if self.form == "fitted":
            return "s = n/L"
        if self.fitted_to is None:
            return "none"
        return f"s = {self.fitted_to / train_length:g}"


@dataclass(frozen=True)
class Lengths:
    """All rows of one profile, and what they share. Lengths in tokens. `collection` has the records behind the rows."""

    collection: Collection
    threshold: float
    window: int
    sequences: int
    train_length: int
    chance: Mapping[str, float]
    rows: tuple[Row, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that have rows."""
        return tuple(dict.fromkeys(row.protocol for row in self.rows))


def windows(accuracy: Sequence[float | None], width: int) -> dict[int, float]:
    """End -> mean accuracy of each whole window of `width` tokens. `accuracy` is that of every position, None where a
    token is given; a window with nothing to predict has no entry."""
    ends = range(width, len(accuracy) + 1, width)
    return {end: mean for end in ends if (mean := last_window(accuracy[:end], width)) is not None}


def last_window(accuracy: Sequence[float | None], width: int) -> float | None:
    """Mean accuracy over the last `width` positions, those left out that are None; None when there is none."""
    values = [value for value in accuracy[-width:] if value is not None]
    return math.fsum(values) / len(values) if values else None


def reach(seed: int, by_end: Mapping[int, float], threshold: float) -> Reach:
    """The effective length of one seed's windows (end -> accuracy)."""
    length = None
    for end in sorted(by_end):
        if by_end[end] < threshold:
            return Reach(seed, length, open=False)
        length = end
    return Reach(seed, length, open=length is not None)


def build(records: Sequence[LengthsRecord], threshold: float, protocols: Sequence[str] | None = None) -> Lengths:
    """The rows of the records of ONE profile, of all protocols or some.

    Raises UserError when there are none, or when they were measured in different ways.
    """
    if not records:
        raise UserError("the records hold no measurement by length; make them with `posgen lengths --measure`")
    ways = {(r.windows.width, r.windows.sequences, r.train_length) for r in records}
    if len(ways) > 1:
        raise UserError(
            "these records were measured with different windows, numbers of sequences or training lengths; measure "
            "them again with `posgen lengths --measure` and one setting"
        )
    ((window, sequences, train_length),) = ways
    rows = tuple(_rows(records, threshold, protocols))
    return Lengths(
        collection=as_cells(records, dict.fromkeys(row.protocol for row in rows)),
        threshold=threshold,
        window=window,
        sequences=sequences,
        train_length=train_length,
        chance={record.task: 1 / record.training.task.modulus for record in records},
        rows=rows,
    )


def _rows(measured: Sequence[LengthsRecord], threshold: float, protocols: Sequence[str] | None) -> list[Row]:
    forms: dict[tuple[str, str, str, str, int | None], dict[int, dict[int, float]]] = {}
    for record in sorted(measured, key=lambda record: record.created):
        for protocol in record.protocols:
            if protocols and protocol not in protocols:
                continue
            for form, fitted_to, points in _forms(record):
                place = (protocol, record.task, record.pe, form, fitted_to)
                forms.setdefault(place, {}).setdefault(record.seed, {}).update(points)
    rows = []
    for place in sorted(forms, key=_order):
        by_seed = forms[place]
        reaches = tuple(reach(seed, by_seed[seed], threshold) for seed in sorted(by_seed))
        rows.append(Row(*place, series=series_of(place[:3], by_seed), reaches=reaches))
    # A fixed s that was only measured at the one length it fits belongs to the fitted form alone.
    return [row for row in rows if row.form != "fixed" or row.series.at != (row.fitted_to,)]


def _forms(record: LengthsRecord) -> list[tuple[str, int | None, dict[int, float]]]:
    """(form, fitted_to, end -> accuracy) for each form that a record has points of."""
    points = dict(zip(record.windows.ends, record.windows.accuracy, strict=True))
    fitted_to = record.windows.fitted_to
    if fitted_to is None:
        return [("own", None, points)]
    forms: list[tuple[str, int | None, dict[int, float]]] = [
        ("own" if fitted_to == record.training.data.test_length else "fixed", fitted_to, points)
    ]
    if fitted_to in points:
        forms.append(("fitted", None, {fitted_to: points[fitted_to]}))
    return forms


_FORMS = ("own", "fitted", "fixed")


def _order(place: tuple[str, str, str, str, int | None]) -> tuple[object, ...]:
    protocol, task, pe, form, fitted_to = place
    return names.protocol_order(protocol), names.place_order(task, pe), _FORMS.index(form), fitted_to or 0
