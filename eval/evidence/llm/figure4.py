"""The paper's Figure 4 for any model: perplexity against length, and what a curve of prefixes hides.

Left as the paper draws it: perplexity of the first n tokens. In the middle the loss at each position, where a failure
beyond the length trained on shows at once. Right the differences that Resonance makes, paired token by token.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eval.evidence.figures.style import GUIDE, SETTINGS, SMALL, bare, pair_styles, settle
from eval.evidence.llm.curves import Curves
from models.lm.names import plain_of, title
from posgen.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (9.6, 3.8)  # inches
_BINS = 32  # that a panel shows at most
_LOG_FROM = 3.0  # highest over lowest perplexity from which the axis is logarithmic
_TITLE_CHARACTERS = 130


def figure(curves: Curves) -> Figure:
    """Three panels of one group of records. UserError where it has nothing that is scored."""
    import matplotlib
    from matplotlib.figure import Figure

    if not curves.points:
        raise UserError(f"protocol {curves.first.protocol_key}: no token is scored; measure with another score_from")
    drawn_as = pair_styles(curves.encodings, plain_of)
    with matplotlib.rc_context(SETTINGS):
        drawn = Figure(figsize=_SIZE, layout="constrained")
        left, middle, right = drawn.subplots(1, 3)
        for panel in (left, middle, right):
            bare(panel)
            panel.axvline(curves.first.train_length, **GUIDE)
            panel.tick_params(labelsize=SMALL)
        _perplexity(left, curves, drawn_as)
        _positions(middle, curves, drawn_as)
        _differences(right, curves, drawn_as)
        _legend(drawn, drawn_as, curves)
        drawn.suptitle("\n".join(textwrap.wrap(_title(curves), _TITLE_CHARACTERS)), fontsize=SMALL + 0.5)
        settle(drawn)
    return drawn


def _perplexity(panel: Axes, curves: Curves, drawn_as: dict[str, tuple[str, Any]]) -> None:
    points = curves.points
    for encoding, (colour, dashes) in drawn_as.items():
        own = [point for point in points if point.encoding == encoding]
        panel.plot([p.length for p in own], [p.perplexity for p in own], color=colour, linestyle=dashes,
                   linewidth=1.2, marker="o", markersize=2.2)  # fmt: skip
    values = [point.perplexity for point in points]
    if max(values) > _LOG_FROM * min(values):
        panel.set_yscale("log")
    panel.set_title("Perplexity of the first n tokens")
    _labels(panel, curves, "length n (tokens)", "perplexity")


def _positions(panel: Axes, curves: Curves, drawn_as: dict[str, tuple[str, Any]]) -> None:
    own = curves.first.width
    width = own
    while curves.lengths[-1] > _BINS * width:
        width *= 2
    for encoding, (colour, dashes) in drawn_as.items():
        position = curves.position(encoding, width)
        panel.plot([end - width / 2 for end in position.ends], position.nll, color=colour, linestyle=dashes,
                   linewidth=1.2)  # fmt: skip
    panel.set_title("Loss by position")
    _labels(panel, curves, f"position (bins of {width:,})", "NLL (nats a token)")


def _differences(panel: Axes, curves: Curves, drawn_as: dict[str, tuple[str, Any]]) -> None:
    panel.set_title("Resonance minus plain")
    _labels(panel, curves, "length n (tokens)", "difference (nats a token)")
    panel.axhline(0.0, color="0.35", linewidth=0.8, zorder=1)
    names = list(dict.fromkeys(pair.encoding for pair in curves.pairs))
    if not names:
        panel.text(0.5, 0.5, "no pairs measured", transform=panel.transAxes, ha="center", va="center", fontsize=SMALL)
        return
    gaps = [b - a for a, b in zip(curves.lengths, curves.lengths[1:], strict=False)]
    room = 0.6 * min(gaps, default=curves.lengths[0])
    step = room / len(names)
    panel.set_xlim(0, curves.lengths[-1] + 0.7 * room)
    for index, name in enumerate(names):
        own = [pair for pair in curves.pairs if pair.encoding == name]
        shift = (index - (len(names) - 1) / 2) * step
        halves = [0.0 if p.difference.low is None else p.difference.mean - p.difference.low for p in own]
        panel.errorbar([p.length + shift for p in own], [p.difference.mean for p in own], yerr=halves,
                       color=drawn_as[name][0], linestyle="none", marker="o", markersize=2.4, elinewidth=0.9,
                       capsize=1.2)  # fmt: skip


def _labels(panel: Axes, curves: Curves, x: str, y: str) -> None:
    from matplotlib.ticker import ScalarFormatter

    longest = curves.lengths[-1]
    ticks = [longest * part // 4 for part in range(1, 5)]
    panel.set_xlim(0, longest * 1.04)
    panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.set_xlabel(x, fontsize=SMALL + 0.5)
    panel.set_ylabel(y, fontsize=SMALL + 0.5)
    if panel.get_yscale() == "log":
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_minor_formatter(ScalarFormatter())
        panel.tick_params(axis="y", which="minor", labelsize=SMALL - 1)


def _legend(drawn: Figure, drawn_as: dict[str, tuple[str, Any]], curves: Curves) -> None:
    """Pairs stand above each other: plain, then its Resonance form."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    plains = list(dict.fromkeys(plain_of(name) for name in drawn_as))
    for plain in plains:
        for name in [name for name in drawn_as if plain_of(name) == plain]:
            colour, dashes = drawn_as[name]
            handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.5, label=title(name)))
    handles.append(Line2D([], [], **GUIDE, label=f"trained on {curves.first.train_length:,}"))
    rows = 2 if len(handles) <= 9 else 4  # even: a pair stays in one column
    columns = -(-len(handles) // rows)
    drawn.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.6,
                 fontsize=SMALL, columnspacing=1.2)  # fmt: skip


def _title(curves: Curves) -> str:
    from eval.evidence.llm.tables import caption

    return caption(curves)


def names(all_curves: Sequence[Curves]) -> dict[str, Curves]:
    """A file name for each group: `figure4-s2`, of tuned models `figure4-tuned-s2`, of a declared plan by its name
    (`figure4-32k-s4`); with precision and protocol where groups of one name differ in them, else with a number."""
    named: dict[str, Curves] = {}
    stems = [_stem(curves) for curves in all_curves]
    for stem, curves in zip(stems, all_curves, strict=True):
        measured = {_measured(other) for other, its in zip(all_curves, stems, strict=True) if its == stem}
        base = name = stem if len(measured) == 1 else f"{stem}-{'-'.join(_measured(curves))}"
        number = 1
        while name in named:
            name = f"{base}-{(number := number + 1)}"
        named[name] = curves
    return named


def _stem(curves: Curves) -> str:
    declared = curves.first.profile.startswith("figure4_")
    name = curves.first.profile.replace("_", "-") if declared else f"figure4{'-tuned' if curves.tuned else ''}"
    return f"{name}-s{curves.first.factor:g}"


def _measured(curves: Curves) -> tuple[str, str]:
    return curves.first.dtype, curves.first.protocol_key
