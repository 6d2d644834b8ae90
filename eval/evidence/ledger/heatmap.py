"""The heat map of the ledger: what each row changes of OOD accuracy, a row a variant, a column a task and encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conf import names
from conf.ledger import Variant
from eval.evidence.figures.panels import setting
from eval.evidence.figures.style import FONT, SETTINGS, SMALL
from eval.evidence.ledger.effects import Effect, Effects, Kind, cell_name, columns, encoding_groups
from eval.evidence.ledger.tables import caption, number
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# Inches.
_LABEL, _CELL, _HEIGHT, _RIGHT = 2.1, 0.56, 0.33, 0.12
_TOP, _HEADS, _FOOT = 0.5, 0.68, 0.85
_GAP = 0.15  # between tasks, in cells
# Blue and brown, which every kind of colour vision tells apart, through white.
_COLOURS = "BrBG"
_NO_EFFECT, _UNKNOWN = "0.82", "1.0"
_NARROWEST = 10  # cells: room for the key
_PALE_EXAMPLE = "#d5e9e6"
_PALE = 0.35  # of the colour of a change whose interval has 0 in it
_SMALLEST = 1.0  # points: the colours' range is at least this


def figure(effects: Effects, base: str) -> Figure:
    """The heat map of one base of `effects.bases`. Raises UserError when none of its rows was measured."""
    import matplotlib
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    shown = effects.of(base)
    if not any(effect.kind in (Kind.measured, Kind.none) for effect in shown):
        raise UserError(f"no row was measured against preset {base}; run `posgen sweep --ledger`")
    top = max([_SMALLEST, *(abs(effect.points) for effect in shown if effect.points is not None)])
    norm = Normalize(-top, top)
    grids = [_Grid(group) for group in encoding_groups(shown)]
    width = _LABEL + _RIGHT + _CELL * max([_NARROWEST, *(grid.width for grid in grids)])
    height = _TOP + _FOOT + sum(_HEADS + _HEIGHT * len(grid.rows) for grid in grids)
    with matplotlib.rc_context(SETTINGS):
        drawn = Figure(figsize=(width, height))
        above = _TOP
        for grid in grids:
            above += _HEADS
            size = (_CELL * grid.width, _HEIGHT * len(grid.rows))
            place = (_LABEL / width, 1 - (above + size[1]) / height, size[0] / width, size[1] / height)
            _block(drawn.add_axes(place), grid, norm)
            above += size[1]
        _key(drawn, norm, effects.confidence)
        what = f"Change of OOD accuracy in points, one row set otherwise than in preset {base}"
        title = setting(effects.collection, what)
        drawn.text(0.5, 1 - 0.1 / height, title, ha="center", va="top", fontsize=SMALL + 0.5)
    return drawn


def alt(effects: Effects, base: str) -> str:
    """What is seen, for those who do not see it: which changes stand out, largest first."""
    decided = sorted((effect for effect in effects.of(base) if effect.decided), key=lambda e: -abs(e.points or 0.0))
    changes = [f"{effect.variant.setting} {cell_name(effect.task, effect.pe)} {number(effect)}" for effect in decided]
    rest = f"; {len(changes) - 5} more" if len(changes) > 5 else ""
    largest = f"Largest changes whose interval excludes 0: {'; '.join(changes[:5])}{rest}." if changes else ""
    seen = "Heat map, a row a switch of the ledger, a column a task and encoding, colour the change of OOD accuracy."
    return f"{seen} {largest or 'No interval excludes 0.'} {caption(effects)}"


class _Grid:
    """Effects by row (the variant) and column (task and encoding), with a gap between tasks."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.rows = list(dict.fromkeys(effect.variant for effect in effects))
        self.places = columns(effects)
        self.tasks = list(dict.fromkeys(task for task, _ in self.places))
        self.width = len(self.places) + _GAP * (len(self.tasks) - 1)
        self.cells = [(self.rows.index(e.variant), self.left(e.task, e.pe), e) for e in effects]

    def left(self, task: str, pe: str) -> float:
        """Where the column begins, in cells."""
        return self.places.index((task, pe)) + _GAP * self.tasks.index(task)


def _block(panel: Axes, grid: _Grid, norm: Normalize) -> None:
    for row, left, effect in grid.cells:
        _cell(panel, row, left, effect, norm)
    panel.set_xlim(0, grid.width)
    panel.set_ylim(len(grid.rows), 0)
    panel.set_yticks([row + 0.5 for row in range(len(grid.rows))])
    panel.set_yticklabels([_label(variant) for variant in grid.rows], fontsize=SMALL)
    panel.set_xticks([grid.left(*place) + 0.5 for place in grid.places])
    panel.xaxis.tick_top()
    heads = [names.encoding(pe).replace(" ", "\n").replace("-", "-\n") for _, pe in grid.places]
    panel.set_xticklabels(heads, fontsize=SMALL - 0.5)
    panel.tick_params(length=0, pad=3)
    panel.spines[:].set_visible(False)
    for task in grid.tasks:
        middles = [grid.left(*place) + 0.5 for place in grid.places if place[0] == task]
        panel.annotate(
            names.task(task), (sum(middles) / len(middles), 0), xytext=(0, _HEADS * 72 - 18),
            textcoords="offset points", ha="center", va="bottom", fontsize=FONT, annotation_clip=False,
        )  # fmt: skip


def _label(variant: Variant) -> str:
    return f"{variant.row.number}  {variant.row.topic}\n{variant.setting}"


def _cell(panel: Axes, row: int, left: float, effect: Effect, norm: Normalize) -> None:
    from matplotlib.patches import Rectangle

    colour = _colour(effect, norm)
    panel.add_patch(Rectangle((left, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.2))
    if effect.decided:
        frame = Rectangle((left + 0.05, row + 0.07), 0.9, 0.86, facecolor="none", edgecolor="0.1", linewidth=0.9)
        panel.add_patch(frame)
    text = {Kind.none: "", Kind.diverged: "div."}.get(effect.kind, number(effect))
    panel.text(
        left + 0.5, row + 0.5, text, ha="center", va="center", fontsize=SMALL - 0.5, color=_ink(colour),
        fontweight="bold" if effect.decided else "normal",
    )  # fmt: skip


def _colour(effect: Effect, norm: Normalize) -> Any:
    import matplotlib

    if effect.points is None:
        return _NO_EFFECT if effect.kind is Kind.none else _UNKNOWN
    red, green, blue, _ = matplotlib.colormaps[_COLOURS](norm(effect.points))
    share = 1.0 if effect.decided else _PALE
    return tuple(1 - share * (1 - part) for part in (red, green, blue))


def _ink(colour: Any) -> str:
    """Black or white, whichever is read on the colour."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 else "0.1"


def _key(drawn: Figure, norm: Normalize, confidence: float) -> None:
    """The colour bar, and what frames, pale and grey cells mean, at the foot of the figure."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    width, height = drawn.get_size_inches()
    bar = drawn.add_axes((0.35 / width, 0.42 / height, 1.75 / width, 0.11 / height))
    drawn.colorbar(ScalarMappable(norm, _COLOURS), cax=bar, orientation="horizontal")
    end = math.floor(norm.vmax or _SMALLEST)
    bar.set_xticks([-end, 0, end], [f"{-end:+d}", "0", f"{end:+d}"])
    bar.tick_params(labelsize=SMALL - 0.5, length=2, width=0.5)
    bar.set_title("points", fontsize=SMALL, pad=3)
    handles = [
        Patch(
            facecolor="white",
            edgecolor="0.1",
            linewidth=0.9,
            label=f"framed, bold: {confidence:.0%} interval excludes 0",
        ),
        Patch(facecolor=_PALE_EXAMPLE, edgecolor="white", label="pale: the interval includes 0, undecided"),
        Patch(facecolor=_NO_EFFECT, edgecolor="white", label="grey: no effect by construction"),
        Patch(facecolor=_UNKNOWN, edgecolor="0.6", linewidth=0.6, label="—: not measured"),
    ]
    drawn.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(2.4 / width, 0.14 / height), ncols=2, frameon=False,
        fontsize=SMALL, columnspacing=1.4, handlelength=1.6,
    )  # fmt: skip
