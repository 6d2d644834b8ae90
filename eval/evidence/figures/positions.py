"""Accuracy at every position of the test sequences, from records alone: mean over seeds, lowest and highest seed.

The seed tokens, which are given and not predicted, have no accuracy and are left out. One figure a protocol, a panel a
task, a line an encoding. The same as error rates on a logarithmic scale shows what a mean hides: rare errors that last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures import bands, panels
from eval.evidence.figures.bands import Series, cell_series
from eval.evidence.figures.panels import (
    band_mark,
    below,
    draw,
    remarks,
    title,
)
from eval.evidence.figures.style import GUIDE, SMALL, bare
from eval.evidence.table import Table
from eval.store.kinds import AccuracyRecord
from posgen import rules
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sizes:
    """What the positions of a task are measured against. Lengths in tokens; `step` 2: even and odd positions are
    different problems, because the far token moves on at every second one only. `interleaved`: that counts answers,
    which are every second token."""

    train_length: int
    test_length: int
    modulus: int
    step: int
    interleaved: bool

    @property
    def chance(self) -> float:
        """The accuracy of guessing, a fraction."""
        return 1.0 / self.modulus


def rows(collection: Collection, protocol: str, published: Sequence[tuple[str, str]]) -> list[Series]:
    """The accuracies (fractions) of a protocol by position: one series for every published (task, pe), then any other
    that was measured."""
    return [
        cell_series((protocol, *place), collection.cell(protocol, *place), _by_position)
        for place in collection.rows(published)
    ]


def sizes(collection: Collection, protocol: str) -> dict[str, Sizes]:
    """Task -> its sizes, for the tasks that a protocol measured."""
    by_task = {}
    for record in collection.records(protocol):
        task = record.training.task
        step = rules.rule(task.rule).period
        by_task[record.task] = Sizes(record.train_length, record.length, task.modulus, step, task.is_interleaved)
    return by_task


def errors(series: Sequence[Series]) -> list[Series]:
    """The same as error rates, 1 - accuracy, fractions: the lowest is that of the seed with the highest accuracy."""

    def of(values: Iterable[float]) -> tuple[float, ...]:
        # Records hold six decimals: what is nearer to 0 is no error.
        return tuple(max(0.0, round(1.0 - value, 6)) for value in values)

    return [replace(curve, mean=of(curve.mean), low=of(curve.high), high=of(curve.low)) for curve in series]


@dataclass(frozen=True)
class Resolution:
    """What error rate can be seen at one position: that of a single error in the `sequences` of each of `seeds`
    seeds."""

    sequences: int
    seeds: int

    @property
    def least(self) -> float:
        """The smallest mean error rate above zero, a fraction."""
        return 1.0 / (self.sequences * self.seeds)

    @property
    def floor(self) -> float:
        """Where no error at all is drawn: half of the least."""
        return self.least / 2

    @property
    def note(self) -> str:
        """In words, for under a figure."""
        return (
            f"No error in {self.sequences} sequences of {self.seeds} seeds is drawn on the lower edge: the smallest "
            f"rate that they can show is {100 * self.least:.2g} %, one error in all of them."
        )


def resolution(collection: Collection, series: Sequence[Series]) -> Resolution:
    """That of the cells of one protocol with the most sequences and seeds."""
    sizes_of = [record.training.data.test_size for record in collection.records(series[0].protocol)]
    return Resolution(max(sizes_of), max((len(curve.seeds) for curve in series), default=1) or 1)


def caption(collection: Collection, series: Sequence[Series], what: str = "Token accuracy") -> str:
    """What belongs under the figure of one protocol."""
    protocol = series[0].protocol
    by_task = sizes(collection, protocol)
    lengths = sorted({(size.train_length, size.test_length) for size in by_task.values()})
    trained = " and ".join(f"trained on 0 to {train - 1}, tested up to {test - 1}" for train, test in lengths)
    mode = collection.accuracy_mode.replace("_", "-")
    return panels.caption(collection, f"{what} ({mode}) by position, {trained}.", series, protocol)


def notes(collection: Collection, protocol: str) -> tuple[str, ...]:
    """What the lines need to be read."""
    lines = []
    for interleaved, what in ((False, "even and odd positions"), (True, "even and odd answers")):
        in_two = [t for t, s in sizes(collection, protocol).items() if s.step == 2 and s.interleaved is interleaved]
        tasks = " and ".join(map(names.task, in_two))
        lines += [f"On {tasks} {what} have separate lines: they are different problems."] if tasks else []
    return (*panels.notes(protocol), *lines)


def numbers(series: Sequence[Series]) -> Table:
    """The numbers behind the figure: a row a protocol, task, encoding and position, accuracies as fractions."""
    return bands.numbers(("position",), (((), curve) for curve in series))


def _by_position(record: AccuracyRecord) -> dict[int, float]:
    return {at: value for at, value in enumerate(record.accuracy_by_position or ()) if value is not None}


_AROUND = 0.9  # inches


def figure(collection: Collection, series: Sequence[Series], floor: float | None = None) -> Figure:
    """Accuracy in percent at every position of the test, a panel a task; more than eight encodings take several rows.
    `series` are `rows` of one protocol. With a `floor` (a fraction) they are `errors`, on a logarithmic axis that ends
    there, and what is less is drawn there.

    Raises UserError when no record has accuracies by position.
    """
    protocol = series[0].protocol
    if not any(curve.at for curve in series):
        raise UserError(f"protocol={protocol}: no record has accuracies by position; run `posgen sweep` for it")
    by_task = sizes(collection, protocol)

    def paint(panel: Axes, task: str, part: Sequence[str], drawn_as: Mapping[str, Any]) -> None:
        chosen = [curve for curve in series if curve.task == task and curve.pe in part]
        _panel(panel, chosen, drawn_as, by_task.get(task), floor)

    return panels.by_task(
        series, list(dict.fromkeys(curve.task for curve in series)),
        "accuracy (%)" if floor is None else "errors (%)", paint,
        lambda: [_guide_mark(by_task.values(), floor), band_mark()], title(collection, protocol, series), _AROUND,
    )  # fmt: skip


def _panel(
    panel: Axes, series: Sequence[Series], drawn_as: Mapping[str, Any], size: Sizes | None, floor: float | None
) -> None:
    below(panel, "position (tokens)", remarks(series))
    bare(panel)
    for curve in series:
        shown = curve if floor is None else _not_below(curve, floor)
        draw(panel, shown, drawn_as[curve.pe], scale=100.0, step=size.step if size else 1, width=0.9)
    if floor is None:
        panel.set_ylim(-2, 102)
    else:
        panel.set_yscale("log")
        panel.set_ylim(100 * floor, 130)
        panel.yaxis.set_major_formatter("{x:g}")
    if size is None:
        return
    panel.axhline(100 * (size.chance if floor is None else 1 - size.chance), **GUIDE)
    panel.axvline(size.train_length - 0.5, **GUIDE)
    ticks = sorted({0, *range(size.train_length, size.test_length + 1, size.train_length)})
    named = {size.train_length: f"L = {size.train_length}"}
    panel.set_xlim(0, size.test_length - 1)
    panel.set_xticks(ticks, [named.get(tick, str(tick)) for tick in ticks], fontsize=SMALL)


def _not_below(curve: Series, floor: float) -> Series:
    mean, low, high = (tuple(max(value, floor) for value in part) for part in (curve.mean, curve.low, curve.high))
    return replace(curve, mean=mean, low=low, high=high)


def _guide_mark(by_task: Iterable[Sizes], floor: float | None) -> Any:
    from matplotlib.lines import Line2D

    rates = sorted({size.chance if floor is None else 1 - size.chance for size in by_task})
    chances = " or ".join(f"{100 * rate:.1f} %" for rate in rates)
    return Line2D([], [], **GUIDE, label=f"chance ({chances}), training length L")
