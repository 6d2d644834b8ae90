"""Accuracy far beyond the training length on paper: a column a task, a row a form of scaling, a line an encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conf import names
from eval.evidence.figures.panels import (
    BESIDE,
    PANEL_WIDTH,
    band_mark,
    below,
    draw,
    groups,
    legend,
    legend_beside,
    setting,
)
from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, settle, styles
from eval.evidence.lengths.effective import Lengths, Row
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_HEIGHT, _AROUND = 1.75, 1.25  # inches


def figure(lengths: Lengths, protocol: str) -> Figure:
    """Accuracy over the window before a length, in percent, against that length on a logarithmic axis; the threshold
    and chance are dashed, the training length is marked. More than eight encodings take several rows a form.

    Raises UserError when the protocol was not measured.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows = [row for row in lengths.rows if row.protocol == protocol]
    if not rows:
        raise UserError(f"protocol={protocol}: not measured by length; run `posgen lengths --measure` for it")
    tasks = list(dict.fromkeys(row.task for row in rows))
    parts = _parts(rows, lengths.train_length)
    with matplotlib.rc_context(SETTINGS):
        in_groups = len({row.pe for row in rows}) > len(groups([row.series for row in rows])[0])
        size = (PANEL_WIDTH * max(3, len(tasks)) + BESIDE * in_groups, _ROW_HEIGHT * len(parts) + _AROUND)
        drawn = Figure(figsize=size, layout="constrained")
        grid = drawn.subplots(len(parts), len(tasks), squeeze=False, sharey=True, sharex=True)
        for (title, chosen), panels in zip(parts, grid, strict=True):
            drawn_as = styles([row.pe for row in chosen])
            if in_groups:
                legend_beside(panels[-1], drawn_as)
            panels[0].set_ylabel(f"{title}\naccuracy (%)", fontsize=SMALL + 0.5)
            for panel, task in zip(panels, tasks, strict=True):
                _panel(panel, lengths, task, [row for row in chosen if row.task == task], drawn_as)
        for task, top, bottom in zip(tasks, grid[0], grid[-1], strict=True):
            top.set_title(names.task(task))
            below(bottom, "length n (tokens)")
        legend(drawn, {} if in_groups else styles([row.pe for row in rows]), [_guide_mark(lengths), band_mark()])
        drawn.suptitle(_title(lengths, protocol), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _parts(rows: Sequence[Row], train_length: int) -> list[tuple[str, list[Row]]]:
    """The rows of panels, in their order: what they are called, and what they show."""
    forms: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        forms.setdefault((row.form, row.fitted_to or 0 if row.form == "fixed" else 0), []).append(row)
    parts = []
    for (form, _), alike in sorted(forms.items(), key=lambda item: (item[0][0] != "own", item[0])):
        title = "as in Table 1" if form == "own" else alike[0].scaling(train_length)
        together = groups([row.series for row in alike])
        parts += [(title, [row for row in alike if row.pe in chosen]) for chosen in together]
    return parts


def _panel(
    panel: Axes, lengths: Lengths, task: str, rows: Sequence[Row], drawn_as: Mapping[str, tuple[str, Any]]
) -> None:
    bare(panel)
    for row in rows:
        draw(panel, row.series, drawn_as[row.pe], scale=100.0, width=1.1)
    for level in (lengths.threshold, lengths.chance[task]):
        panel.axhline(100 * level, **GUIDE)
    panel.axvline(lengths.train_length, **GUIDE)
    panel.set_xscale("log", base=2)
    panel.set_ylim(-2, 102)
    ends = sorted({end for row in lengths.rows for end in row.series.at})
    ticks = [end for end in ends if end % lengths.train_length == 0 and _power_of_4(end // lengths.train_length)]
    panel.set_xticks(ticks, [f"L={end}" if end == lengths.train_length else str(end) for end in ticks])
    panel.tick_params(labelsize=SMALL)
    panel.minorticks_off()


def _power_of_4(number: int) -> bool:
    while number and number % 4 == 0:
        number //= 4
    return number == 1


def _guide_mark(lengths: Lengths) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **GUIDE, label=f"L, threshold {100 * lengths.threshold:g} %, chance")


def _title(lengths: Lengths, protocol: str) -> str:
    what = f"Protocol {protocol}, token accuracy over the {lengths.window} tokens before n"
    return setting(lengths.collection, f"{what}\n{lengths.sequences} test sequences")
