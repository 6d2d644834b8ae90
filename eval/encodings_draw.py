"""Encodings on paper: wavelengths and feature gaps, and the paper's Figure 1, one pre-critical feature's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eval import names
from eval.feature_gap import Features, feature_angles, feature_gaps, wavelengths
from eval.style import SETTINGS, SMALL, bare, settle, styles
from models.encodings import Rotary
from posgen.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRAINED, _NEW = "#0072B2", "#D55E00"  # Okabe-Ito, as eval.style
_GUIDE: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (2, 2)), "zorder": 1}
_MARKERS = "os^Dv<>P"
_SMALLEST_GAP = 0.01  # below it the axis of the gaps is linear, so that an exact 0 has a place
_WINDOW = 256  # positions of Figure 1 at most: more would run into each other


def draw_features(found: Mapping[str, Features], settings: str) -> Figure:
    """Wavelengths and gaps of each encoding against the feature, two panels. `settings` stand above them, in words."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    drawn_as = styles(list(found))
    with matplotlib.rc_context(SETTINGS):
        rows = -(-len(found) // 4)
        figure = Figure(figsize=(6.9, 3.0 + 0.17 * rows), layout="constrained")
        waves, gaps = figure.subplots(1, 2)
        handles = []
        for at, (name, one) in enumerate(found.items()):
            colour, dashes = drawn_as[name]
            # Those of a Resonance form lie on its counterpart's: filled in open marks, both are seen.
            open_mark = not name.startswith(names.RESONANCE)
            look: dict[str, Any] = {
                "color": colour, "linestyle": dashes, "linewidth": 1.0, "marker": _MARKERS[at % len(_MARKERS)],
                "markersize": 4.2 if open_mark else 2.4, "markeredgewidth": 0.7,
                "markerfacecolor": "none" if open_mark else colour,
            }  # fmt: skip
            turning = np.isfinite(one.wavelengths)
            index = np.arange(len(turning))
            waves.plot(index[turning], one.wavelengths[turning], **look)
            if one.gaps is not None:
                gaps.plot(index, one.gaps, **look)
            handles.append(Line2D([], [], label=names.encoding(name), **look))
        first = next(iter(found.values()))
        _scales(waves, gaps, first)
        unknown = [names.encoding(name) for name, one in found.items() if one.gaps is None]
        if unknown:
            gaps.set_xlabel(f"feature\nno gap, positions drawn at random: {', '.join(unknown)}", fontsize=SMALL + 0.5)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, handlelength=3.2,
            fontsize=SMALL + 0.5, columnspacing=1.4,
        )  # fmt: skip
        figure.suptitle(settings, fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _scales(waves: Axes, gaps: Axes, one: Features) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    for panel, title in ((waves, "wavelength (tokens)"), (gaps, "feature gap (unit vectors)")):
        bare(panel)
        panel.set_title(title)
        panel.set_xlabel("feature", fontsize=SMALL + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    waves.set_yscale("log")
    for length, word in ((one.train_length, "L"), (one.test_length, "L'")):
        waves.axhline(length, **_GUIDE)
        # On the left, where the wavelengths are below both.
        place: Any = ("axes fraction", "data")
        waves.annotate(f"{word} = {length}", (0.02, length), xycoords=place, va="bottom", fontsize=SMALL)
    gaps.set_yscale("symlog", linthresh=_SMALLEST_GAP, linscale=0.5)
    gaps.set_ylim(-0.0015, 2.6)
    gaps.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.1, 1, 2]))
    gaps.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    gaps.yaxis.set_minor_locator(FixedLocator([]))


def shown_feature(found: Features, feature: int | None) -> int | None:
    """Which feature Figure 1 shows, from those of the plain encoding: `feature`, or the pre-critical one with the
    largest gap. None: there is no Figure 1, because no pre-critical feature meets a new position.

    Raises BadValue for a feature that is not pre-critical.
    """
    count = len(found.wavelengths) if found.critical is None else found.critical
    if found.gaps is None or count == 0 or found.train_length == found.test_length:
        return None
    require(feature is None or 0 <= feature < count, "feature", feature, f"use a pre-critical one, 0 to {count - 1}")
    return int(np.argmax(found.gaps[:count])) if feature is None else feature


def draw_figure1(encoding: Rotary, train_length: int, test_length: int, feature: int, settings: str) -> Figure:
    """The paper's Figure 1: the cosine of one feature's angle over positions, without and with Resonance.

    Beside it, on the same axis, all values that training showed and all new ones. At most 256 positions around the
    training length are drawn, all are counted. `settings` stand above, in words.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.9, 3.8), layout="constrained")
        grid = figure.subplots(2, 2, width_ratios=[6, 1], sharex="col", sharey=True, squeeze=False)
        for (curve, strip), resonance in zip(grid, (False, True), strict=True):
            one = replace(encoding, resonance=resonance)
            wavelength = wavelengths(one, test_length)[feature]
            gap = feature_gaps(one, train_length, test_length)[feature]
            with_it = "with Resonance" if resonance else "without Resonance"
            curve.set_title(f"{with_it}: wavelength {wavelength:.6g} tokens, feature gap {gap:.3g}", loc="left")
            curve.set_ylabel(rf"$\cos(n\,\theta_{{{feature}}})$")
            values = np.cos(feature_angles(one, feature, test_length))
            _over_positions(curve, values, train_length, wavelength)
            _all_values(strip, values, train_length)
        grid[1, 0].set_xlabel("position n (tokens)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL + 0.5)
        figure.suptitle(f"Feature {feature} of {names.encoding(encoding.name)}, {settings}", fontsize=SMALL + 0.5)
        settle(figure)
    return figure


def _over_positions(panel: Axes, values: np.ndarray, train_length: int, wavelength: float) -> None:
    bare(panel)
    start = max(0, min(train_length - _WINDOW // 4, len(values) - _WINDOW))
    stop = min(len(values), start + _WINDOW)
    between = np.linspace(start, stop - 1, 20 * (stop - start))
    panel.plot(between, np.cos(2 * np.pi / wavelength * between), color="0.8", linewidth=0.6, zorder=1)
    panel.axvline(train_length - 0.5, **_GUIDE)
    for low, high, colour, mark, label in (
        (start, train_length, _TRAINED, "o", f"trained positions, 0 to {train_length - 1}"),
        (train_length, stop, _NEW, "D", f"new positions, {train_length} to {len(values) - 1}"),
    ):
        panel.plot(np.arange(low, high), values[low:high], mark, color=colour, markersize=2.2, label=label)
    panel.set_xlim(start - 1, stop)


def _all_values(panel: Axes, values: np.ndarray, train_length: int) -> None:
    """Every value as a stroke, trained ones on the left: a stroke on the right alone is a value never trained on."""
    bare(panel)
    for left, part, colour in ((0.0, values[:train_length], _TRAINED), (1.0, values[train_length:], _NEW)):
        # To a thousandth, finer than print: tens of thousands of strokes are drawn once each.
        panel.hlines(np.unique(np.round(part, 3)), left, left + 1, color=colour, linewidth=0.6)
    panel.set_xlim(0, 2)
    panel.set_xticks([0.5, 1.5], ["trained", "new"], fontsize=SMALL)
    panel.grid(visible=False)
