"""Accuracy at every position of the test sequences, from records alone: mean over seeds, lowest and highest seed.

The seed tokens, which are given and not predicted, have no accuracy and are left out. One figure a protocol, a panel a
task, a line an encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures import bands
from eval.evidence.figures.bands import Series, cell_series, seeds_text
from eval.evidence.figures.panels import (
    BESIDE,
    PANEL_WIDTH,
    band_mark,
    below,
    differs,
    draw,
    groups,
    labelled,
    legend,
    legend_beside,
    remarks,
    title,
)
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from eval.store.kinds import AccuracyRecord
from posgen import rules
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sizes:
    """What the positions of a task are measured against. Lengths in tokens; `step` 2: even and odd positions are
    different problems, because the far token moves on at every second one only."""

    train_length: int
    test_length: int
    modulus: int
    step: int

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
    found = {}
    for record in collection.records(protocol):
        task = record.training.task
        found[record.task] = Sizes(record.train_length, record.length, task.modulus, rules.rule(task.rule).period)
    return found


def caption(collection: Collection, found: Sequence[Series]) -> str:
    """What belongs under the picture of one protocol."""
    protocol = found[0].protocol
    measured = sizes(collection, protocol)
    lengths = sorted({(one.train_length, one.test_length) for one in measured.values()})
    trained = " and ".join(f"0 to {train - 1} were trained on, up to {test - 1} are tested" for train, test in lengths)
    parted = [names.task(task) for task, one in measured.items() if one.step == 2]
    problems = f" On {' and '.join(parted)} even and odd positions are joined apart: two different problems."
    joined = problems if parted else ""
    return (
        f"Accuracy (share of right tokens, {collection.accuracy_mode.replace('_', '-')}) at every position after the "
        f"seed tokens. Positions {trained}. Protocol {names.protocol(protocol)}. Profile {labelled(collection)}, "
        f"{seeds_text(found)}: line = mean, band = lowest to highest seed.{joined} {differs(collection)}"
    )


def tidy_csv(found: Sequence[Series]) -> str:
    """The numbers behind the picture: one line a protocol, task, encoding and position, accuracies as fractions."""
    return bands.tidy_csv(("position",), (((), one) for one in found))


def _by_position(record: AccuracyRecord) -> dict[int, float]:
    return {at: value for at, value in enumerate(record.accuracy_by_position or ()) if value is not None}


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
